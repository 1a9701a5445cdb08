//! Queue: orders for one connected agent. When it is full the oldest go: what an agent does not fetch in
//! time is of no use to it any more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deeptrace_wire::ORDERS_BYTES_MAX;
use tokio::sync::Notify;

/// Orders that wait for one agent, and their bytes, at most.
const ORDERS_MAX: usize = 1_024;
const BYTES_MAX: usize = 4 << 20;

/// Orders for one agent.
#[derive(Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

struct Inner {
    waiting: VecDeque<(u64, Arc<[u8]>)>,
    bytes: usize,
    /// Number of the last order.
    last: u64,
    polled: Instant,
}

impl Default for Inner {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, last: 0, polled: Instant::now() }
    }
}

/// Orders to hand over.
pub struct Taken {
    /// Number of the last of them.
    pub last: u64,
    /// As [`deeptrace_wire::Order::record`] has made them.
    pub records: Vec<Arc<[u8]>>,
}

impl Queue {
    /// Appends an order; returns how many had to go for it.
    pub fn push(&self, record: Arc<[u8]>) -> u64 {
        let mut inner = self.lock();
        inner.last += 1;
        inner.bytes += record.len();
        let number = inner.last;
        inner.waiting.push_back((number, record));
        let mut dropped = 0;
        while inner.waiting.len() > ORDERS_MAX || inner.bytes > BYTES_MAX && inner.waiting.len() > 1
        {
            inner.pop();
            dropped += 1;
        }
        drop(inner);
        self.changed.notify_one();
        dropped
    }

    /// Orders for this agent were lost before they came here: a number without one tells it, behind which
    /// comes `record`.
    pub fn skip(&self, record: Arc<[u8]>) -> u64 {
        self.lock().last += 1;
        self.push(record)
    }

    /// The agent polls, and has taken all until `acknowledged`.
    pub fn polled(&self, acknowledged: u64) {
        let mut inner = self.lock();
        inner.polled = Instant::now();
        while inner.waiting.front().is_some_and(|(number, _)| *number <= acknowledged) {
            inner.pop();
        }
    }

    /// The next orders, which stay until they are acknowledged; `None`: there is none.
    pub fn take(&self) -> Option<Taken> {
        let inner = self.lock();
        let mut bytes = 0;
        let fits = |(_, record): &&(u64, Arc<[u8]>)| {
            let is_first = bytes == 0;
            bytes += record.len();
            is_first || bytes <= ORDERS_BYTES_MAX
        };
        let taken: Vec<&(u64, Arc<[u8]>)> = inner.waiting.iter().take_while(fits).collect();
        let (last, _) = taken.last()?;
        Some(Taken { last: *last, records: taken.iter().map(|it| Arc::clone(&it.1)).collect() })
    }

    /// Waits for an order that [`take`](Self::take) did not see.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Since when the agent did not poll.
    pub fn idle(&self) -> Duration {
        self.lock().polled.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn pop(&mut self) {
        if let Some((_, record)) = self.waiting.pop_front() {
            self.bytes -= record.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Arc<[u8]> {
        vec![0; bytes].into()
    }

    #[test]
    fn an_order_stays_until_it_is_acknowledged() {
        let queue = Queue::default();
        (0..3).for_each(|_| assert_eq!(queue.push(record(1)), 0));
        for _ in 0..2 {
            let taken = queue.take().unwrap();
            assert_eq!((taken.last, taken.records.len()), (3, 3));
        }
        queue.polled(2);
        assert_eq!(queue.take().unwrap().records.len(), 1);
        queue.polled(3);
        assert!(queue.take().is_none());
    }

    #[test]
    fn what_was_lost_is_a_hole_in_the_numbers() {
        let queue = Queue::default();
        queue.push(record(1));
        queue.skip(record(1));
        let taken = queue.take().unwrap();
        assert_eq!((taken.last, taken.records.len()), (3, 2));
    }

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let queue = Queue::default();
        let dropped: u64 = (0..ORDERS_MAX + 5).map(|_| queue.push(record(1))).sum();
        assert_eq!((dropped, queue.lock().waiting.len()), (5, ORDERS_MAX));
        let queue = Queue::default();
        let dropped: u64 = (0..6).map(|_| queue.push(record(1 << 20))).sum();
        assert_eq!((dropped, queue.lock().bytes), (2, BYTES_MAX));
        assert_eq!(queue.take().unwrap().records.len(), 1, "no more than fits one answer");
        queue.push(record(BYTES_MAX + 1));
        assert_eq!(queue.take().unwrap().last, 7, "what is larger than all goes alone");
    }
}
