//! Values of AMQP 1.0 (part 1 §1.6), read one after the other without building them.

/// Descriptors before a value that are believed.
const DESCRIPTORS_MAX: usize = 4;

/// A place in encoded values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    rest: &'a [u8],
}

/// One value; what is not told is [`Value::Other`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(u64),
    /// String, symbol or binary.
    Text(&'a [u8]),
    /// Contents of a list or map.
    Many(&'a [u8]),
    Other,
}

impl<'a> Values<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(front)
    }

    fn number(&mut self, len: usize) -> Option<u64> {
        Some(self.take(len)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The next value with its descriptor, where that is a number.
    pub(super) fn described(&mut self) -> Option<(Option<u64>, Value<'a>)> {
        let mut descriptor = None;
        for _ in 0..=DESCRIPTORS_MAX {
            match self.rest.first()? {
                0 => {
                    self.take(1)?;
                    descriptor = match self.plain()? {
                        Value::Number(code) => Some(code),
                        _ => None,
                    };
                }
                _ => return Some((descriptor, self.plain()?)),
            }
        }
        None
    }

    /// The next value, whatever describes it.
    pub(super) fn next(&mut self) -> Option<Value<'a>> {
        self.described().map(|it| it.1)
    }

    fn plain(&mut self) -> Option<Value<'a>> {
        let code = self.number(1)?;
        Some(match code {
            0x40 => Value::Null,
            0x41 => Value::Bool(true),
            0x42 => Value::Bool(false),
            0x43 | 0x44 => Value::Number(0),
            0x45 => Value::Many(&[]),
            0x56 => Value::Bool(self.number(1)? != 0),
            0x50 | 0x52 | 0x53 => Value::Number(self.number(1)?),
            0x60 => Value::Number(self.number(2)?),
            0x70 => Value::Number(self.number(4)?),
            0x80 => Value::Number(self.number(8)?),
            0xa0 | 0xa1 | 0xa3 => Value::Text(self.sized(1)?),
            0xb0 | 0xb1 | 0xb3 => Value::Text(self.sized(4)?),
            // Size and count of one byte, or of four.
            0xc0 | 0xc1 => Value::Many(self.sized(1)?.get(1..)?),
            0xd0 | 0xd1 => Value::Many(self.sized(4)?.get(4..)?),
            0xe0 => self.sized(1).map(|_| Value::Other)?,
            0xf0 => self.sized(4).map(|_| Value::Other)?,
            0x51 | 0x54 | 0x55 => self.take(1).map(|_| Value::Other)?,
            0x61 => self.take(2).map(|_| Value::Other)?,
            0x71..=0x74 => self.take(4).map(|_| Value::Other)?,
            0x81..=0x84 => self.take(8).map(|_| Value::Other)?,
            0x94 | 0x98 => self.take(16).map(|_| Value::Other)?,
            _ => return None,
        })
    }

    fn sized(&mut self, width: usize) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number(width)?).ok()?;
        self.take(len)
    }
}

/// The fields of a list; those at the end may be missing.
pub(super) struct Fields<'a>(Values<'a>);

impl<'a> Fields<'a> {
    pub(super) fn new(list: &'a [u8]) -> Self {
        Self(Values::new(list))
    }

    pub(super) fn described(&mut self) -> (Option<u64>, Value<'a>) {
        self.0.described().unwrap_or((None, Value::Null))
    }

    pub(super) fn next(&mut self) -> Value<'a> {
        self.described().1
    }

    pub(super) fn skip(&mut self, count: usize) {
        for _ in 0..count {
            let _ = self.next();
        }
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        match self.next() {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        match self.next() {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_set(&mut self) -> bool {
        self.next() == Value::Bool(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_widths_are_passed_over() {
        let bytes = b"\x40\x41\x56\x00\x52\x07\x80\0\0\0\0\0\0\x01\0\xa1\x02hi\xb0\0\0\0\x01x\x71abcd\x98uuuuuuuuuuuuuuuu\xe0\x02\x00S\xc0\x03\x01\x52\x09\x45\0S\x24\x45";
        let mut values = Values::new(bytes);
        let expected = [
            Value::Null,
            Value::Bool(true),
            Value::Bool(false),
            Value::Number(7),
            Value::Number(256),
            Value::Text(b"hi"),
            Value::Text(b"x"),
            Value::Other,
            Value::Other,
            Value::Other,
            Value::Many(b"\x52\x09"),
            Value::Many(b""),
        ];
        for value in expected {
            assert_eq!(values.next(), Some(value));
        }
        assert_eq!(values.described(), Some((Some(0x24), Value::Many(b""))));
        assert_eq!(values.next(), None);
    }

    #[test]
    fn damaged_values_are_none() {
        for bytes in [&b"\xb1\xff\xff\xff\xffx"[..], b"\xc0\0", b"\0\0\0\0\0\0\0\0", b"\x99", b""] {
            assert_eq!(Values::new(bytes).next(), None, "{bytes:?}");
        }
    }
}
