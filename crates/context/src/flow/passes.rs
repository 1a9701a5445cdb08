//! Passes: contexts forward along hand-overs, results backward.

use deeptrace_model::{BootTime, Duration, HandOverKind, SpanId, UnitId, UnitKind};
use rustc_hash::FxHashMap;

use super::words::Shape;
use super::{Flow, Step, What};

/// Who was made for a request that nobody knows is left alone for so long.
const STRANGER_MEMORY: Duration = Duration::from_secs(10);

/// How surely a unit holds a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    /// By wake-ups: other ones might have led elsewhere.
    Weak,
    /// By the runtime's own hand-overs.
    Runtime,
    /// By a copy of a context, or an item of a queue.
    Exact,
}

/// What the backward pass says of calls.
#[derive(Debug, Default)]
pub(super) struct Backward {
    /// By call: whose result followed the response, and the request.
    pub(super) at_response: FxHashMap<SpanId, Found>,
    pub(super) at_request: FxHashMap<SpanId, Found>,
    /// Calls of each result.
    pub(super) results: Vec<u32>,
}

/// A result that followed a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) request: SpanId,
    /// No other call lies between this one and the result.
    pub(super) is_last: bool,
    /// Place in `results`; none where the unit was pinned.
    pub(super) result: Option<usize>,
}

/// A result on its way to the unit that wrote the answer.
#[derive(Clone, Copy, Debug)]
struct Token {
    /// `None`: of a request that is not answered yet.
    request: Option<SpanId>,
    responses: u32,
    calls: u32,
}

impl Flow {
    /// Gives contexts on, until `gate`.
    pub(super) fn pass_forward(&mut self, gate: BootTime) {
        while let Some(step) = self.log.get(self.passed).copied().filter(|step| step.time < gate) {
            self.passed += 1;
            let unit = self.unit(&step);
            match step.what {
                What::Read(span) => {
                    if !self.is_loop(step.thread) && self.pins.at(unit, step.time).is_none() {
                        self.forward.insert(unit, (span, Held::Weak));
                    }
                }
                What::Answered(span) => {
                    if self.forward.get(&unit).is_some_and(|held| held.0 == span) {
                        self.forward.remove(&unit);
                    }
                }
                What::Called(span) => self.forward_call(&step, unit, span),
                What::Returned(span) => {
                    let held = self.calls.get(&span).and_then(|call| call.forward);
                    let takes =
                        !self.is_loop(step.thread) && self.pins.at(unit, step.time).is_none();
                    if let Some(held) = held.filter(|_| takes) {
                        self.forward.insert(unit, held);
                    }
                }
                What::Handed { to, kind, word } => self.forward_edge(&step, unit, to, kind, word),
            }
        }
        if self.forward.len() > super::STEPS_MAX {
            self.forward.clear();
            self.born.clear();
        }
    }

    fn forward_call(&mut self, step: &Step, unit: UnitId, span: SpanId) {
        // Also off the loop a thread may run in a context that was copied for it.
        let copied = (step.unit.kind() == UnitKind::Context && step.unit != unit)
            .then(|| self.forward.get(&step.unit).copied())
            .flatten();
        let pinned = self.pins.at(unit, step.time).map(|request| (request, unit.kind()));
        let held = copied.or_else(|| self.current(unit, step.time));
        let held = held.filter(|held| held.1 > Held::Weak || self.is_open_at(held.0, step.time));
        if let Some(call) = self.calls.get_mut(&span) {
            call.forward = held;
            call.pinned = pinned;
        }
    }

    fn forward_edge(
        &mut self,
        step: &Step,
        unit: UnitId,
        to: UnitId,
        kind: HandOverKind,
        word: u64,
    ) {
        let known = || {
            let from = if self.forward.contains_key(&step.unit) { step.unit } else { unit };
            self.current(from, step.time).map(|held| held.0)
        };
        let exact = match kind {
            HandOverKind::Copy => known(),
            HandOverKind::Put => {
                let request = known();
                self.items.put(to, request);
                return;
            }
            HandOverKind::Got => self.items.got(step.unit),
            _ => {
                self.forward_wake(step, unit, to, kind, word);
                return;
            }
        };
        match exact {
            Some(request) => self.forward.insert(to, (request, Held::Exact)),
            None => self.forward.remove(&to),
        };
    }

    fn forward_wake(
        &mut self,
        step: &Step,
        unit: UnitId,
        to: UnitId,
        kind: HandOverKind,
        word: u64,
    ) {
        if kind == HandOverKind::Birth && self.is_stranger(unit, step.time) {
            self.bear(to, None, step.time);
        }
        let Some((from, to)) = self.edge(unit, to, kind, word) else { return };
        let held = self.current(from, step.time);
        if let Some(pinned) = self.pins.at(to, step.time) {
            // The result came home: the helper forgets.
            if held.is_some_and(|held| held.0 == pinned) && self.pins.at(from, step.time).is_none()
            {
                self.forward.remove(&from);
                self.born.remove(&from);
            }
            return;
        }
        // Who was born for a request keeps it until that ends, or its result went home.
        if let Some((request, since)) = self.born.get(&to) {
            let keeps = match request {
                Some(request) => self.is_open_at(*request, step.time),
                None => step.time.since(*since) < STRANGER_MEMORY,
            };
            if keeps {
                return;
            }
            self.born.remove(&to);
        }
        if self.is_loop(to) {
            return;
        }
        let is_runtime = !matches!(kind, HandOverKind::Futex | HandOverKind::Wake);
        let Some((request, before)) = held else {
            if self.is_stranger(from, step.time) {
                self.forward.remove(&to);
            }
            return;
        };
        let surely = self.pins.at(from, step.time).is_some() || before >= Held::Runtime;
        let strength = if is_runtime && surely { Held::Runtime } else { Held::Weak };
        if kind == HandOverKind::Birth {
            self.bear(to, Some(request), step.time);
        }
        if strength > Held::Weak || self.is_open_at(request, step.time) {
            self.forward.insert(to, (request, strength));
        }
    }

    /// Whether a unit works for a request of which it is not known which one: it was made by who carries
    /// bytes, or by another stranger.
    fn is_stranger(&self, unit: UnitId, time: BootTime) -> bool {
        let is_born = || matches!(self.born.get(&unit), Some((None, _)));
        self.carriers.contains(&unit) || (is_born() && self.pins.at(unit, time).is_none())
    }

    fn bear(&mut self, unit: UnitId, request: Option<SpanId>, time: BootTime) {
        if self.born.len() < super::STEPS_MAX {
            self.born.insert(unit, (request, time));
        }
    }

    /// For whom a unit works, as far as it is known at `time`.
    fn current(&self, unit: UnitId, time: BootTime) -> Option<(SpanId, Held)> {
        let pinned = self.pins.at(unit, time).map(|request| (request, Held::Runtime));
        pinned.or_else(|| self.forward.get(&unit).copied())
    }

    fn is_open_at(&self, request: SpanId, time: BootTime) -> bool {
        self.requests.get(&request).is_some_and(|r| r.end.is_none_or(|end| end >= time))
    }

    /// From whom to whom a hand-over goes. `None`: it hands nothing over.
    fn edge(
        &mut self,
        unit: UnitId,
        to: UnitId,
        kind: HandOverKind,
        word: u64,
    ) -> Option<(UnitId, UnitId)> {
        let (from, to) = if kind == HandOverKind::Taken { (to, unit) } else { (unit, to) };
        if from == to || self.carriers.contains(&from) || self.carriers.contains(&to) {
            return None;
        }
        if kind == HandOverKind::Futex {
            let loops = &self.loops;
            let shape = self.words.shape(word, &self.pins, |thread| loops.contains_key(&thread));
            let touches = || self.pins.is_owner(from) || self.pins.is_owner(to);
            if shape == Shape::Lock || (shape == Shape::Relay && !touches()) {
                return None;
            }
        }
        Some((from, to))
    }

    /// Follows results back from the answers that they led to, as far as the start of `first`; looks at
    /// calls that began before `gate`.
    pub(super) fn pass_backward(&mut self, first: BootTime, gate: BootTime) -> Backward {
        let mut tokens: Vec<Token> = Vec::new();
        let mut held: FxHashMap<UnitId, usize> = FxHashMap::default();
        let mut found = Backward::default();
        let busy = self.busy();
        for at in (0..self.log.len()).rev() {
            let step = self.log[at];
            if step.time < first {
                break;
            }
            let unit = self.unit(&step);
            match step.what {
                What::Answered(_)
                | What::Handed {
                    kind: HandOverKind::Copy | HandOverKind::Put | HandOverKind::Got,
                    ..
                } => {}
                What::Handed { to, kind, word } => {
                    let Some((from, to)) = self.edge(unit, to, kind, word) else { continue };
                    if self.pins.at(from, step.time).is_some() || self.is_loop(to) {
                        continue;
                    }
                    let edge = (from, to, kind == HandOverKind::Futex);
                    self.backward_edge(edge, step.time, &busy, &mut tokens, &mut held);
                }
                What::Read(span) => {
                    // Nothing before its beginning was for it.
                    held.retain(|_, token| tokens[*token].request != Some(span));
                }
                What::Returned(call) | What::Called(call) => {
                    let is_response = matches!(step.what, What::Returned(_));
                    let side =
                        if is_response { &mut found.at_response } else { &mut found.at_request };
                    if let Some(request) = self.pins.at(unit, step.time) {
                        side.insert(call, Found { request, is_last: true, result: None });
                        continue;
                    }
                    let Some(at) = held.get(&unit).copied() else { continue };
                    if is_response && self.is_loop(unit) {
                        // A loop reads for one after the other.
                        held.remove(&unit);
                    }
                    let token = &mut tokens[at];
                    let count = if is_response { &mut token.responses } else { &mut token.calls };
                    *count += 1;
                    let (is_last, result) = (*count == 1, Some(at));
                    let is_looked_at = self.calls.get(&call).is_some_and(|c| c.start < gate);
                    if let Some(request) = token.request.filter(|_| is_looked_at) {
                        side.insert(call, Found { request, is_last, result });
                    }
                }
            }
        }
        found.results = tokens.iter().map(|token| token.responses).collect();
        found
    }

    fn backward_edge(
        &self,
        (from, to, is_futex): (UnitId, UnitId, bool),
        time: BootTime,
        busy: &FxHashMap<UnitId, BootTime>,
        tokens: &mut Vec<Token>,
        held: &mut FxHashMap<UnitId, usize>,
    ) {
        let request = self.pins.at(to, time);
        // Somebody who has read a request that is not answered yet: nobody knows what for.
        let is_busy = || busy.get(&to).is_some_and(|since| time >= *since);
        let is_unknown = request.is_none() && (is_busy() || self.is_stranger(to, time));
        let began = |token: &Token| {
            let request = token.request.and_then(|request| self.requests.get(&request));
            request.is_none_or(|request| request.start <= time)
        };
        // A result that explains no call yet.
        let own = held.get(&from).map(|own| tokens[*own]);
        let waiting = own.filter(|own| own.responses == 0 && own.calls == 0 && began(own));
        if request.is_some() || is_unknown {
            // It woke two by futexes who work for different requests, with no call between: one of them for a
            // lock that is not known as such, and nobody knows which.
            let is_doubtful = is_futex && waiting.is_some_and(|waiting| waiting.request != request);
            let request = request.filter(|_| !is_doubtful);
            held.insert(from, tokens.len());
            tokens.push(Token { request, responses: 0, calls: 0 });
            return;
        }
        let Some(token) = held.get(&to).copied().filter(|token| began(&tokens[*token])) else {
            return;
        };
        // It is not overwritten by a detour; of what a loop does after it has read, the first is for that.
        if waiting.is_none() || self.is_loop(from) {
            held.insert(from, token);
        }
    }

    /// Units that have read a request which is not answered, and since when.
    fn busy(&self) -> FxHashMap<UnitId, BootTime> {
        let mut busy = FxHashMap::default();
        for (start, span) in self.open.iter().rev() {
            let request = self.requests.get(span).filter(|request| request.end.is_none());
            if let Some(request) = request.filter(|request| !self.is_loop(request.reader)) {
                busy.insert(request.reader, *start);
            }
        }
        busy
    }
}
