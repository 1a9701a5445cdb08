//! Payloads: the first bytes of messages, kept once where messages repeat.
//!
//! Health checks, prepared statements and small answers are the same bytes again and again. The last
//! payload of each hash is remembered; one that is equal to it is not copied.

use deeptrace_model::Payload;

/// Payloads remembered.
const SLOTS: usize = 1024;

/// Recent payloads, by hash.
#[derive(Debug)]
pub(crate) struct Payloads {
    slots: Box<[Payload]>,
}

impl Default for Payloads {
    fn default() -> Self {
        Self { slots: vec![Payload::default(); SLOTS].into() }
    }
}

impl Payloads {
    /// `bytes` as a payload; `hash` is of their front.
    pub(crate) fn keep(&mut self, bytes: &[u8], hash: u64) -> Payload {
        let slot = &mut self.slots[hash as usize % SLOTS];
        if **slot != *bytes {
            *slot = bytes.into();
        }
        slot.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_kept_once() {
        let mut payloads = Payloads::default();
        let one = payloads.keep(b"GET / HTTP/1.1", 1);
        assert!(payloads.keep(b"GET / HTTP/1.1", 1).is_shared_with(&one));
        let other = payloads.keep(b"GET /other", 1 + SLOTS as u64);
        assert_eq!((&*one, &*other), (&b"GET / HTTP/1.1"[..], &b"GET /other"[..]));
        assert_eq!(payloads.keep(b"", 3), Payload::default());
    }
}
