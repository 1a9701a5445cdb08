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
    /// When it came among those that wait, or when the first of those came that wait for it.
    turn: u64,
}

impl Held {
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

    fn cost(&self) -> usize {
        self.bytes.len() + HELD_OVERHEAD
    }
}

/// Calls of one connection that wait because one before them is missing.
///
/// Both directions wait, in the order in which they came, so that an answer is never given out
/// before the request whose bytes are late.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// By direction and position. In each of them turns never fall.
    held: [VecDeque<Held>; 2],
    turns: u64,
    /// Bytes held.
    pub(crate) bytes: usize,
    /// Since when the oldest waits.
    pub(crate) since: BootTime,
    /// Whether the stage will look at this connection when time passes.
    pub(crate) watched: bool,
}

/// What a held call costs beside its bytes.
const HELD_OVERHEAD: usize = size_of::<Held>();

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.iter().all(VecDeque::is_empty)
    }

    /// The lowest position held in the direction in which bytes are missing, which is that of the
    /// oldest.
    pub(crate) fn lowest(&self) -> Option<(Direction, u64)> {
        let first = self.held.iter().filter_map(VecDeque::front).min_by_key(|held| held.turn)?;
        Some((first.direction, first.start))
    }

    /// Puts a call at its place; returns the bytes that costs.
    pub(crate) fn push(&mut self, piece: &Piece<'_>, now: BootTime) -> usize {
        if self.is_empty() {
            self.since = now;
        }
        self.turns += 1;
        let line = &mut self.held[piece.direction as usize];
        let behind = line.iter().rev().take_while(|held| held.start > piece.start).count();
        let at = line.len() - behind;
        let held = Held {
            direction: piece.direction,
            start: piece.start,
            len: piece.len,
            bytes: piece.bytes.into(),
            touch: piece.touch,
            turn: line.get(at).map_or(self.turns, |next| next.turn),
        };
        let cost = held.cost();
        self.bytes += cost;
        line.insert(at, held);
        cost
    }

    /// Takes out the next call that can go on, where `next` are the expected positions.
    pub(crate) fn pop_ready(&mut self, next: [u64; 2]) -> Option<Held> {
        let (stuck, start) = self.lowest()?;
        if start > next[stuck as usize] {
            return None;
        }
        let held = self.held[stuck as usize].pop_front()?;
        self.bytes -= held.cost();
        Some(held)
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

    #[test]
    fn what_waits_goes_on_in_the_order_in_which_it_came() {
        let touch = Touch::default();
        let piece = |direction, start| Piece { direction, start, len: 10, bytes: &[0; 4], touch };
        let mut queue = Queue::default();
        // The first of each direction is missing; of what was received, the third came before the second.
        for (direction, start) in [
            (Direction::Received, 30),
            (Direction::Sent, 110),
            (Direction::Received, 20),
            (Direction::Sent, 120),
            (Direction::Received, 40),
        ] {
            queue.push(&piece(direction, start), BootTime(7));
        }
        assert_eq!(queue.lowest(), Some((Direction::Received, 20)));
        let mut next = [20, 110];
        let (mut order, mut held) = (Vec::new(), queue.pop_ready([10, 110]));
        assert!(held.is_none(), "an answer does not overtake what is late");
        while let Some(ready) = queue.pop_ready(next) {
            next[ready.direction as usize] = ready.piece().end();
            order.push(ready.start);
            held = Some(ready);
        }
        assert_eq!(order, [20, 30, 110, 120, 40]);
        assert_eq!(held.map(|held| held.bytes.len()), Some(4));
        assert_eq!((queue.bytes, queue.is_empty()), (0, true));
    }
}
