//! Segment: what version 5 puts around envelopes once the connection is set up (§2.2 and §2.3).

/// Bytes after the payload: its CRC-32, which is not looked at.
pub(super) const TRAILER: u64 = 4;

/// Longest header.
pub(super) const HEADER_MAX: usize = 8;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Bytes before the payload.
    pub(super) header: usize,
    pub(super) payload: u64,
    /// Whole envelopes; else a part of one.
    pub(super) is_self_contained: bool,
    pub(super) is_compressed: bool,
}

impl Segment {
    /// The segment at the front, if its header's checksum is right; takes [`HEADER_MAX`] bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        const LENGTH: u64 = 0x1_ffff;
        let field = |len: usize| {
            let bytes = bytes.get(..len)?;
            Some(bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
        };
        let whole = |header: usize| {
            let (fields, sum) = (field(header)?, field(header + 3)? >> (8 * header));
            (u64::from(crc24(fields, header)) == sum).then_some(fields)
        };
        let segment = if let Some(fields) = whole(3) {
            let is_self_contained = fields >> 17 & 1 == 1;
            let payload = fields & LENGTH;
            (fields >> 18 == 0).then_some(())?;
            Self { header: 6, payload, is_self_contained, is_compressed: false }
        } else {
            let fields = whole(5)?;
            let is_self_contained = fields >> 34 & 1 == 1;
            let is_compressed = fields >> 17 & LENGTH != 0;
            (fields >> 35 == 0).then_some(())?;
            Self { header: 8, payload: fields & LENGTH, is_self_contained, is_compressed }
        };
        (segment.payload > 0).then_some(segment)
    }

    /// Bytes with header and trailer.
    pub(super) fn len(&self) -> u64 {
        self.header as u64 + self.payload + TRAILER
    }
}

/// CRC-24 with polynomial 0x1974f0b and start value 0x875060, lowest byte first.
fn crc24(fields: u64, len: usize) -> u32 {
    let mut crc = 0x0087_5060;
    for byte in &fields.to_le_bytes()[..len.min(8)] {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0197_4f0b;
            }
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_known_by_its_checksum() {
        // Sent by the driver for Python, 3.30.1.
        let bytes = b"\x84\x00\x02M(v\x05\x00";
        let segment = Segment::read(bytes).expect("a segment");
        let (header, payload) = (6, 0x84);
        let is = Segment { header, payload, is_self_contained: true, is_compressed: false };
        assert_eq!(segment, is);
        assert_eq!(segment.len(), 6 + 0x84 + 4);
        for at in 0..6 {
            let mut bytes = *bytes;
            bytes[at] ^= 1;
            assert_eq!(Segment::read(&bytes), None);
        }
    }
}
