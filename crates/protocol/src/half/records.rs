//! Records: where plaintext of TLS is on the wire, so that messages are named as both ends see them.

use std::collections::VecDeque;

/// Records that are remembered: more than a parser may ask to have together in small ones.
const RECORDS_MAX: usize = 4096;

/// The beginnings of records, or parts of records, in one direction.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Position in the stream, and on the wire.
    known: VecDeque<(u64, u32)>,
}

impl Records {
    /// The byte at `start` is at `position` on the wire. Nothing before `needed` is asked for again.
    pub(super) fn add(&mut self, start: u64, position: u32, needed: u64) {
        while self.known.get(1).is_some_and(|next| next.0 <= needed)
            || self.known.len() >= RECORDS_MAX
        {
            self.known.pop_front();
        }
        self.known.push_back((start, position));
    }

    /// Where the byte at `at` is on the wire. `None`: this is no plaintext, or it is not known.
    pub(super) fn position(&self, at: u64) -> Option<u64> {
        let known = self.known.iter().rev().find(|known| known.0 <= at)?;
        Some(u64::from(known.1.wrapping_add((at - known.0) as u32)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_records_and_wrap() {
        let mut records = Records::default();
        assert_eq!(records.position(0), None);
        records.add(100, u32::MAX, 100);
        records.add(150, 1000, 100);
        assert_eq!(records.position(99), None);
        assert_eq!(records.position(101), Some(0));
        assert_eq!(records.position(151), Some(1001));
        records.add(200, 2000, 160);
        assert_eq!(records.position(140), None, "not needed any more");
        assert_eq!(records.position(160), Some(1010));
        for n in 0..2 * RECORDS_MAX as u64 {
            records.add(300 + n, 0, 0);
        }
        assert_eq!(records.known.len(), RECORDS_MAX);
    }
}
