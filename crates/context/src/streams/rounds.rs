//! Rounds of a loop: what it read, and what it wrote until it read again. What is written after a read that
//! completed one stream is for that one's request. Of several that were read together each led, in order, to
//! as many calls, or to the one call or answer that was written to the same connection.
//!
//! Each answer shows whether this holds, for its own request is known: a label that came to it along such
//! steps closes or not. Labels are believed while nearly all close, those that went by order apart from the
//! others.

use deeptrace_model::{BootTime, ConnectionId, SpanId, UnitId};
use rustc_hash::FxHashMap;

/// Loops of a process, and things in a round of one.
const LOOPS_MAX: usize = 256;
const ROUND_MAX: usize = 512;
/// Labels that must have come to an answer, and the share of them that must close.
const LABELS_MIN: f32 = 10.0;
const CLOSED_MIN: f32 = 0.97;
/// Rounds of requests that must have been seen, and the share of them with as many calls each.
const ROUNDS_MIN: f32 = 5.0;
const USUAL_MIN: f32 = 0.9;
/// Requests with this many calls and more are counted as one.
const CALLS_COUNTED: usize = 16;
/// Counts are halved when they reach this, so that the last minutes decide.
const COUNT_MAX: f32 = 400.0;

#[derive(Debug, Default)]
pub(super) struct Rounds {
    loops: FxHashMap<UnitId, Round>,
    labels: FxHashMap<SpanId, Label>,
    /// Labels that closed, and that came to an answer: those without order, those by order.
    closed: [[f32; 2]; 2],
    /// Rounds of requests alone, by the calls of each.
    counts: [f32; CALLS_COUNTED],
}

#[derive(Clone, Copy, Debug)]
struct Label {
    request: SpanId,
    by_order: bool,
}

#[derive(Debug, Default)]
struct Round {
    ins: Vec<In>,
    outs: Vec<Out>,
    used: BootTime,
}

#[derive(Clone, Copy, Debug)]
struct In {
    span: SpanId,
    is_request: bool,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    span: SpanId,
    is_answer: bool,
    connection: ConnectionId,
}

impl Rounds {
    pub(super) fn read(&mut self, thread: UnitId, time: BootTime, span: SpanId, is_request: bool) {
        if self.loops.len() >= LOOPS_MAX && !self.loops.contains_key(&thread) {
            return;
        }
        let known = self.loops.entry(thread).or_default();
        let ended = (!known.outs.is_empty()).then(|| std::mem::take(known));
        known.used = time;
        if known.ins.len() < ROUND_MAX {
            known.ins.push(In { span, is_request });
        }
        if let Some(round) = ended {
            self.learn(&round.ins, &round.outs);
        }
    }

    pub(super) fn wrote(
        &mut self,
        thread: UnitId,
        span: SpanId,
        is_answer: bool,
        connection: ConnectionId,
    ) {
        if let Some(known) = self.loops.get_mut(&thread)
            && known.outs.len() < ROUND_MAX
        {
            known.outs.push(Out { span, is_answer, connection });
        }
    }

    fn learn(&mut self, ins: &[In], outs: &[Out]) {
        let requests = ins.iter().filter(|it| it.is_request).count();
        let answers = outs.iter().filter(|it| it.is_answer).count();
        let by_order = ins.len() > 1;
        if requests == ins.len() && answers == 0 {
            let each = outs.len() / ins.len();
            let is_even = each * ins.len() == outs.len();
            add(&mut self.counts, if is_even { each.min(CALLS_COUNTED - 1) } else { 0 });
            if !by_order || is_even && self.usual() == Some(each) {
                for (outs, it) in outs.chunks(each.max(1)).zip(ins) {
                    self.label(outs, Label { request: it.span, by_order });
                }
            }
        } else if requests == 0 && ins.len() == 1 {
            self.follow(ins[0].span, outs, false);
        } else if requests == 0 && ins.len() == outs.len() {
            // Only what went the same way has the order in which it was made.
            let is_one = outs.windows(2).all(|pair| {
                (pair[0].is_answer, pair[0].connection) == (pair[1].is_answer, pair[1].connection)
            });
            if is_one {
                for (it, out) in ins.iter().zip(outs.chunks(1)) {
                    self.follow(it.span, out, true);
                }
            }
        }
    }

    /// After the response to `call` this was written.
    fn follow(&mut self, call: SpanId, outs: &[Out], by_order: bool) {
        let known = self.labels.get(&call).copied();
        match (known, outs) {
            (Some(label), [Out { span, is_answer: true, .. }]) => {
                let by_order = usize::from(label.by_order || by_order);
                add(&mut self.closed[by_order], usize::from(label.request == *span));
            }
            (None, [Out { span, is_answer: true, .. }]) => {
                self.labels.insert(call, Label { request: *span, by_order });
            }
            (Some(label), _) if outs.iter().all(|out| !out.is_answer) => {
                self.label(outs, Label { by_order: label.by_order || by_order, ..label });
            }
            _ => {}
        }
    }

    fn label(&mut self, calls: &[Out], label: Label) {
        for call in calls {
            self.labels.entry(call.span).or_insert(label);
        }
    }

    /// How many calls nearly all requests make at once; never zero.
    fn usual(&self) -> Option<usize> {
        let all: f32 = self.counts.iter().sum();
        let (calls, count) = self.counts.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
        (calls > 0 && all >= ROUNDS_MIN && *count >= USUAL_MIN * all).then_some(calls)
    }

    /// The request that a call was made for, as far as it is believed.
    pub(super) fn of(&self, call: SpanId) -> Option<SpanId> {
        let label = self.labels.get(&call)?;
        let [open, closed] = self.closed[usize::from(label.by_order)];
        let all = open + closed;
        (all >= LABELS_MIN && closed >= CLOSED_MIN * all).then_some(label.request)
    }

    /// Forgets calls that are over, and loops that did nothing since `before`.
    pub(super) fn forget(&mut self, before: BootTime, is_kept: impl Fn(SpanId) -> bool) {
        self.labels.retain(|span, _| is_kept(*span));
        self.loops.retain(|_, known| known.used >= before);
    }
}

fn add(counts: &mut [f32], at: usize) {
    counts[at] += 1.0;
    if counts.iter().sum::<f32>() > COUNT_MAX {
        counts.iter_mut().for_each(|count| *count /= 2.0);
    }
}
