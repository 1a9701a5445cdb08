//! Order of calls by sequence: numbers that wrap made long, and calls that wait for one before.

use std::collections::VecDeque;

use deeptrace_model::{BootTime, Direction, Touch};

/// Positions further behind than this are a new place in the stream, not a repetition: no window
/// of TCP (RFC 7323 §2.3: 1 GiB) is in use at that size.
const REPETITION_MAX: u64 = 64 << 20;

/// A call's bytes with their place in the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) direction: Direction,
    /// Position of the first byte, extended to 64 bits.
    pub(crate) start: u64,
    /// Bytes moved.
    pub(crate) len: u64,
    /// The first of them.
    pub(crate) bytes: &'a [u8],
    pub(crate) touch: Touch,
}

impl Piece<'_> {
    /// Position after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Without its first `count` bytes.
    pub(crate) fn trimmed(&self, count: u64) -> Self {
        let seen = usize::try_from(count).map_or(self.bytes.len(), |n| n.min(self.bytes.len()));
        let (start, len, bytes) = (self.start + count, self.len - count, &self.bytes[seen..]);
        Self { start, len, bytes, ..*self }
    }
}

/// Where a call lies as seen from the position that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Right there.
    Next(u64),
    /// Further on: bytes are missing before it.
    Ahead(u64),
    /// It begins so many bytes before: they were seen already.
    Behind(u64),
}

/// Places a call that says it starts at `start`, where `next` is expected. Numbers below 2³² wrap,
/// as those of TCP do (RFC 9293 §3.4).
pub(crate) fn place(next: u64, start: u64, wraps: bool) -> Place {
    let ahead = if wraps {
        i64::from((start as u32).wrapping_sub(next as u32) as i32)
    } else {
        start.wrapping_sub(next) as i64
    };
    match ahead {
        0 => Place::Next(next),
        1.. => Place::Ahead(next.wrapping_add(ahead as u64)),
        _ if ahead.unsigned_abs() > REPETITION_MAX => {
            // So far back that it went all the way round.
            let lap = if wraps { (1i64 << 32) + ahead } else { 0 };
            Place::Ahead(next.saturating_add(lap.unsigned_abs()))
        }
        _ => Place::Behind(ahead.unsigned_abs()),
    }
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) direction: Direction,
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) bytes: Box<[u8]>,
    pub(crate) touch: Touch,
}

impl Held {
    /// Copies a call.
    pub(crate) fn new(piece: &Piece<'_>) -> Self {
        Self {
            direction: piece.direction,
            start: piece.start,
            len: piece.len,
            bytes: piece.bytes.into(),
            touch: piece.touch,
        }
    }

    /// The call again.
    pub(crate) fn piece(&self) -> Piece<'_> {
        Piece {
            direction: self.direction,
            start: self.start,
            len: self.len,
            bytes: &self.bytes,
            touch: self.touch,
        }
    }
}

/// Calls of one connection that wait because one before them is missing.
///
/// Both directions wait, in the order in which they came, so that an answer is never given out
/// before the request whose bytes are late.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    held: VecDeque<Held>,
    /// Bytes held.
    pub(crate) bytes: usize,
    /// Since when the oldest waits.
    pub(crate) since: BootTime,
    /// Whether the stage will look at this connection when time passes.
    pub(crate) watched: bool,
}

/// What a held call costs beside its bytes.
pub(crate) const HELD_OVERHEAD: usize = size_of::<Held>();

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The direction in which bytes are missing.
    pub(crate) fn stuck(&self) -> Option<Direction> {
        self.held.front().map(|held| held.direction)
    }

    /// Puts a call at the end; returns the bytes that costs.
    pub(crate) fn push(&mut self, piece: &Piece<'_>, now: BootTime) -> usize {
        if self.held.is_empty() {
            self.since = now;
        }
        let cost = piece.bytes.len() + HELD_OVERHEAD;
        self.bytes += cost;
        self.held.push_back(Held::new(piece));
        cost
    }

    /// Takes out the next call that can go on, where `next` are the expected positions: the
    /// oldest, or one that fills the hole before the oldest.
    pub(crate) fn pop_ready(&mut self, next: [u64; 2]) -> Option<Held> {
        let stuck = self.stuck()?;
        let ready = |held: &Held| held.start <= next[held.direction as usize];
        let index = match self.held.front() {
            Some(front) if ready(front) => 0,
            _ => self.held.iter().position(|held| held.direction == stuck && ready(held))?,
        };
        let held = self.held.remove(index)?;
        self.bytes -= held.bytes.len() + HELD_OVERHEAD;
        Some(held)
    }

    /// The lowest position held in the direction that is stuck.
    pub(crate) fn lowest(&self) -> Option<(Direction, u64)> {
        let stuck = self.stuck()?;
        let starts = self.held.iter().filter(|held| held.direction == stuck).map(|h| h.start);
        Some((stuck, starts.min()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_around_the_wrap() {
        let top = u64::from(u32::MAX);
        assert_eq!(place(top, top, true), Place::Next(top));
        assert_eq!(place(top, 4, true), Place::Ahead(top + 5));
        assert_eq!(place(top + 5, 4, true), Place::Next(top + 5));
        assert_eq!(place(top + 5, top, true), Place::Behind(5));
        assert_eq!(place(100, 100, false), Place::Next(100));
        assert_eq!(place(1 << 40, (1 << 40) - 3, false), Place::Behind(3));
    }

    #[test]
    fn far_behind_is_a_lap_ahead() {
        let next = 3_000_000_000;
        assert_eq!(place(next, 1_000_000_000, true), Place::Ahead((1 << 32) + 1_000_000_000));
    }
}
