//! Rounds of a loop: what it read, and what it wrote until it read again. What is written after a read that
//! completed one stream is for that one's request. Of several that were read together each led, in order, to
//! as many calls as requests lead to, or to one call, or to the answer to its own request. Where less was
//! written than was led to, the rest is among what is written later, and the next round is looked at with it.
//!
//! Each answer shows whether this holds, for its own request is known: a label that came to it along such
//! steps, and in the order of the answers beside it, closes. Labels are believed while nearly all close,
//! those that went by order apart from the others.

use deeptrace_model::{BootTime, ConnectionId, SpanId, UnitId};
use rustc_hash::FxHashMap;

/// Loops of a process, things in a round of one, and rounds that are looked at together.
const LOOPS_MAX: usize = 256;
const ROUND_MAX: usize = 512;
const TOGETHER_MAX: u32 = 8;
/// Labels that must have come to an answer, and the share of them that must close.
const LABELS_MIN: f32 = 20.0;
const CLOSED_MIN: f32 = 0.97;
/// Rounds of requests that must have been seen, and the share of them with as many calls each. That is only
/// what is tried: whether it holds is shown by the labels.
const ROUNDS_MIN: f32 = 4.0;
const USUAL_MIN: f32 = 0.75;
/// Rounds in a row that came out even after which nothing is taken to be left of earlier ones.
const EVEN_MIN: u32 = 3;
/// Requests with this many calls and more are counted as one.
const CALLS_COUNTED: usize = 16;
/// Counts are halved when they reach this, so that the last minutes decide.
const COUNT_MAX: f32 = 400.0;

#[derive(Debug, Default)]
pub(super) struct Rounds {
    loops: FxHashMap<UnitId, Round>,
    labels: FxHashMap<SpanId, Label>,
    /// Labels that did not close, and that did: those without order, those by order.
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
    /// Rounds that these are, beside the last one, and where that begins.
    rounds: u32,
    last: (usize, usize),
    has_written: bool,
    /// Rounds in a row that came out even, at most [`EVEN_MIN`].
    even: u32,
    used: BootTime,
}

#[derive(Clone, Copy, Debug)]
struct In {
    span: SpanId,
    is_request: bool,
    /// It led to nothing in an earlier round: its request waits for something else as well.
    is_old: bool,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    span: SpanId,
    is_answer: bool,
    connection: ConnectionId,
}

/// What is found of a round.
enum Outcome {
    /// Something is still to be written.
    Unfinished,
    /// It is not as it should be; whether an answer says so.
    Broken(bool),
    Unknown,
    Even(Even),
}

#[derive(Default)]
struct Even {
    /// Calls with their labels.
    labels: Vec<(SpanId, Label)>,
    /// Labels that closed, and whether each was by order.
    closed: Vec<bool>,
    /// What led to nothing.
    left: Vec<In>,
}

impl Rounds {
    pub(super) fn read(&mut self, thread: UnitId, time: BootTime, span: SpanId, is_request: bool) {
        if self.loops.len() >= LOOPS_MAX && !self.loops.contains_key(&thread) {
            return;
        }
        let known = self.loops.entry(thread).or_default();
        let ended = std::mem::take(&mut known.has_written).then(|| std::mem::take(known));
        if let Some(round) = ended {
            let next = self.end(round);
            self.loops.insert(thread, next);
        }
        let Some(known) = self.loops.get_mut(&thread) else { return };
        known.used = time;
        if known.ins.len() < ROUND_MAX {
            known.ins.push(In { span, is_request, is_old: false });
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
            known.has_written = true;
        }
    }

    /// Nothing is open: nothing is still to be written.
    pub(super) fn idle(&mut self) {
        let mut loops = std::mem::take(&mut self.loops);
        for round in loops.values_mut() {
            if round.has_written {
                *round = self.end(std::mem::take(round));
            }
            round.clear(EVEN_MIN);
        }
        self.loops = loops;
    }

    /// Something was missed.
    pub(super) fn lost(&mut self) {
        self.loops.values_mut().for_each(|round| round.clear(0));
    }

    /// The loop reads again. Returns with what the next round begins.
    fn end(&mut self, mut round: Round) -> Round {
        self.learn(&round);
        match self.solve(&round) {
            Outcome::Unfinished if round.rounds < TOGETHER_MAX => {
                round.rounds += 1;
                round.last = (round.ins.len(), round.outs.len());
            }
            Outcome::Unfinished => round.clear(0),
            Outcome::Unknown => round.clear(round.even),
            Outcome::Broken(is_answer) => {
                if is_answer && round.even >= EVEN_MIN {
                    add(&mut self.closed[usize::from(!round.is_alone())], 0);
                }
                round.clear(0);
            }
            Outcome::Even(found) => {
                let is_whole = round.even >= EVEN_MIN;
                round.clear(round.even + u32::from(round.rounds == 0));
                if is_whole {
                    for by_order in found.closed {
                        add(&mut self.closed[usize::from(by_order)], 1);
                    }
                    for (call, label) in found.labels {
                        self.labels.entry(call).or_insert(label);
                    }
                    round.ins = found.left;
                }
            }
        }
        round
    }

    /// Counts how many calls requests make at once.
    fn learn(&mut self, round: &Round) {
        let (ins, outs) = (&round.ins[round.last.0..], &round.outs[round.last.1..]);
        let requests = ins.iter().filter(|it| it.is_request).count();
        let is_pure = ins.iter().all(|it| it.is_request || it.is_old);
        if requests > 0 && is_pure && outs.iter().all(|out| !out.is_answer) {
            let each = outs.len() / requests;
            let is_even = each * requests == outs.len();
            add(&mut self.counts, if is_even { each.min(CALLS_COUNTED - 1) } else { 0 });
        }
    }

    fn solve(&self, round: &Round) -> Outcome {
        let mut even = Even::default();
        let mut ins = round.ins.clone();
        let unexplained = self.answers(round, &mut ins, &mut even);
        let is_unknown = |it: &In| !it.is_request && !self.labels.contains_key(&it.span);
        let unknown: Vec<SpanId> =
            ins.iter().filter(|it| is_unknown(it)).map(|it| it.span).collect();
        if unexplained.len() > unknown.len() {
            return Outcome::Broken(true);
        }
        if !unexplained.is_empty() {
            if unexplained.len() < unknown.len() {
                return Outcome::Unfinished;
            }
            if let ([request], [call]) = (&unexplained[..], &unknown[..]) {
                let label = Label { request: *request, by_order: !round.is_alone() };
                even.labels.push((*call, label));
            }
            ins.retain(|it| !is_unknown(it));
        }
        let calls: Vec<Out> = round.outs.iter().filter(|out| !out.is_answer).copied().collect();
        if round.is_alone() {
            self.alone(&ins, &calls, even)
        } else {
            self.several(ins, &calls, even)
        }
    }

    /// Takes out of `ins` what led to the answers of a round. Returns those to requests that none of them
    /// belongs to.
    fn answers(&self, round: &Round, ins: &mut Vec<In>, even: &mut Even) -> Vec<SpanId> {
        let mut unexplained = Vec::new();
        // Answers on a connection have the order of what led to them.
        let mut last: FxHashMap<ConnectionId, usize> = FxHashMap::default();
        let label = |it: &In| self.labels.get(&it.span).filter(|_| !it.is_request);
        for answer in round.outs.iter().filter(|out| out.is_answer) {
            let is_its = |it: &In| label(it).is_some_and(|label| label.request == answer.span);
            let from = last.get(&answer.connection).map_or(0, |at| at + 1);
            let Some(at) = round.ins.iter().rposition(is_its).filter(|at| *at >= from) else {
                unexplained.push(answer.span);
                continue;
            };
            last.insert(answer.connection, at);
            let by_order = label(&round.ins[at]).is_some_and(|label| label.by_order);
            even.closed.push(by_order || !round.is_alone());
            ins.retain(|it| !is_its(it));
        }
        unexplained
    }

    /// All that was written is for the one thing that was read.
    fn alone(&self, ins: &[In], calls: &[Out], mut even: Even) -> Outcome {
        even.left = ins.iter().filter(|it| it.is_old).copied().collect();
        let Some(it) = ins.iter().find(|it| !it.is_old) else {
            return if calls.is_empty() { Outcome::Even(even) } else { Outcome::Broken(false) };
        };
        let usual = self.usual().unwrap_or(1);
        if calls.len() < if it.is_request || usual == 1 { usual } else { 0 } {
            return Outcome::Unfinished;
        }
        if let Some(label) = self.label(it, false) {
            even.labels.extend(calls.iter().map(|call| (call.span, label)));
        }
        if calls.is_empty() {
            even.left.push(In { is_old: true, ..*it });
        }
        Outcome::Even(even)
    }

    /// Each led to as many calls, in order.
    fn several(&self, ins: Vec<In>, calls: &[Out], mut even: Even) -> Outcome {
        let Some(usual) = self.usual() else { return Outcome::Unknown };
        // Where requests make several calls at once, a response is waited for together with others.
        let count = |it: &In| match it.is_request {
            true => usual,
            false => usize::from(usual == 1),
        };
        let wanted: usize = ins.iter().map(count).sum();
        if calls.len() != wanted {
            let is_less = calls.len() < wanted;
            return if is_less { Outcome::Unfinished } else { Outcome::Broken(false) };
        }
        let is_one = calls.windows(2).all(|pair| pair[0].connection == pair[1].connection);
        let mut rest = calls.iter();
        for it in &ins {
            let label = self.label(it, true).filter(|_| is_one);
            for call in rest.by_ref().take(count(it)) {
                even.labels.extend(label.map(|label| (call.span, label)));
            }
        }
        let silent = ins.into_iter().filter(|it| count(it) == 0);
        even.left.extend(silent.map(|it| In { is_old: true, ..it }));
        Outcome::Even(even)
    }

    /// For whom is what `it` leads to.
    fn label(&self, it: &In, by_order: bool) -> Option<Label> {
        if it.is_request {
            return Some(Label { request: it.span, by_order });
        }
        let known = self.labels.get(&it.span)?;
        Some(Label { by_order: known.by_order || by_order, ..*known })
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

impl Round {
    /// Whether one thing was read.
    fn is_alone(&self) -> bool {
        self.ins.iter().filter(|it| !it.is_old).count() == 1
    }

    /// Begins anew, after so many that came out even.
    fn clear(&mut self, even: u32) {
        *self = Self { even: even.min(EVEN_MIN), used: self.used, ..Self::default() };
    }
}

fn add(counts: &mut [f32], at: usize) {
    counts[at] += 1.0;
    if counts.iter().sum::<f32>() > COUNT_MAX {
        counts.iter_mut().for_each(|count| *count /= 2.0);
    }
}
