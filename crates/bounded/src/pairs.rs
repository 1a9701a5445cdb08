//! Pairs: two things of one key that come one after the other, in any order. The first one waits.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use crate::KeyHasher;

/// First ones that wait for their second, in the order in which they came.
///
/// They lie one behind the other: what comes and what has waited longest is in memory that the processor
/// fetches ahead, however many wait between them. Whoever owns it says how many those may be.
pub struct Pairs<T> {
    /// What was taken out of the middle has left its place empty; the front never is.
    waiting: VecDeque<Option<Waiting<T>>>,
    /// Number of the place of each key; the front has the number `first`, and numbers wrap.
    places: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
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
        Self { waiting: VecDeque::new(), places: HashMap::default(), first: 0 }
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
        let next = self.first.wrapping_add(self.waiting.len() as u32);
        match self.places.entry(key) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(next);
                self.waiting.push_back(Some(Waiting { key, is_left, value }));
                Added::Waits
            }
            std::collections::hash_map::Entry::Occupied(place) => {
                let at = place.get().wrapping_sub(self.first) as usize;
                let is_other = |it: &mut Waiting<T>| it.is_left != is_left;
                let Some(other) = self.waiting.get_mut(at).and_then(|it| it.take_if(is_other))
                else {
                    return Added::Again;
                };
                place.remove();
                self.drop_empty();
                Added::Pair(other.value, value)
            }
        }
    }

    /// The one that has waited longest.
    pub fn oldest(&self) -> Option<&T> {
        self.waiting.front()?.as_ref().map(|it| &it.value)
    }

    /// Takes out the one that has waited longest.
    pub fn pop(&mut self) -> Option<T> {
        let oldest = self.waiting.pop_front()??;
        self.first = self.first.wrapping_add(1);
        self.places.remove(&oldest.key);
        self.drop_empty();
        Some(oldest.value)
    }

    /// Forgets those that `is_kept` says false of.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        for place in &mut self.waiting {
            if let Some(gone) = place.take_if(|it| !is_kept(&it.value)) {
                self.places.remove(&gone.key);
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

    fn drop_empty(&mut self) {
        while let Some(None) = self.waiting.front() {
            self.waiting.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
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
