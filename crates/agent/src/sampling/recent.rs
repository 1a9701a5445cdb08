//! Recent: values by key that are remembered for a while. Two generations: when the younger one is old
//! or full the elder goes as a whole, which costs nothing for each entry.

use deeptrace_model::{BootTime, Duration};
use rustc_hash::FxHashMap;

/// Values of the last one to two `span`s of time.
#[derive(Debug)]
pub(super) struct Recent<V> {
    young: FxHashMap<u64, V>,
    old: FxHashMap<u64, V>,
    since: BootTime,
    span: Duration,
    /// Entries of one generation.
    max: usize,
}

impl<V: Copy> Recent<V> {
    pub(super) fn new(span: Duration, max: usize) -> Self {
        let (young, old) = (FxHashMap::default(), FxHashMap::default());
        Self { young, old, since: BootTime(0), span, max }
    }

    /// Remembers for so long from now on.
    pub(super) fn set_span(&mut self, span: Duration) {
        self.span = span;
    }

    /// Remembers `value` from now on.
    pub(super) fn insert(&mut self, key: u64, value: V, now: BootTime) {
        if self.young.len() >= self.max || now.since(self.since) >= self.span {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        self.young.insert(key, value);
    }

    /// Whether there is a value.
    pub(super) fn contains(&self, key: u64) -> bool {
        self.young.contains_key(&key) || self.old.contains_key(&key)
    }

    /// The value, which is forgotten.
    pub(super) fn take(&mut self, key: u64) -> Option<V> {
        self.young.remove(&key).or_else(|| self.old.remove(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_remembered_for_less_than_one_span_or_more_than_two() {
        let mut recent = Recent::new(Duration(10), 100);
        for now in 10..=60 {
            recent.insert(now, (), BootTime(now));
            assert!((now.saturating_sub(9).max(10)..=now).all(|key| recent.contains(key)));
            assert!(!recent.contains(now.saturating_sub(20)), "{now}");
        }
    }

    #[test]
    fn it_has_a_limit() {
        let mut recent = Recent::new(Duration(u64::MAX), 4);
        (0..100).for_each(|key| recent.insert(key, key, BootTime(1)));
        assert!((0..100).filter(|key| recent.contains(*key)).count() <= 8);
        assert_eq!(recent.take(99), Some(99));
        assert_eq!(recent.take(99), None);
    }
}
