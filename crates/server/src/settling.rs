//! Which traces are settled, for the live list: nothing of the trace is still on its way, so it is
//! shown once and as it stays.
//!
//! Simplifying assumption: what was finished together is written within [`SETTLE`]. A trace whose
//! root is missing, or whose first span may still get a parent, is looked at again for [`PATIENCE`]
//! and then shown as it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use deeptrace_model::{SpanId, SpanKind, Trace, WallTime};
use deeptrace_store::Batch;

/// After a span was written, before its trace is looked at.
const SETTLE: Duration = Duration::from_millis(1_500);
/// A link is decided within 10 s; then there is nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two looks at a trace that is not settled.
const AGAIN: Duration = Duration::from_secs(2);
/// Spans that wait; of more, the earliest are left out: a live list shows what is new.
const WAITING_MAX: usize = 5_000;
/// Spans of traces that were shown, to show each trace once.
const SHOWN_MAX: usize = 100_000;

/// Spans whose traces were not shown yet.
#[derive(Debug, Default)]
pub struct Settling {
    /// By start: the root of a trace starts first.
    waiting: BTreeMap<(WallTime, SpanId), Waiting>,
    shown: BTreeSet<SpanId>,
    shown_order: VecDeque<SpanId>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    look_at: Instant,
}

impl Settling {
    /// Takes spans that were written.
    pub fn add(&mut self, batch: &Batch, now: Instant) {
        for span in &batch.spans {
            if !self.shown.contains(&span.id) {
                let waiting = Waiting { since: now, look_at: now + SETTLE };
                self.waiting.insert((span.start, span.id), waiting);
            }
        }
        while self.waiting.len() > WAITING_MAX {
            self.waiting.pop_first();
        }
    }

    /// The next span whose trace is to be looked at, if it is time.
    pub fn due(&self, now: Instant) -> Option<(WallTime, SpanId)> {
        self.waiting.iter().find(|(_, waiting)| waiting.look_at <= now).map(|(key, _)| *key)
    }

    /// Takes the trace of a span that was due; says whether it is to be shown now.
    pub fn look(&mut self, key: (WallTime, SpanId), trace: Option<&Trace>, now: Instant) -> bool {
        let Some(waiting) = self.waiting.get_mut(&key) else { return false };
        let Some(trace) = trace else {
            // Retention was faster.
            self.waiting.remove(&key);
            return false;
        };
        if !is_settled(trace) && now.duration_since(waiting.since) < PATIENCE {
            waiting.look_at = now + AGAIN;
            return false;
        }
        self.waiting.remove(&key);
        let mut is_new = true;
        for member in &trace.spans {
            self.waiting.remove(&(member.span.start, member.span.id));
            if self.shown.insert(member.span.id) {
                self.shown_order.push_back(member.span.id);
            } else {
                is_new = false;
            }
        }
        while self.shown_order.len() > SHOWN_MAX {
            if let Some(oldest) = self.shown_order.pop_front() {
                self.shown.remove(&oldest);
            }
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
        (None, kind) => matches!(kind, SpanKind::Server | SpanKind::Consumer),
    }
}
