//! Gaps: threads that write the frames of their own calls and answers. What a thread called between its
//! last answer and this one was for this one.
//!
//! A library may have one thread write what another one wants to send. Then one has a call too many and the
//! other one too few: so an answer is believed only where it has as many calls as nearly all others.

use deeptrace_model::{BootTime, SpanId, UnitId};
use rustc_hash::FxHashMap;

/// Threads that are followed, and calls of one.
const THREADS_MAX: usize = 4096;
const CALLS_MAX: usize = 64;
/// Answers that must have been seen, and the share of them with as many calls as most have.
const ANSWERS_MIN: f32 = 20.0;
const SHARE_MIN: f32 = 0.8;
/// Answers with this many calls and more are counted as one.
const CALLS_COUNTED: usize = 16;
/// Counts are halved when they reach this, so that the last minutes decide.
const COUNT_MAX: f32 = 1000.0;

#[derive(Debug, Default)]
pub(super) struct Gaps {
    threads: FxHashMap<UnitId, Thread>,
    /// Answers by their number of calls.
    counts: [f32; CALLS_COUNTED],
}

#[derive(Debug, Default)]
struct Thread {
    calls: Vec<(SpanId, BootTime)>,
    /// It wrote something that is not known to be its own.
    is_unsure: bool,
    used: BootTime,
}

impl Gaps {
    /// A thread wrote a call; `alone`: nothing of another stream began in the same write.
    pub(super) fn called(&mut self, thread: UnitId, time: BootTime, call: SpanId, alone: bool) {
        if self.threads.len() >= THREADS_MAX && !self.threads.contains_key(&thread) {
            return;
        }
        let known = self.threads.entry(thread).or_default();
        known.used = time;
        known.is_unsure |= !alone || known.calls.len() >= CALLS_MAX;
        if known.calls.len() < CALLS_MAX {
            known.calls.push((call, time));
        }
    }

    /// A thread wrote the answer to a request that was read at `since`; `ended` says when a call did.
    /// Tells the calls that may have been made for it, with their number: whether it is
    /// [`usual`](Self::is_usual) may be known later.
    pub(super) fn answered(
        &mut self,
        thread: UnitId,
        time: BootTime,
        since: BootTime,
        alone: bool,
        ended: &dyn Fn(SpanId) -> Option<BootTime>,
        out: &mut dyn FnMut(SpanId, usize),
    ) {
        let Some(known) = self.threads.get_mut(&thread) else { return };
        known.used = time;
        let calls = std::mem::take(&mut known.calls);
        let is_sure = !std::mem::take(&mut known.is_unsure) && alone;
        if calls.is_empty() || !is_sure {
            return;
        }
        let fits = calls
            .iter()
            .all(|(call, start)| *start >= since && ended(*call).is_some_and(|end| end <= time));
        let count = if fits { calls.len().min(CALLS_COUNTED - 1) } else { 0 };
        self.counts[count] += 1.0;
        if self.counts.iter().sum::<f32>() > COUNT_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
        }
        if fits {
            calls.iter().for_each(|(call, _)| out(*call, count));
        }
    }

    /// Whether nearly all answers have so many calls.
    pub(super) fn is_usual(&self, calls: usize) -> bool {
        let all: f32 = self.counts.iter().sum();
        let count = self.counts.get(calls).copied().unwrap_or_default();
        calls > 0 && all >= ANSWERS_MIN && count >= SHARE_MIN * all
    }

    /// Forgets threads that did nothing since `before`.
    pub(super) fn expire(&mut self, before: BootTime) {
        self.threads.retain(|_, thread| thread.used >= before);
    }
}
