//! Needle: a text that is known by its hash only, and found all the same in others.
//!
//! HMAC-SHA256 (RFC 2104) under a random salt decides. Of a text in which it may occur every part of its
//! length would have to be hashed; sixteen bits of a rolling hash under the same salt leave one part of
//! 65,536. Whoever holds the salt can try values anyway; the bits only make that cheaper.

use ring::hmac;
use serde::{Deserialize, Serialize};

/// A text that is known by its hash only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Needle {
    /// Bytes of the text.
    length: usize,
    /// Upper bits of its rolling hash.
    fingerprint: u16,
    /// HMAC-SHA256 of the text.
    #[serde(with = "crate::hex")]
    hash: [u8; 32],
}

/// What is needed to compare with needles of one tombstone.
#[derive(Clone)]
pub(crate) struct Salted {
    key: hmac::Key,
    /// Odd, so that no byte's part in a hash gets lost.
    factor: u64,
}

impl Salted {
    pub(crate) fn new(salt: &[u8; 16]) -> Self {
        let (factor, _) = salt.split_at(8);
        let factor = factor.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, salt), factor: factor | 1 }
    }

    pub(crate) fn hash(&self, text: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.key, text).as_ref());
        hash
    }

    pub(crate) fn needle(&self, text: &[u8]) -> Needle {
        let fingerprint = fingerprint(self.rolled(text));
        Needle { length: text.len(), fingerprint, hash: self.hash(text) }
    }

    fn rolled(&self, text: &[u8]) -> u64 {
        text.iter().fold(0, |hash, byte| self.roll(hash, *byte))
    }

    fn roll(&self, hash: u64, byte: u8) -> u64 {
        hash.wrapping_mul(self.factor).wrapping_add(u64::from(byte) + 1)
    }
}

fn fingerprint(rolled: u64) -> u16 {
    (rolled >> 48) as u16
}

impl Needle {
    /// Whether `text` is it.
    pub(crate) fn is(&self, salted: &Salted, text: &[u8]) -> bool {
        text.len() == self.length && salted.hash(text) == self.hash
    }

    /// Whether it occurs in `text`.
    pub(crate) fn is_in(&self, salted: &Salted, text: &[u8]) -> bool {
        if self.length == 0 || text.len() < self.length {
            return false;
        }
        // What the byte that leaves has contributed by then.
        let exponent = u32::try_from(self.length).unwrap_or(u32::MAX);
        let leaving = salted.factor.wrapping_pow(exponent);
        let mut hash = salted.rolled(&text[..self.length]);
        for end in self.length..=text.len() {
            let start = end - self.length;
            if fingerprint(hash) == self.fingerprint && self.is(salted, &text[start..end]) {
                return true;
            }
            if let Some(byte) = text.get(end) {
                let gone = (u64::from(text[start]) + 1).wrapping_mul(leaving);
                hash = salted.roll(hash, *byte).wrapping_sub(gone);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_where_it_is_and_nowhere_else() {
        let salted = Salted::new(b"0123456789abcdef");
        let needle = salted.needle(b"anna@shop.example");
        for (text, is_in) in [
            ("anna@shop.example", true),
            ("GET /users/anna@shop.example HTTP/1.1", true),
            ("xanna@shop.example", true),
            ("anna@shop.exampl", false),
            ("anna@shop.examplf", false),
            ("", false),
        ] {
            assert_eq!(needle.is_in(&salted, text.as_bytes()), is_in, "{text}");
            assert_eq!(needle.is(&salted, text.as_bytes()), text == "anna@shop.example");
        }
        let other = Salted::new(b"0123456789abcdeX");
        assert!(!needle.is(&other, b"anna@shop.example"));
        let text: Vec<u8> = (0..600_u32).map(|n| (n * n % 251) as u8).collect();
        for (from, len) in [(0, 1), (3, 40), (560, 40), (0, 600)] {
            let needle = salted.needle(&text[from..from + len]);
            assert!(needle.is_in(&salted, &text), "{len} bytes from {from}");
        }
    }
}
