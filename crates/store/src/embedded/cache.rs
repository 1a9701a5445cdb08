//! Cache: values by batch number, bounded by weight; the one asked for longest ago goes first.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;

/// Values by batch number, bounded by weight.
pub(super) struct Cache<V> {
    values: FxHashMap<i64, Held<V>>,
    /// Batch numbers by when they were last asked for, or before: brought up to date when they are the first,
    /// so that asking changes nothing here.
    order: BTreeMap<u64, i64>,
    uses: u64,
    weight: usize,
    limit: usize,
}

struct Held<V> {
    value: Arc<V>,
    weight: usize,
    used: u64,
    /// Its place in the order.
    place: u64,
}

impl<V> Cache<V> {
    /// A cache of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { values: FxHashMap::default(), order: BTreeMap::new(), uses: 0, weight: 0, limit }
    }

    /// The value of that batch, if it is still here.
    pub(super) fn get(&mut self, batch: i64) -> Option<Arc<V>> {
        let held = self.values.get_mut(&batch)?;
        self.uses += 1;
        held.used = self.uses;
        Some(Arc::clone(&held.value))
    }

    /// Keeps nothing any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Keeps a value that was not there; one that is heavier than the limit is not kept.
    pub(super) fn put(&mut self, batch: i64, value: &Arc<V>, weight: usize) {
        if weight > self.limit {
            return;
        }
        while self.weight + weight > self.limit {
            let Some((place, first)) = self.order.pop_first() else { break };
            match self.values.get_mut(&first) {
                Some(held) if held.used > place => {
                    held.place = held.used;
                    self.order.insert(held.used, first);
                }
                _ => {
                    let oldest = self.values.remove(&first);
                    self.weight -= oldest.map_or(0, |held| held.weight);
                }
            }
        }
        self.uses += 1;
        self.weight += weight;
        self.order.insert(self.uses, batch);
        let held = Held { value: Arc::clone(value), weight, used: self.uses, place: self.uses };
        if let Some(before) = self.values.insert(batch, held) {
            self.order.remove(&before.place);
            self.weight -= before.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_first_and_the_limit_holds() {
        let mut cache = Cache::new(10);
        for batch in 1..=3 {
            cache.put(batch, &Arc::new(batch), 3);
        }
        assert_eq!(cache.get(1).as_deref(), Some(&1));
        cache.put(4, &Arc::new(4), 4);
        let left: Vec<i64> = (1..=4).filter(|batch| cache.get(*batch).is_some()).collect();
        assert_eq!((left, cache.weight), (vec![1, 3, 4], 10));
        cache.put(5, &Arc::new(5), 11);
        assert!(cache.get(5).is_none());
    }
}
