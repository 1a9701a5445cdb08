//! Cursor: the primitive types of the protocol guide ("Protocol Primitive Types"), read one after
//! the other. `None` where bytes are missing or impossible; nothing is allocated by a length.

/// A place in some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// Compact lengths, and tagged fields after each structure (KIP-482).
    is_flexible: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], is_flexible: bool) -> Self {
        Self { rest: bytes, is_flexible }
    }

    /// What was not read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(front)
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.fixed().map(u8::from_be_bytes)
    }

    pub(super) fn short(&mut self) -> Option<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(super) fn int(&mut self) -> Option<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Option<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Option<[u8; 16]> {
        self.fixed()
    }

    /// `UNSIGNED_VARINT`: at most five bytes.
    fn unsigned(&mut self) -> Option<u32> {
        let mut number = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).ok();
            }
        }
        None
    }

    /// `VARINT` and `VARLONG`: zigzag, at most ten bytes.
    pub(super) fn varint(&mut self) -> Option<i64> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        None
    }

    /// A length in the form of this version; minus one stands for null.
    fn length(&mut self, is_string: bool) -> Option<i64> {
        match (self.is_flexible, is_string) {
            (true, _) => Some(i64::from(self.unsigned()?) - 1),
            (false, true) => self.short().map(i64::from),
            (false, false) => self.int().map(i64::from),
        }
    }

    /// `STRING` and `NULLABLE_STRING`; null is empty.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let len = self.length(true)?;
        if len == -1 { Some(&[]) } else { self.take(usize::try_from(len).ok()?) }
    }

    /// Length of `BYTES` or `RECORDS`, which follow; null is empty.
    pub(super) fn bytes_len(&mut self) -> Option<usize> {
        let len = self.length(false)?;
        if len == -1 { Some(0) } else { usize::try_from(len).ok() }
    }

    /// Number of elements of an `ARRAY`; null is none.
    pub(super) fn count(&mut self) -> Option<u32> {
        let count = self.length(false)?;
        if count == -1 { Some(0) } else { u32::try_from(count).ok() }
    }

    /// Passes over an array of numbers, `size` bytes each.
    pub(super) fn skip_numbers(&mut self, size: usize) -> Option<()> {
        let count = self.count()? as usize;
        self.take(count.checked_mul(size)?).map(|_| ())
    }

    /// Passes over tagged fields, if this version has them.
    pub(super) fn tags(&mut self) -> Option<()> {
        if !self.is_flexible {
            return Some(());
        }
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let len = self.unsigned()?;
            self.take(len as usize)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_lengths_are_read() {
        let mut plain = Cursor::new(b"\0\x02ab\xff\xff\0\0\0\x01\xff\xff\xff\xff", false);
        assert_eq!(plain.string(), Some(&b"ab"[..]));
        assert_eq!(plain.string(), Some(&b""[..]));
        assert_eq!((plain.count(), plain.count(), plain.byte()), (Some(1), Some(0), None));
        let mut compact = Cursor::new(b"\x03ab\x00\x02\x01\x05\x02xy!", true);
        assert_eq!(compact.string(), Some(&b"ab"[..]));
        assert_eq!(compact.string(), Some(&b""[..]));
        assert_eq!((compact.count(), compact.tags()), (Some(1), Some(())));
        assert_eq!(compact.rest(), b"!");
    }

    #[test]
    fn numbers_of_any_length_end() {
        let zigzag = |bytes: &[u8]| Cursor::new(bytes, true).varint();
        assert_eq!(zigzag(b"\x01"), Some(-1));
        assert_eq!(zigzag(b"\xac\x02"), Some(150));
        assert_eq!(zigzag(&[0xff; 12]), None);
        assert_eq!(Cursor::new(&[0xff; 12], true).count(), None);
        assert_eq!(Cursor::new(b"\xff\xff\xff\xff\x0f", true).skip_numbers(8), None);
        assert_eq!(Cursor::new(b"\xff\xfe", false).string(), None);
    }
}
