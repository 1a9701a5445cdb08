//! Keeping: which traces are kept, told to the other agents and heard of them. Neither side waits: what
//! is published goes to the server in small batches, what others have published lies here until it is
//! fetched.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deeptrace_wire::Key;

/// Keys that wait in each direction, at most; beyond, the oldest go.
const WAITING_MAX: usize = 65_536;
/// Between two batches to the server.
pub(super) const INTERVAL: Duration = Duration::from_millis(150);

/// Keys of kept traces, on their way from and to other agents. Cloned, it is the same.
#[derive(Clone, Debug, Default)]
pub struct Keeping(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    published: VecDeque<Key>,
    received: VecDeque<Key>,
    dropped: u64,
}

impl Keeping {
    /// Tells the other agents that the traces with these keys are kept. Never waits.
    pub fn publish(&self, keys: impl IntoIterator<Item = Key>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { published, dropped, .. } = &mut *inner;
        put(published, keys, dropped);
    }

    /// What other agents have published since this was asked last, behind what is in `out`. Never waits.
    pub fn received(&self, out: &mut Vec<Key>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.extend(inner.received.drain(..));
    }

    /// The next keys for the server, at most `max`.
    pub(super) fn take(&self, max: usize) -> Vec<Key> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let max = max.min(inner.published.len());
        inner.published.drain(..max).collect()
    }

    /// Keys that could not be sent: before those that were published since.
    pub(super) fn give_back(&self, keys: Vec<Key>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = std::mem::replace(&mut inner.published, keys.into());
        let Inner { published, dropped, .. } = &mut *inner;
        put(published, later, dropped);
    }

    /// Others have published keys.
    pub(super) fn hear(&self, keys: Vec<Key>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { received, dropped, .. } = &mut *inner;
        put(received, keys, dropped);
    }

    /// Keys that had no place.
    pub(super) fn dropped(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}

fn put(waiting: &mut VecDeque<Key>, keys: impl IntoIterator<Item = Key>, dropped: &mut u64) {
    waiting.extend(keys);
    let surplus = waiting.len().saturating_sub(WAITING_MAX);
    waiting.drain(..surplus);
    *dropped += surplus as u64;
}

#[cfg(test)]
mod tests {
    use deeptrace_model::SpanId;

    use super::*;

    fn keys(numbers: std::ops::Range<u64>) -> Vec<Key> {
        numbers.map(|number| Key::Span(SpanId(number))).collect()
    }

    #[test]
    fn what_was_not_sent_is_sent_first() {
        let keeping = Keeping::default();
        keeping.publish(keys(0..5));
        let taken = keeping.take(3);
        keeping.publish(keys(5..6));
        keeping.give_back(taken);
        assert_eq!(keeping.take(100), keys(0..6));
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let keeping = Keeping::default();
        let max = WAITING_MAX as u64;
        keeping.hear(keys(0..max));
        keeping.hear(keys(max..max + 7));
        let mut received = Vec::new();
        keeping.received(&mut received);
        assert_eq!((received, keeping.dropped()), (keys(7..max + 7), 7));
    }
}
