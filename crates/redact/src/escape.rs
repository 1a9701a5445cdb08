//! Escapes: one character of a text, however it is written (RFC 8259 §7, RFC 3986 §2.1, XML §4.1).

use memchr::memchr3;

/// Marks in front of a character that is escaped again and again: five levels of JSON.
const NESTED_MAX: usize = 32;

/// A character with where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The character; of what is no text, its bytes as they are.
    pub(crate) char: u32,
    pub(crate) end: usize,
    /// Backslashes before a quote.
    pub(crate) slashes: usize,
    /// Whether it is written with other characters than itself.
    pub(crate) is_encoded: bool,
}

impl Unit {
    pub(crate) fn is(&self, byte: u8) -> bool {
        self.char == u32::from(byte)
    }

    pub(crate) fn is_quote(&self) -> bool {
        self.is(b'"') || self.is(b'\'') || self.is(b'`')
    }

    pub(crate) fn is_space(&self) -> bool {
        self.is(b' ') || self.is(b'\t') || self.is(b'\r') || self.is(b'\n')
    }

    /// Whether keys are made of it.
    pub(crate) fn is_of_key(&self) -> bool {
        u8::try_from(self.char).map_or(true, is_of_key)
    }
}

/// Whether keys are made of this byte.
pub(crate) fn is_of_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$' | b'@' | 0x80..)
}

/// The character that begins at `at`; `None` at the end.
pub(crate) fn unit(bytes: &[u8], at: usize) -> Option<Unit> {
    let first = *bytes.get(at)?;
    let encoded = match first {
        b'\\' => backslash(bytes, at),
        b'%' => percent(bytes, at),
        b'&' => entity(bytes, at),
        _ => None,
    };
    let plain = Unit { char: u32::from(first), end: at + 1, slashes: 0, is_encoded: false };
    Some(encoded.unwrap_or(plain))
}

/// The text in which letters, digits and joints are not escaped, with where each of its bytes and its end
/// was; `None` where none is, which is nearly always: who escapes needs not escape these.
pub(crate) fn letters(bytes: &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    let mut at = escaped(bytes, 0)?.0;
    let mut text = bytes[..at].to_vec();
    let mut origins: Vec<usize> = (0..at).collect();
    while let Some((start, end, letter)) = escaped(bytes, at) {
        text.extend_from_slice(&bytes[at..start]);
        origins.extend(at..start);
        text.push(letter);
        origins.push(start);
        at = end;
    }
    text.extend_from_slice(&bytes[at..]);
    origins.extend(at..=bytes.len());
    Some((text, origins))
}

/// The text without the encoding of URLs, with where each of its bytes and its end was; `None` where no
/// quote or backslash is encoded.
pub(crate) fn percents(bytes: &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    let byte =
        |at: usize| number(bytes.get(at + 1..at + 3)?, 16).and_then(|n| u8::try_from(n).ok());
    let mut marks = memchr::memchr_iter(b'%', bytes);
    if !marks.any(|at| byte(at).is_some_and(|byte| b"\"'`\\<%".contains(&byte))) {
        return None;
    }
    let (mut text, mut origins, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        let encoded = if bytes[at] == b'%' { byte(at) } else { None };
        origins.push(at);
        text.push(encoded.unwrap_or(bytes[at]));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    origins.push(bytes.len());
    Some((text, origins))
}

/// The next letter, digit or joint that is escaped.
fn escaped(bytes: &[u8], mut at: usize) -> Option<(usize, usize, u8)> {
    while let Some(found) = memchr3(b'\\', b'%', b'&', bytes.get(at..)?) {
        let start = at + found;
        let next = unit(bytes, start)?;
        let letter = u8::try_from(next.char).ok().filter(|byte| {
            next.is_encoded && (byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
        });
        if let Some(letter) = letter {
            return Some((start, next.end, letter));
        }
        at = next.end;
    }
    None
}

fn backslash(bytes: &[u8], at: usize) -> Option<Unit> {
    let run = bytes[at..].iter().take(NESTED_MAX);
    let slashes = run.take_while(|byte| **byte == b'\\').count();
    let next = at + slashes;
    let unit = |char, end| Unit { char, end, slashes: 0, is_encoded: true };
    match *bytes.get(next)? {
        byte @ (b'"' | b'\'' | b'`') => {
            Some(Unit { char: u32::from(byte), end: next + 1, slashes, is_encoded: false })
        }
        b'u' if bytes.get(next + 1) == Some(&b'{') => {
            let len = bytes[next + 2..].iter().take(8).position(|byte| *byte == b'}')?;
            number(&bytes[next + 2..next + 2 + len], 16).map(|char| unit(char, next + 3 + len))
        }
        b'u' => number(bytes.get(next + 1..next + 5)?, 16).map(|char| unit(char, next + 5)),
        b'x' => number(bytes.get(next + 1..next + 3)?, 16).map(|char| unit(char, next + 3)),
        b'n' => Some(unit(u32::from(b'\n'), next + 1)),
        b'r' => Some(unit(u32::from(b'\r'), next + 1)),
        b't' => Some(unit(u32::from(b'\t'), next + 1)),
        b'/' => Some(unit(u32::from(b'/'), next + 1)),
        _ => None,
    }
}

fn percent(bytes: &[u8], at: usize) -> Option<Unit> {
    let mut next = at + 1;
    while bytes.get(next..next + 2) == Some(b"25") && next < at + NESTED_MAX {
        next += 2;
    }
    let char = number(bytes.get(next..next + 2)?, 16)?;
    Some(Unit { char, end: next + 2, slashes: 0, is_encoded: true })
}

fn entity(bytes: &[u8], at: usize) -> Option<Unit> {
    const NAMED: &[(&[u8], u8)] =
        &[(b"quot", b'"'), (b"apos", b'\''), (b"lt", b'<'), (b"gt", b'>'), (b"amp", b'&')];
    let rest = &bytes[at + 1..];
    let len = rest.iter().take(10).position(|byte| *byte == b';')?;
    let name = &rest[..len];
    let char = match name {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => NAMED.iter().find(|named| named.0 == name).map(|named| u32::from(named.1))?,
    };
    Some(Unit { char, end: at + 1 + len + 1, slashes: 0, is_encoded: true })
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_in_every_form() {
        for (text, char, len) in [
            ("p", 'p', 1),
            ("\\u0070x", 'p', 6),
            ("\\\\\\u{70}x", 'p', 8),
            ("\\x70", 'p', 4),
            ("%70", 'p', 3),
            ("%252570", 'p', 7),
            ("&#112;", 'p', 6),
            ("&#x70;", 'p', 6),
            ("&quot;", '"', 6),
            ("\\\\\\\"", '"', 4),
            ("\\n", '\n', 2),
            ("\\q", '\\', 1),
            ("%zz", '%', 1),
            ("&", '&', 1),
            ("\\u00", '\\', 1),
        ] {
            let unit = unit(text.as_bytes(), 0).unwrap();
            assert_eq!((unit.char, unit.end), (u32::from(char), len), "{text}");
        }
        assert_eq!(unit(b"", 0), None);
    }
}
