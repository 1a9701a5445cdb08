//! Pairs: two things of one key that come one after the other, in any order. The first one waits.

use std::collections::VecDeque;
use std::hash::Hasher;

use hashbrown::HashTable;

use crate::KeyHasher;

/// First ones that wait for their second, in the order in which they came.
///
/// Tens of thousands wait while a host is busy, and whoever is added there for good pushes something out of
/// the processor's caches. So they lie one behind the other, where what comes and what has waited longest is
/// fetched ahead, and the index has five bytes for each. Whoever owns it says how many may wait, and keeps
/// `T` small.
pub struct Pairs<T> {
    /// What was taken out of the middle has left its place empty; the front never is.
    waiting: VecDeque<Option<Waiting<T>>>,
    /// Numbers of the places by key; the front has the number `first`, and numbers wrap.
    places: HashTable<u32>,
    first: u32,
}

struct Waiting<T> {
    key: u64,
    is_left: bool,
    value: T,
}

/// What became of one that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added<T> {
    /// It waits.
    Waits,
    /// The other one had waited; this is it, and the one that was added.
    Pair(T, T),
    /// One of the same side waits already; nothing was changed.
    Again,
}

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), places: HashTable::new(), first: 0 }
    }
}

impl<T> std::fmt::Debug for Pairs<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pairs").field("len", &self.places.len()).finish_non_exhaustive()
    }
}

impl<T> Pairs<T> {
    /// Adds one; `is_left` tells the two of a pair apart.
    pub fn add(&mut self, key: u64, is_left: bool, value: T) -> Added<T> {
        let Self { waiting, places, first } = self;
        let key_at = |place: u32| {
            let waiting = waiting.get(place.wrapping_sub(*first) as usize)?.as_ref();
            waiting.map(|it| it.key)
        };
        let Ok(place) = places.find_entry(hash(key), |place| key_at(*place) == Some(key)) else {
            let next = first.wrapping_add(waiting.len() as u32);
            places.insert_unique(hash(key), next, |place| key_at(*place).map_or(0, hash));
            waiting.push_back(Some(Waiting { key, is_left, value }));
            return Added::Waits;
        };
        let at = place.get().wrapping_sub(*first) as usize;
        let is_other = |it: &mut Waiting<T>| it.is_left != is_left;
        let Some(other) = waiting[at].take_if(is_other) else { return Added::Again };
        place.remove();
        self.drop_empty();
        Added::Pair(other.value, value)
    }

    /// The one that has waited longest.
    pub fn oldest(&self) -> Option<&T> {
        self.waiting.front()?.as_ref().map(|it| &it.value)
    }

    /// Takes out the one that has waited longest.
    pub fn pop(&mut self) -> Option<T> {
        let oldest = self.waiting.pop_front()??;
        self.leave(oldest.key, self.first);
        self.first = self.first.wrapping_add(1);
        self.drop_empty();
        Some(oldest.value)
    }

    /// Forgets those that `is_kept` says false of.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        for at in 0..self.waiting.len() {
            if let Some(gone) = self.waiting[at].take_if(|it| !is_kept(&it.value)) {
                self.leave(gone.key, self.first.wrapping_add(at as u32));
            }
        }
        self.drop_empty();
    }

    /// Places from the one that has waited longest to the one that came last: those that wait, and
    /// those between them that wait no more. This is what takes memory.
    pub fn span(&self) -> usize {
        self.waiting.len()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn leave(&mut self, key: u64, place: u32) {
        if let Ok(entry) = self.places.find_entry(hash(key), |it| *it == place) {
            entry.remove();
        }
    }

    fn drop_empty(&mut self) {
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

fn hash(key: u64) -> u64 {
    let mut hasher = KeyHasher::default();
    hasher.write_u64(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_a_key_and_of_different_sides_are_a_pair() {
        let mut pairs = Pairs::default();
        assert_eq!(pairs.add(1, true, "a"), Added::Waits);
        assert_eq!(pairs.add(2, false, "b"), Added::Waits);
        assert_eq!(pairs.add(1, true, "a again"), Added::Again);
        assert_eq!(pairs.add(2, true, "c"), Added::Pair("b", "c"));
        assert_eq!(pairs.add(1, false, "d"), Added::Pair("a", "d"));
        assert!(pairs.is_empty());
        assert_eq!(pairs.span(), 0, "nothing is left of what was paired");
        assert_eq!(pairs.add(1, true, "e"), Added::Waits, "a key may come again");
        assert_eq!((pairs.pop(), pairs.pop()), (Some("e"), None));
    }

    #[test]
    fn the_oldest_goes_first_and_what_was_paired_between_is_passed() {
        let mut pairs = Pairs::default();
        for key in 0..6 {
            pairs.add(key, true, key);
        }
        pairs.add(1, false, 10);
        pairs.add(2, false, 20);
        assert_eq!((pairs.len(), pairs.span()), (4, 6));
        assert_eq!(pairs.oldest(), Some(&0));
        assert_eq!(pairs.pop(), Some(0));
        assert_eq!(pairs.oldest(), Some(&3));
        assert_eq!((pairs.len(), pairs.span()), (3, 3));
        pairs.retain(|value| value % 2 == 0);
        assert_eq!((pairs.pop(), pairs.pop()), (Some(4), None));
    }

    #[test]
    fn many_are_found_again_while_it_grows() {
        let mut pairs = Pairs::default();
        for key in 0..10_000 {
            assert_eq!(pairs.add(key, true, key), Added::Waits);
        }
        for key in (0..10_000).rev().step_by(2) {
            assert_eq!(pairs.add(key, false, 0), Added::Pair(key, 0));
        }
        assert_eq!((pairs.len(), pairs.span()), (5_000, 10_000));
        let rest: Vec<u64> = std::iter::from_fn(|| pairs.pop()).collect();
        assert_eq!(rest, (0..10_000).step_by(2).collect::<Vec<u64>>());
    }

    #[test]
    fn numbers_of_places_wrap() {
        let mut pairs = Pairs { first: u32::MAX - 1, ..Pairs::default() };
        for key in 0..4 {
            pairs.add(key, true, key);
        }
        assert_eq!(pairs.add(3, false, 7), Added::Pair(3, 7));
        assert_eq!(pairs.pop(), Some(0));
        assert_eq!(pairs.add(2, false, 7), Added::Pair(2, 7));
        assert_eq!((pairs.pop(), pairs.pop()), (Some(1), None));
    }
}
