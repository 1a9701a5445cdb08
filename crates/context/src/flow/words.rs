//! Words: futexes by the shape of who wakes whom on them. A mutex, or an interpreter's lock, has threads
//! that own requests on both sides; a future or a parked thread has one that is woken; a queue has two
//! sides. Only the last ones hand anything over.

use deeptrace_model::{BootTime, Duration, UnitId};
use rustc_hash::FxHashMap;

use super::pins::Pins;

/// Words that are remembered; beyond, all that are old go.
const WORDS_MAX: usize = 4096;
/// Threads of one side of a word that are remembered.
const THREADS_MAX: usize = 32;
/// Share of threads on both sides above which a word is a lock.
const BOTH_MAX: f32 = 0.3;
/// Wake-ups on a lock after which nobody wants to hear of it.
const MUTE_AFTER: u32 = 200;
/// Who was seen on a word counts for so long, and once more: memory is used again for other things.
const GENERATION: Duration = Duration::from_secs(5);
/// Wake-ups after which a word that was a lock may be something else.
const AGAIN_AFTER: u32 = 50;

#[derive(Debug, Default)]
pub(super) struct Words {
    words: FxHashMap<u64, Word>,
    locks: Vec<u64>,
}

#[derive(Debug, Default)]
struct Word {
    now: Sides,
    before: Sides,
    since: BootTime,
    seen: BootTime,
    was_lock: bool,
    is_muted: bool,
}

#[derive(Debug, Default)]
struct Sides {
    wakers: Vec<UnitId>,
    wakees: Vec<UnitId>,
    count: u32,
}

/// What a word is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It hands work or results over.
    HandOver,
    /// A lock of a queue that waiting threads pass on: it says something where an owner of a request is
    /// on one of its sides.
    Relay,
    /// Mutual exclusion: it says nothing.
    Lock,
}

impl Words {
    /// `waker` woke `wakee` on `word`.
    pub(super) fn seen(&mut self, time: BootTime, word: u64, waker: UnitId, wakee: UnitId) {
        if self.words.len() >= WORDS_MAX && !self.words.contains_key(&word) {
            let recent = time.minus(GENERATION);
            self.words.retain(|_, known| known.seen >= recent);
            if self.words.len() >= WORDS_MAX {
                self.words.clear();
            }
        }
        let known = self.words.entry(word).or_default();
        known.age(time);
        known.seen = time;
        known.now.add(waker, wakee);
    }

    /// What `word` is for, as seen so far.
    pub(super) fn shape(
        &mut self,
        word: u64,
        pins: &Pins,
        is_loop: impl Fn(UnitId) -> bool,
    ) -> Shape {
        let Some(known) = self.words.get_mut(&word) else { return Shape::HandOver };
        let count = known.now.count + known.before.count;
        if known.was_lock && count < AGAIN_AFTER {
            return Shape::Lock;
        }
        let shape = known.shape(pins, is_loop);
        known.was_lock = shape == Shape::Lock;
        if known.was_lock && count >= MUTE_AFTER && !known.is_muted {
            known.is_muted = true;
            self.locks.push(word);
        }
        shape
    }

    /// Locks of which there are many wake-ups, each once.
    pub(super) fn locks(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.locks)
    }
}

impl Sides {
    fn add(&mut self, waker: UnitId, wakee: UnitId) {
        self.count = self.count.saturating_add(1);
        for (side, thread) in [(&mut self.wakers, waker), (&mut self.wakees, wakee)] {
            if side.len() < THREADS_MAX && !side.contains(&thread) {
                side.push(thread);
            }
        }
    }
}

impl Word {
    /// Forgets who was seen too long ago.
    fn age(&mut self, time: BootTime) {
        if time.since(self.since) < GENERATION {
            return;
        }
        let is_old = time.since(self.since) >= Duration(2 * GENERATION.0);
        self.before = std::mem::take(&mut self.now);
        if is_old {
            self.before = Sides::default();
        }
        (self.since, self.is_muted) = (time, false);
    }

    fn shape(&self, pins: &Pins, is_loop: impl Fn(UnitId) -> bool) -> Shape {
        let either = |side: fn(&Sides) -> &Vec<UnitId>| {
            let (now, before) = (side(&self.now), side(&self.before));
            let older = before.iter().filter(|thread| !now.contains(thread));
            now.iter().chain(older).copied().collect::<Vec<UnitId>>()
        };
        let wakers = either(|sides| &sides.wakers);
        let wakees = either(|sides| &sides.wakees);
        let both = || wakers.iter().copied().filter(|thread| wakees.contains(thread));
        let count = both().count();
        let owners = both().filter(|thread| pins.is_owner(*thread)).count();
        let woken = wakees.iter().filter(|thread| pins.is_owner(**thread)).count();
        if owners >= 2 || (owners >= 1 && woken <= 2 && count >= 2) {
            return Shape::Lock;
        }
        let fewer = wakers.len().min(wakees.len()).max(1);
        if count < 2 || count as f32 / fewer as f32 <= BOTH_MAX {
            return Shape::HandOver;
        }
        if both().any(is_loop) { Shape::Lock } else { Shape::Relay }
    }
}

#[cfg(test)]
mod tests {
    use deeptrace_model::SpanId;

    use super::*;

    fn pins(owners: &[u64]) -> Pins {
        let mut pins = Pins::default();
        for owner in owners {
            pins.add(UnitId(*owner), (BootTime(1), BootTime(2)), SpanId(*owner));
        }
        pins
    }

    #[test]
    fn shapes() {
        type Wakes = &'static [(u64, u64)];
        let table: &[(&str, Wakes, &[u64], Shape)] = &[
            ("a future", &[(9, 1), (8, 1)], &[1, 2], Shape::HandOver),
            ("a queue", &[(1, 8), (2, 9), (1, 9)], &[1, 2], Shape::HandOver),
            ("an interpreter's lock", &[(1, 2), (2, 1), (1, 9), (9, 2)], &[1, 2], Shape::Lock),
            ("a queue whose waiters pass it on", &[(1, 8), (8, 9), (9, 8)], &[1], Shape::Relay),
        ];
        for (name, wakes, owners, shape) in table {
            let mut words = Words::default();
            for (waker, wakee) in *wakes {
                words.seen(BootTime(1), 7, UnitId(*waker), UnitId(*wakee));
            }
            assert_eq!(words.shape(7, &pins(owners), |_| false), *shape, "{name}");
        }
    }

    #[test]
    fn a_lock_is_named_once_when_it_is_busy() {
        let (mut words, pins) = (Words::default(), pins(&[1, 2]));
        for _ in 0..MUTE_AFTER {
            words.seen(BootTime(1), 7, UnitId(1), UnitId(2));
            words.seen(BootTime(1), 7, UnitId(2), UnitId(1));
            words.shape(7, &pins, |_| false);
        }
        assert_eq!(words.locks(), [7]);
        assert!(words.locks().is_empty());
        // Memory is used again: after a while it may be a future.
        let later = BootTime(20_000_000_000);
        for count in 0..AGAIN_AFTER {
            assert_eq!(words.shape(7, &pins, |_| false), Shape::Lock, "{count}");
            words.seen(later, 7, UnitId(9), UnitId(1));
        }
        assert_eq!(words.shape(7, &pins, |_| false), Shape::HandOver);
    }
}
