//! Huffman-coded strings: RFC 7541 §5.2, with the code of appendix B.
//!
//! The code is canonical: shorter codes come first, equally long ones in the order of their bytes. So
//! the lengths say it all. Bits are read one at a time: header strings are short.

/// Bits of the code of each byte. The end of a string (30 bits, all ones) never occurs in one.
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Bits of the longest code.
const BITS_MAX: usize = 30;

/// Bytes in the order of their codes, with the number of codes of each length.
const CODES: ([u8; 256], [u32; BITS_MAX + 1]) = codes();

const fn codes() -> ([u8; 256], [u32; BITS_MAX + 1]) {
    let (mut bytes, mut counts) = ([0; 256], [0; BITS_MAX + 1]);
    let (mut at, mut bits) = (0, 1);
    while bits <= BITS_MAX {
        let mut byte = 0;
        while byte < 256 {
            if BITS[byte] as usize == bits {
                bytes[at] = byte as u8;
                at += 1;
                counts[bits] += 1;
            }
            byte += 1;
        }
        bits += 1;
    }
    (bytes, counts)
}

/// The string, or `None` if the bits are none: fewer than eight ones fill the last byte.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    // The shortest code has five bits.
    let mut out = Vec::with_capacity(coded.len() * 8 / 5);
    let mut code = Code::default();
    for byte in coded {
        for bit in (0..8).rev() {
            if let Some(decoded) = code.push(u32::from(byte >> bit & 1))? {
                out.push(decoded);
            }
        }
    }
    (code.bits < 8 && code.value + 1 == 1 << code.bits).then_some(out)
}

/// A code that is being read.
#[derive(Default)]
struct Code {
    bits: usize,
    value: u32,
    /// First code of this length.
    first: u32,
    /// Codes that are shorter.
    shorter: u32,
}

impl Code {
    /// Takes a bit; the byte, if it is the last one of a code. `None` if there is no such code.
    fn push(&mut self, bit: u32) -> Option<Option<u8>> {
        self.bits += 1;
        self.value = self.value << 1 | bit;
        self.first <<= 1;
        let count = *CODES.1.get(self.bits)?;
        let place = self.value - self.first;
        if place < count {
            let byte = CODES.0.get((self.shorter + place) as usize).copied();
            *self = Self::default();
            return byte.map(Some);
        }
        self.first += count;
        self.shorter += count;
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_is_refused() {
        assert_eq!(decode(b""), Some(vec![]));
        // `0` has the code 00000; what fills the byte must be ones, and fewer than eight.
        assert_eq!(decode(&[0x07]), Some(b"0".to_vec()));
        assert_eq!(decode(&[0x06]), None);
        assert_eq!(decode(&[0x07, 0xff]), None);
        // The code of the end of a string.
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None);
    }
}
