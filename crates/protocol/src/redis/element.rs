//! Elements of RESP: one line, one bulk string, or the opening of an aggregate; and the walk
//! through nested ones.

use memchr::memchr;

/// Bulk strings up to this length are waited for and looked at; longer ones are passed over.
const TEXT_MAX: u64 = 512;

/// Bytes of a line.
const LINE_MAX: usize = 16 * 1024;

/// Elements of an aggregate; servers accept 1 M in a command.
const COUNT_MAX: u64 = 1 << 32;

/// Bytes of a bulk string (servers: 512 MB, if not configured otherwise).
const BULK_MAX: u64 = 1 << 40;

/// Aggregates within aggregates.
const DEPTH_MAX: usize = 32;

/// What stands at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element<'a> {
    /// A line, with its type.
    Line(u8, &'a [u8]),
    /// A string with a length; `None` if it is too long to be looked at, or null.
    Bulk(u8, Option<&'a [u8]>),
    /// An aggregate with its number of elements; `None` if a `.` ends it.
    Open(u8, Option<u64>),
    /// The end of such an aggregate.
    End,
}

/// The next element with its length (perhaps beyond the bytes), `None` if more is needed.
pub(super) fn element(bytes: &[u8]) -> Result<Option<(Element<'_>, u64)>, ()> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    if !b"+-:$*_#,(!=%~>|;.".contains(kind) {
        return Err(());
    }
    let Some(end) = memchr(b'\n', bytes) else {
        return if bytes.len() < LINE_MAX { Ok(None) } else { Err(()) };
    };
    let line = bytes[1..end].strip_suffix(b"\r").ok_or(())?;
    let head = end as u64 + 1;
    match kind {
        b'$' | b'!' | b'=' | b';' => {
            if line == b"?" {
                return Ok(Some((Element::Open(b'$', None), head)));
            }
            if line == b"-1" || line == b"0" && *kind == b';' {
                let element = if *kind == b';' { Element::End } else { Element::Bulk(*kind, None) };
                return Ok(Some((element, head)));
            }
            bulk(*kind, bytes, head, number(line, BULK_MAX)?)
        }
        b'*' | b'%' | b'~' | b'>' | b'|' => {
            let count = match line {
                b"?" => None,
                b"-1" => return Ok(Some((Element::Bulk(*kind, None), head))),
                _ => {
                    Some(number(line, COUNT_MAX)? * if matches!(kind, b'%' | b'|') { 2 } else { 1 })
                }
            };
            Ok(Some((Element::Open(*kind, count), head)))
        }
        b'.' => Ok(Some((Element::End, head))),
        _ => Ok(Some((Element::Line(*kind, line), head))),
    }
}

fn bulk(kind: u8, bytes: &[u8], head: u64, len: u64) -> Result<Option<(Element<'_>, u64)>, ()> {
    let whole = head + len + 2;
    if len > TEXT_MAX {
        return Ok(Some((Element::Bulk(kind, None), whole)));
    }
    if (bytes.len() as u64) < whole {
        return Ok(None);
    }
    let text = &bytes[head as usize..(head + len) as usize];
    if &bytes[(head + len) as usize..whole as usize] != b"\r\n" {
        return Err(());
    }
    Ok(Some((Element::Bulk(kind, Some(text)), whole)))
}

fn number(digits: &[u8], max: u64) -> Result<u64, ()> {
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    if number <= max { Ok(number) } else { Err(()) }
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Broken,
    Part(u64),
    Done(u64),
}

/// An aggregate that is being walked through.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Elements to come; `None` until a `.`.
    left: Option<u64>,
    /// Whether it counts as an element of what is around it; attributes do not.
    counts: bool,
}

/// The way through one value, which may be nested.
#[derive(Debug, Default)]
pub(super) struct Walk {
    stack: Vec<Frame>,
}

impl Walk {
    /// Whether a value was begun and is not whole.
    pub(super) fn is_begun(&self) -> bool {
        !self.stack.is_empty()
    }

    /// Goes on until the value is whole or the bytes end; `each` gets every element, how deep it
    /// is nested, and where it begins.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(&Element<'_>, usize, usize),
    ) -> Step {
        let mut at = 0u64;
        while let Some(rest) = usize::try_from(at).ok().and_then(|at| bytes.get(at..)) {
            let Ok(found) = element(rest) else { return Step::Broken };
            let Some((element, len)) = found else { break };
            each(&element, self.stack.len(), at as usize);
            at += len;
            let Ok(is_whole) = self.enter(&element) else { return Step::Broken };
            if is_whole {
                return Step::Done(at);
            }
        }
        if at > 0 { Step::Part(at) } else { Step::More }
    }

    /// Takes an element; returns whether the value is whole with it.
    fn enter(&mut self, element: &Element<'_>) -> Result<bool, ()> {
        match element {
            Element::Open(kind, left) => {
                if self.stack.len() >= DEPTH_MAX {
                    return Err(());
                }
                self.stack.push(Frame { left: *left, counts: *kind != b'|' });
                if *left != Some(0) {
                    return Ok(false);
                }
            }
            Element::End => match self.stack.last_mut() {
                Some(frame) if frame.left.is_none() => frame.left = Some(0),
                _ => return Err(()),
            },
            _ => return Ok(self.count()),
        }
        Ok(self.unwind())
    }

    /// One more element is whole.
    fn count(&mut self) -> bool {
        match self.stack.last_mut() {
            None => true,
            Some(Frame { left: None, .. }) => false,
            Some(Frame { left: Some(left), .. }) => {
                *left = left.saturating_sub(1);
                if *left > 0 { false } else { self.unwind() }
            }
        }
    }

    /// Leaves the aggregates that are whole.
    fn unwind(&mut self) -> bool {
        match self.stack.pop() {
            Some(frame) if frame.counts => self.count(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> Step {
        Walk::default().advance(bytes, &mut |_, _, _| {})
    }

    #[test]
    fn every_type_is_walked_to_its_end() {
        let values = [
            "+OK\r\n",
            "-ERR no\r\n",
            ":-12\r\n",
            "$3\r\nabc\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n:1\r\n*1\r\n$0\r\n\r\n",
            "_\r\n",
            "#t\r\n",
            ",1.5\r\n",
            "(123456789\r\n",
            "!5\r\nERR x\r\n",
            "=7\r\ntxt:abc\r\n",
            "%1\r\n+k\r\n:1\r\n",
            "~1\r\n#f\r\n",
            ">2\r\n+a\r\n+b\r\n",
            "|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
            "*?\r\n:1\r\n:2\r\n.\r\n",
            "$?\r\n;4\r\nabcd\r\n;0\r\n",
            "*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n",
        ];
        for value in values {
            assert_eq!(walk(value.as_bytes()), Step::Done(value.len() as u64), "{value:?}");
        }
        assert_eq!(walk(b"$1000\r\nabc"), Step::Done(7 + 1000 + 2));
    }

    #[test]
    fn nonsense_is_refused() {
        let deep = b"*1\r\n".repeat(40);
        for bad in [
            &b"hello\r\n"[..],
            b"$x\r\n",
            b"$-2\r\n",
            b"*9999999999999999\r\n",
            b".\r\n",
            b"$1\r\nabc",
            b"+a\n",
            &deep,
        ] {
            assert_eq!(walk(bad), Step::Broken, "{bad:?}");
        }
    }
}
