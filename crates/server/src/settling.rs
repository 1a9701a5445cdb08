//! Which traces are settled, for the live list and for what is pushed: nothing of the trace is still on
//! its way, so it is shown once and as it stays.
//!
//! Simplifying assumption: what was finished together is written within [`SETTLE`]. A trace whose
//! root is missing, or whose first span may still get a parent, is looked at again for [`PATIENCE`]
//! and then shown as it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use deeptrace_model::{Span, SpanId, Trace, WallTime};
use deeptrace_store::Batch;

/// After a span was written, before its trace is looked at.
const SETTLE: Duration = Duration::from_millis(1_500);
/// A link is decided within 10 s; then there is nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two looks at a trace that is not settled.
const AGAIN: Duration = Duration::from_secs(2);
/// The same where an SDK reports: they wait five seconds with their spans (`OTEL_BSP_SCHEDULE_DELAY`).
const SETTLE_REPORTED: Duration = Duration::from_secs(9);
/// Spans that wait; of more, the earliest are left out: a live list shows what is new.
const WAITING_MAX: usize = 5_000;
/// The same for what is pushed, which is to be everything.
const WAITING_EXPORT_MAX: usize = 50_000;
/// Spans of traces that were shown, to show each trace once.
const SHOWN_MAX: usize = 100_000;

/// Spans whose traces were not shown yet.
#[derive(Debug)]
pub struct Settling {
    waiting_max: usize,
    settle: Duration,
    /// How long to wait once an SDK has reported; the same as `settle` where that does not matter.
    settle_reported: Duration,
    /// By start: the root of a trace starts first.
    waiting: BTreeMap<Key, Waiting>,
    shown: BTreeSet<SpanId>,
    shown_order: VecDeque<SpanId>,
}

/// A span that waits, by which it is found.
pub type Key = (WallTime, SpanId);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    look_at: Instant,
}

impl Settling {
    /// For people who watch: soon, and only what is new.
    pub fn for_live() -> Self {
        Self::new(WAITING_MAX, SETTLE)
    }

    /// For another program: everything, with what SDKs report in it.
    pub fn for_export() -> Self {
        Self::new(WAITING_EXPORT_MAX, SETTLE_REPORTED)
    }

    fn new(waiting_max: usize, settle_reported: Duration) -> Self {
        let (waiting, shown, shown_order) = Default::default();
        Self { waiting_max, settle: SETTLE, settle_reported, waiting, shown, shown_order }
    }

    /// Takes spans that were written; says how many were left out.
    pub fn add(&mut self, batch: &Batch, now: Instant) -> usize {
        if batch.spans.iter().any(Span::is_reported) {
            self.settle = self.settle_reported;
        }
        for span in &batch.spans {
            if !self.shown.contains(&span.id) {
                let waiting = Waiting { since: now, look_at: now + self.settle };
                self.waiting.insert((span.start, span.id), waiting);
            }
        }
        let left_out = self.waiting.len().saturating_sub(self.waiting_max);
        for _ in 0..left_out {
            self.waiting.pop_first();
        }
        left_out
    }

    /// The next span whose trace is to be looked at, if it is time.
    pub fn due(&self, now: Instant) -> Option<Key> {
        self.all_due(now, 1).pop()
    }

    /// Spans whose traces are to be looked at, the earliest first, at most so many.
    pub fn all_due(&self, now: Instant, limit: usize) -> Vec<Key> {
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.look_at <= now);
        due.map(|(key, _)| *key).take(limit).collect()
    }

    /// Whether its trace was not looked at since.
    pub fn is_waiting(&self, key: Key) -> bool {
        self.waiting.contains_key(&key)
    }

    /// Takes the trace of a span that was due; if it is settled, the spans of it that were not shown.
    pub fn look(
        &mut self,
        key: Key,
        trace: Option<&Trace>,
        now: Instant,
    ) -> Option<BTreeSet<SpanId>> {
        let waiting = self.waiting.get_mut(&key)?;
        let Some(trace) = trace else {
            // Retention was faster.
            self.waiting.remove(&key);
            return None;
        };
        if !is_settled(trace) && now.duration_since(waiting.since) < PATIENCE {
            waiting.look_at = now + AGAIN;
            return None;
        }
        self.waiting.remove(&key);
        let mut new = BTreeSet::new();
        for member in &trace.spans {
            self.waiting.remove(&(member.span.start, member.span.id));
            if self.show(member.span.id) {
                new.insert(member.span.id);
            }
            // What it has absorbed is shown with it.
            member.span.observed().into_iter().for_each(|id| {
                self.show(id);
            });
        }
        while self.shown_order.len() > SHOWN_MAX {
            if let Some(oldest) = self.shown_order.pop_front() {
                self.shown.remove(&oldest);
            }
        }
        Some(new)
    }

    /// Whether it was not shown before.
    fn show(&mut self, id: SpanId) -> bool {
        let is_new = self.shown.insert(id);
        if is_new {
            self.shown_order.push_back(id);
        }
        is_new
    }
}

/// Whether the first span can have no other parent any more.
fn is_settled(trace: &Trace) -> bool {
    let Some(first) = trace.spans.first() else { return true };
    match (&first.link, first.span.kind) {
        (Some(link), _) => link.is_final && link.parent.is_none(),
        // The parent of a receiver comes by the exchange, whose other side ends with it.
        (None, kind) => kind.is_receiver(),
    }
}
