//! Packet: three bytes of length, a sequence number, content ("MySQL Packets").

/// Length and sequence number.
pub(super) const HEADER: usize = 4;

/// A packet of this length goes on in the next.
pub(super) const LENGTH_MAX: usize = 0xff_ffff;

/// What is there of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Length of its content.
    pub(super) len: usize,
    /// Zero for a command, one more for each packet of the exchange.
    pub(super) sequence: u8,
    /// What is there of its content.
    pub(super) body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a header and what is there of the content; `None` where the header is not whole.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let [a, b, c, sequence] = *bytes.first_chunk::<HEADER>()?;
        let len = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        let rest = &bytes[HEADER..];
        Some(Self { len, sequence, body: &rest[..rest.len().min(len)] })
    }

    /// Whether `wanted` bytes of the content are there, or all of it.
    pub(super) fn has(&self, wanted: usize) -> bool {
        self.body.len() >= wanted.min(self.len)
    }

    /// Whether all of the content is there.
    pub(super) fn is_whole(&self) -> bool {
        self.body.len() == self.len
    }

    /// Bytes with the header.
    pub(super) fn size(&self) -> u64 {
        (HEADER + self.len) as u64
    }

    /// Its content cut down to `most` bytes, more of which is never looked at.
    pub(super) fn window(&self, most: usize) -> &'a [u8] {
        &self.body[..self.body.len().min(most)]
    }
}

/// A little-endian number of two bytes.
pub(super) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A little-endian number of four bytes.
pub(super) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A length-encoded number at the front, and what follows it.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first {
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
        small => return Some((u64::from(*small), rest)),
    };
    let (digits, rest) = rest.split_at_checked(width)?;
    let number = digits.iter().rev().fold(0, |number, digit| number << 8 | u64::from(*digit));
    Some((number, rest))
}

/// A length-encoded text at the front, and what follows it.
pub(super) fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = number(bytes)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

/// The text at the front up to its NUL, and what follows; `None` where the NUL is missing.
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
