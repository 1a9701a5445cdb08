//! A table with a limit. When it is full, an entry that was not used lately makes room, and is handed
//! back, so that its owner can say what became of it.
//!
//! The victim is found by the clock algorithm (second chance; Corbató, "A Paging Experiment with the
//! Multics System", 1968), which is near to least recently used and costs a store on use. Which entry
//! goes depends on what was put in, used and taken out only, and on no random state: a recording gives
//! the same bytes every time.
//!
//! Beside it [`Pairs`], for what waits for its other half, and [`Numbered`], for what recurs.
//!
//! A room of its own because several stages need them and none may depend on another; they are no
//! vocabulary, so they are not in `model`.
#![forbid(unsafe_code)]

mod numbered;
mod pairs;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

pub use numbered::Numbered;
pub use pairs::{Added, Pairs};

/// Multiplies by an odd number, as Fibonacci hashing does (Knuth, TAOCP 3, 6.4). Keys are socket
/// cookies, which the kernel counts up, and hashes: nobody can choose them to collide.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

/// Values by key, at most as many as its limit. Keys MUST be what nobody from outside can choose.
pub struct Bounded<K, V> {
    slots: Vec<Slot<K, V>>,
    by_key: HashMap<K, u32, BuildHasherDefault<KeyHasher>>,
    free: Vec<u32>,
    hand: usize,
    /// Slot of the last one that was used or put in.
    touched: usize,
    limit: usize,
}

struct Slot<K, V> {
    key: K,
    /// How often the hand will pass it.
    chances: u8,
    /// What `chances` is after each use.
    chances_max: u8,
    value: Option<V>,
}

impl<K, V> std::fmt::Debug for Bounded<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounded")
            .field("len", &self.by_key.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    /// An empty table for `limit` entries, at least one. Takes memory as it is filled.
    pub fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            by_key: HashMap::default(),
            free: Vec::new(),
            hand: 0,
            touched: 0,
            limit: limit.clamp(1, u32::MAX as usize),
        }
    }

    /// The value of `key`, if it is there; marks it as used.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let slot = &mut self.slots[*self.by_key.get(&key)? as usize];
        slot.chances = slot.chances_max;
        slot.value.as_mut()
    }

    /// The value of `key`, if it is there; does not count as a use.
    pub fn get(&self, key: K) -> Option<&V> {
        self.slots[*self.by_key.get(&key)? as usize].value.as_ref()
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: K) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Marks `key` as used; false: it is not there. Cheapest for the key that was used last.
    pub fn touch(&mut self, key: K) -> bool {
        // Uses come in runs: the last one is the most likely.
        if self.slots.get(self.touched).is_none_or(|slot| slot.key != key || slot.value.is_none()) {
            let Some(index) = self.by_key.get(&key) else { return false };
            self.touched = *index as usize;
        }
        let slot = &mut self.slots[self.touched];
        slot.chances = slot.chances_max;
        true
    }

    /// The value that was last marked as used, or put in.
    pub fn touched(&mut self) -> Option<&mut V> {
        self.slots.get_mut(self.touched)?.value.as_mut()
    }

    /// Puts a value in, and returns what had to go: the old one of `key`, or the victim.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.insert_lasting(key, value, 1)
    }

    /// The same for a value that the hand passes `chances` times after each use, not once, before it takes
    /// it: for what is taken out when it ends, so that it is alive as long as it is here. At least one.
    pub fn insert_lasting(&mut self, key: K, value: V, chances: u8) -> Option<(K, V)> {
        let chances = chances.max(1);
        let slot = Slot { key, chances, chances_max: chances, value: Some(value) };
        let index = if let Some(index) = self.by_key.get(&key) {
            *index as usize
        } else if let Some(index) = self.free.pop() {
            index as usize
        } else if self.slots.len() < self.limit {
            self.touched = self.slots.len();
            self.by_key.insert(key, self.touched as u32);
            self.slots.push(slot);
            return None;
        } else {
            self.victim()
        };
        self.touched = index;
        let old = std::mem::replace(&mut self.slots[index], slot);
        if old.value.is_some() && old.key != key {
            self.by_key.remove(&old.key);
        }
        self.by_key.insert(key, index as u32);
        old.value.map(|value| (old.key, value))
    }

    /// Takes the value of `key` out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let index = self.by_key.remove(&key)?;
        self.free.push(index);
        self.slots[index as usize].value.take()
    }

    /// All, in an order that only depends on what was put in and taken out.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.slots.iter().filter_map(|slot| Some((slot.key, slot.value.as_ref()?)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Full table: the first slot whose chances are used up. Each step takes one that a use has given,
    /// so the steps are no more than the uses.
    fn victim(&mut self) -> usize {
        loop {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            match &mut self.slots[index].chances {
                0 => return index,
                chances => *chances -= 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_drops_what_was_not_used_lately() {
        let mut table = Bounded::new(3);
        for key in 1..=3 {
            assert_eq!(table.insert(key, key), None);
        }
        assert_eq!(table.insert(4, 4), Some((1, 1)), "all were used: the first goes");
        assert_eq!(table.get_mut(2), Some(&mut 2));
        assert_eq!(table.insert(5, 5), Some((3, 3)), "2 was used again");
        assert_eq!(table.remove(2), Some(2));
        assert_eq!(table.get_mut(2), None);
        assert_eq!(table.insert(6, 6), None, "a free slot is taken first");
        assert_eq!(table.insert(6, 7), Some((6, 6)), "the old one of a key is handed back");
        assert_eq!(table.len(), 3);
        let all: Vec<u64> = table.iter().map(|(_, value)| *value).collect();
        assert_eq!(all, [4, 7, 5]);
    }

    #[test]
    fn what_lasts_outlives_others_and_goes_at_last() {
        let mut table = Bounded::new(4);
        table.insert_lasting(1, (), 8);
        let gone: Vec<u64> =
            (2..30).filter_map(|key| table.insert(key, ()).map(|(key, ())| key)).collect();
        let at = gone.iter().position(|key| *key == 1).expect("it goes when it is never used");
        assert!(at >= 4 * 3, "the three others were replaced four times: {gone:?}");
        let mut table = Bounded::new(4);
        table.insert_lasting(1, (), 8);
        for key in 2..1000 {
            if key % 8 == 0 {
                table.touch(1);
            }
            table.insert(key, ());
        }
        assert!(table.contains(1), "used again within its turns, it stays");
        assert_eq!(table.len(), 4);
    }
}
