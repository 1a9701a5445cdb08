//! Keeping: which traces are kept, told to the other agents and heard of them. Neither side waits: what
//! is published goes to the server in small batches, what others have published lies here until it is
//! fetched.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deeptrace_model::ExchangeKey;
use deeptrace_wire::Key;

use crate::sampling::{Reach, Relay};

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
    /// Whether the server answered the last poll.
    is_joined: bool,
    /// Whether keys were lost, in either direction, since that was asked last.
    has_missed: bool,
}

impl Keeping {
    /// Tells the other agents that the traces with these keys are kept. Never waits.
    pub fn publish(&self, keys: impl IntoIterator<Item = Key>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.publish(keys);
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
        inner.publish(later);
    }

    /// Others have published keys.
    pub(super) fn hear(&self, keys: Vec<Key>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = put(&mut inner.received, keys);
        inner.dropped(surplus);
    }

    /// The server has answered a poll, or not. `has_missed`: there was more than came.
    pub(super) fn polled(&self, is_answered: bool, has_missed: bool) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.is_joined = is_answered;
        inner.has_missed |= has_missed;
    }

    /// Keys that had no place.
    pub(super) fn dropped(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dropped
    }
}

impl Relay for Keeping {
    fn publish(&mut self, keys: &[u64]) {
        Self::publish(self, keys.iter().map(|key| Key::Exchange(ExchangeKey(*key))));
    }

    fn receive(&mut self, out: &mut dyn FnMut(u64)) -> Reach {
        let mut keys = Vec::new();
        self.received(&mut keys);
        for key in keys {
            // Other kinds are of no use here; a later version may know what to do with them.
            if let Key::Exchange(ExchangeKey(key)) = key {
                out(key);
            }
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.is_joined {
            true => Reach::Joined { has_missed: std::mem::take(&mut inner.has_missed) },
            false => Reach::Apart,
        }
    }
}

impl Inner {
    fn publish(&mut self, keys: impl IntoIterator<Item = Key>) {
        let surplus = put(&mut self.published, keys);
        self.dropped(surplus);
    }

    fn dropped(&mut self, keys: usize) {
        self.dropped += keys as u64;
        self.has_missed |= keys > 0;
    }
}

/// Appends; how many of the oldest had to go for that.
fn put(waiting: &mut VecDeque<Key>, keys: impl IntoIterator<Item = Key>) -> usize {
    waiting.extend(keys);
    let surplus = waiting.len().saturating_sub(WAITING_MAX);
    waiting.drain(..surplus);
    surplus
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

    #[test]
    fn whoever_samples_is_told_once_that_something_was_missed() {
        let mut keeping = Keeping::default();
        let reach = |keeping: &mut Keeping| keeping.receive(&mut |_| {});
        assert_eq!(reach(&mut keeping), Reach::Apart);
        keeping.polled(true, false);
        assert_eq!(reach(&mut keeping), Reach::Joined { has_missed: false });
        keeping.polled(true, true);
        keeping.polled(true, false);
        assert_eq!(reach(&mut keeping), Reach::Joined { has_missed: true });
        assert_eq!(reach(&mut keeping), Reach::Joined { has_missed: false });
        keeping.polled(false, false);
        assert_eq!(reach(&mut keeping), Reach::Apart);
    }
}
