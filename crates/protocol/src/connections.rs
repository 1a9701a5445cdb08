//! Connections: a bounded table by id. When full, one that was not used lately makes room.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use deeptrace_model::ConnectionId;

/// Multiplies by an odd number, as Fibonacci hashing does (Knuth, TAOCP 3, 6.4). Ids are socket
/// cookies, which the kernel counts up: nobody can choose them to collide.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
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

/// Values by connection, at most `limit`. The victim is found by the clock algorithm (second
/// chance), which is near to least recently used and costs nothing on use.
pub(crate) struct Connections<T> {
    slots: Vec<Slot<T>>,
    by_id: HashMap<ConnectionId, usize, BuildHasherDefault<IdHasher>>,
    free: Vec<usize>,
    hand: usize,
    /// Slot of the last one that was used or put in.
    touched: usize,
    limit: usize,
}

struct Slot<T> {
    id: ConnectionId,
    used: bool,
    value: Option<T>,
}

impl<T> Connections<T> {
    /// An empty table for at least one connection.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            by_id: HashMap::default(),
            free: Vec::new(),
            hand: 0,
            touched: 0,
            limit: limit.max(1),
        }
    }

    /// The value of `id`, if it is there.
    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut T> {
        let slot = &mut self.slots[*self.by_id.get(&id)?];
        slot.used = true;
        slot.value.as_mut()
    }

    /// Marks `id` as used; false: it is not there.
    pub(crate) fn touch(&mut self, id: ConnectionId) -> bool {
        // Calls come in runs: the last one is the most likely.
        if self.slots.get(self.touched).is_none_or(|slot| slot.id != id || slot.value.is_none()) {
            let Some(index) = self.by_id.get(&id) else { return false };
            self.touched = *index;
        }
        self.slots[self.touched].used = true;
        true
    }

    /// The value that was last marked as used, or put in.
    pub(crate) fn touched(&mut self) -> Option<&mut T> {
        self.slots.get_mut(self.touched)?.value.as_mut()
    }

    /// Puts a value in, and returns one that had to go: the old one of `id`, or the victim.
    pub(crate) fn insert(&mut self, id: ConnectionId, value: T) -> Option<T> {
        if let Some(index) = self.by_id.get(&id) {
            self.touched = *index;
            return self.slots[*index].value.replace(value);
        }
        let slot = Slot { id, used: true, value: Some(value) };
        if let Some(index) = self.free.pop() {
            self.touched = index;
            self.slots[index] = slot;
            self.by_id.insert(id, index);
            return None;
        }
        if self.slots.len() < self.limit {
            self.touched = self.slots.len();
            self.by_id.insert(id, self.slots.len());
            self.slots.push(slot);
            return None;
        }
        let index = self.victim();
        self.touched = index;
        let old = std::mem::replace(&mut self.slots[index], slot);
        self.by_id.remove(&old.id);
        self.by_id.insert(id, index);
        old.value
    }

    /// Takes the value of `id` out.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<T> {
        let index = self.by_id.remove(&id)?;
        self.free.push(index);
        self.slots[index].value.take()
    }

    /// All, in an order that only depends on what was put in and taken out.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &T)> {
        self.slots.iter().filter_map(|slot| Some((slot.id, slot.value.as_ref()?)))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Full table: the first slot that was not used since the hand last passed it.
    fn victim(&mut self) -> usize {
        loop {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            if !std::mem::replace(&mut self.slots[index].used, false) {
                return index;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_drops_what_was_not_used_lately() {
        let mut table = Connections::new(3);
        for id in 1..=3 {
            assert_eq!(table.insert(ConnectionId(id), id), None);
        }
        assert_eq!(table.insert(ConnectionId(4), 4), Some(1), "all were used: the first goes");
        assert_eq!(table.get_mut(ConnectionId(2)), Some(&mut 2));
        assert_eq!(table.insert(ConnectionId(5), 5), Some(3), "2 was used again");
        assert_eq!(table.remove(ConnectionId(2)), Some(2));
        assert_eq!(table.insert(ConnectionId(6), 6), None, "a free slot is taken first");
        assert_eq!(table.len(), 3);
        let all: Vec<u64> = table.iter().map(|(_, value)| *value).collect();
        assert_eq!(all, [4, 6, 5]);
    }
}
