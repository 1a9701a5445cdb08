//! Stream: which bytes of one direction were seen, so that none is told twice.

use std::collections::VecDeque;

/// Holes that are remembered; the oldest is given up for another.
const HOLES_MAX: usize = 64;

/// A sequence number farther away than this belongs to another connection of the same addresses.
const ELSEWHERE: u32 = 1 << 28;

/// One direction of a TCP connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// After the last byte seen; `None` before the first.
    next: Option<u32>,
    /// What is missing before `next`, oldest first, as start and end.
    holes: VecDeque<(u32, u32)>,
    /// Whether its end was seen.
    pub(super) is_finished: bool,
}

impl Stream {
    /// The stream begins at `start`, unless that is known.
    pub(super) fn begin(&mut self, start: u32) {
        self.next.get_or_insert(start);
    }

    /// After the last byte seen.
    pub(super) fn next(&self) -> Option<u32> {
        self.next
    }

    /// Whether nothing is missing before its end.
    pub(super) fn is_complete(&self) -> bool {
        self.is_finished && self.holes.is_empty()
    }

    /// Whether `start` is too far away to be of this stream.
    pub(super) fn is_elsewhere(&self, start: u32) -> bool {
        self.next.is_some_and(|next| distance(next, start).unsigned_abs() > ELSEWHERE)
    }

    /// Tells which parts of `start..start + len` are new, as offset and length, and remembers
    /// them. Returns the number of holes given up.
    pub(super) fn take(&mut self, start: u32, len: u32, new: &mut Vec<(u32, u32)>) -> u64 {
        if len == 0 {
            return 0;
        }
        let end = start.wrapping_add(len);
        let next = *self.next.get_or_insert(start);
        if distance(next, start) < 0 {
            self.fill(start, end, new);
        }
        if distance(next, end) > 0 {
            self.next = Some(end);
            let has_gap = distance(next, start) > 0;
            let from = if has_gap { start } else { next };
            let offset = from.wrapping_sub(start);
            new.push((offset, len - offset));
            if has_gap {
                self.holes.push_back((next, start));
            }
        }
        let too_many = self.holes.len().saturating_sub(HOLES_MAX);
        self.holes.drain(..too_many);
        too_many as u64
    }

    /// The parts of `start..end` that lie in holes.
    fn fill(&mut self, start: u32, end: u32, new: &mut Vec<(u32, u32)>) {
        let mut at = 0;
        while let Some(&(from, to)) = self.holes.get(at) {
            let low = if distance(from, start) > 0 { start } else { from };
            let high = if distance(to, end) < 0 { end } else { to };
            if distance(low, high) <= 0 {
                at += 1;
                continue;
            }
            new.push((low.wrapping_sub(start), high.wrapping_sub(low)));
            self.holes.remove(at);
            for rest in [(high, to), (from, low)] {
                if rest.0 != rest.1 {
                    self.holes.insert(at, rest);
                }
            }
            at += usize::from(low != from) + usize::from(high != to);
        }
    }
}

/// From `a` to `b`, modulo 2³² (RFC 9293 §3.4).
fn distance(a: u32, b: u32) -> i32 {
    b.wrapping_sub(a) as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_new_bytes_are_told() {
        // Segments as start and length; what of each is new.
        type Row<'a> = (&'a [(u32, u32)], &'a [&'a [(u32, u32)]]);
        let rows: &[Row<'_>] = &[
            // In order, then repeated, then overlapping.
            (&[(10, 5), (15, 5), (10, 5), (12, 10)], &[&[(0, 5)], &[(0, 5)], &[], &[(8, 2)]]),
            // A hole that is filled in two parts, the second from both sides.
            (
                &[(0, 10), (30, 10), (15, 5), (5, 40)],
                &[&[(0, 10)], &[(0, 10)], &[(0, 5)], &[(5, 5), (15, 10), (35, 5)]],
            ),
            // Across the wrap.
            (&[(u32::MAX - 1, 4), (0, 4)], &[&[(0, 4)], &[(2, 2)]]),
            // A keep-alive probes with the byte before the next.
            (&[(100, 10), (109, 1), (110, 0)], &[&[(0, 10)], &[], &[]]),
        ];
        for (segments, expected) in rows {
            let mut stream = Stream::default();
            for ((start, len), expected) in segments.iter().zip(*expected) {
                let mut new = Vec::new();
                stream.take(*start, *len, &mut new);
                assert_eq!(new, *expected, "{start} {len} of {segments:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn each_byte_is_told_once(
            base in any::<u32>(),
            segments in prop::collection::vec((0_u32..200, 0_u32..50), 1..60),
        ) {
            let mut stream = Stream::default();
            stream.begin(base);
            let mut told = [0; 256];
            let mut seen = [false; 256];
            for (start, len) in segments {
                let mut new = Vec::new();
                stream.take(base.wrapping_add(start), len, &mut new);
                for (offset, count) in new {
                    for byte in start + offset..start + offset + count {
                        told[byte as usize] += 1;
                    }
                }
                seen[start as usize..(start + len) as usize].fill(true);
            }
            for (told, seen) in told.iter().zip(seen) {
                prop_assert_eq!(*told, i32::from(seen));
            }
        }
    }
}
