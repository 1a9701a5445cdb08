//! Beam search over joint assignments: which calls belong to which requests, all at once.
//!
//! A hypothesis is the states of all open requests. Equal ones are merged; those too many, or too far
//! behind the best, are dropped. What is compared for that is how likely a hypothesis is until now, times how
//! likely its requests end from there when they do, which is known: six requests that came at once are told
//! apart by their ends, and whoever gave one of them another's calls is dropped once those return. It decides
//! what is kept and no more: likelihoods are those of the model. All that lived are kept as a lattice until no request is open, so that
//! a call's confidence is the share of the likelihood that agrees with its answer.

use rustc_hash::FxHashMap;

use super::choice::{Choice, best};
use super::lattice::{Lattice, NOBODY};
use super::learn::part;
use super::model::{Ingredients, Model};
use super::order::{Since, tilt};
use super::state::{END, JOINED, LEFT, State, waits_bit};
use super::timeline::{Happening, Moment};
use crate::algorithm::Window;

/// Nats behind the best, at which a hypothesis is dropped.
const BEHIND_MAX: f32 = 10.0;
/// Choices that are looked at, for each hypothesis that goes on: some of them become equal.
const CHOICES: usize = 2;
/// Nodes of the lattice at which it is decided although requests are open.
const NODES_MAX: usize = 100_000;
/// States that are held before those in no hypothesis are let go.
const STATES_MAX: usize = 50_000;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Request of each call; [`NOBODY`] for none.
    pub(super) parents: Vec<u32>,
    /// The same, of one of all histories, drawn as often as it is likely. To be learned from: the best history
    /// is sharper than the truth.
    pub(super) drawn: Vec<u32>,
    /// Probability of that answer.
    pub(super) confidence: Vec<f32>,
    /// Logarithm of the likelihood.
    pub(super) likelihood: f64,
}

impl Found {
    /// No answer to any of so many calls.
    pub(super) fn nothing(calls: usize) -> Self {
        Self {
            parents: vec![NOBODY; calls],
            drawn: vec![NOBODY; calls],
            confidence: vec![0.0; calls],
            likelihood: 0.0,
        }
    }
}

/// The states of all open requests, as indices; in the order of `open`.
#[derive(Clone, Debug)]
struct Hypothesis {
    /// Logarithm of its best history's likelihood, against a common one.
    score: f32,
    states: Vec<u32>,
    hash: u64,
    node: u32,
}

/// What is asked of a state at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    asked: u32,
    /// The state after the call.
    next: u32,
    /// It makes this call.
    step: f32,
    /// It makes no call until now, and what is ahead of it then.
    rest: f32,
    /// What it gains by this call, with what is ahead of it then, over what it has by making none.
    gain: f32,
    /// Logarithm of the odds that it makes the call now, given that it made none until now.
    odds: f32,
}

/// One search.
pub(super) struct Search<'a> {
    model: &'a Model,
    window: &'a Window,
    width: usize,
    open: Vec<u32>,
    hypotheses: Vec<Hypothesis>,
    states: Vec<State>,
    /// Of each state, the logarithm of how likely the end of its request is from there.
    ahead: Vec<f32>,
    /// Of each state, which calls it may wait for: see [`State::waits`].
    waits: Vec<u64>,
    answers: Vec<Answer>,
    asked: u32,
    lattice: Lattice,
    found: Found,
    choices: Vec<Choice>,
    spare: Vec<Vec<u32>>,
    seen: FxHashMap<u64, u32>,
    has_background: bool,
}

/// Assigns the calls of `window`, with the model of each [`part`] of the time. `width`: hypotheses at a time.
pub(super) fn search(
    models: &[Model],
    window: &Window,
    moments: &[Moment],
    width: usize,
    ingredients: Ingredients,
) -> Found {
    let calls = window.calls.len();
    let Some(model) = models.first() else { return Found::default() };
    let mut search = Search {
        model,
        window,
        width,
        open: Vec::new(),
        hypotheses: Vec::new(),
        states: Vec::new(),
        ahead: Vec::new(),
        waits: Vec::new(),
        answers: Vec::new(),
        asked: 0,
        lattice: Lattice::default(),
        found: Found::nothing(calls),
        choices: Vec::new(),
        spare: Vec::new(),
        seen: FxHashMap::default(),
        has_background: ingredients.background,
    };
    search.restart();
    for (place, moment) in moments.iter().enumerate() {
        search.model = &models[part(place, moments.len(), models.len())];
        search.happens(*moment);
    }
    search.settle();
    search.found
}

impl Search<'_> {
    fn restart(&mut self) {
        self.states.clear();
        self.ahead.clear();
        self.waits.clear();
        self.answers.clear();
        self.lattice.clear();
        let node = self.lattice.root();
        self.hypotheses.clear();
        self.hypotheses.push(Hypothesis { score: 0.0, states: Vec::new(), hash: 0, node });
    }

    fn happens(&mut self, (time, happening, at): Moment) {
        match happening {
            Happening::Opened => self.opened(at, time),
            Happening::Joined => self.met(at, JOINED, time),
            Happening::Left => self.met(at, LEFT, time),
            Happening::Called => self.called(at, time),
            Happening::Returned | Happening::ReturnedAtOnce => self.returned(at, time),
            Happening::Closed => self.closed(at, time),
        }
    }

    fn intern(&mut self, state: State) -> u32 {
        let end = self.window.requests[state.request as usize].end;
        self.ahead.push(self.model.left(&state, end));
        self.waits.push(state.waits());
        self.states.push(state);
        self.answers.push(Answer::default());
        self.states.len() as u32 - 1
    }

    fn opened(&mut self, at: u32, time: i64) {
        let request = &self.window.requests[at as usize];
        let state = State::new(at, request.class, time, request.units[0]);
        let hash = state.hash;
        let index = self.intern(state);
        self.open.push(at);
        for hypothesis in &mut self.hypotheses {
            hypothesis.states.push(index);
            hypothesis.hash = hypothesis.hash.wrapping_add(hash);
        }
    }

    fn met(&mut self, at: u32, what: u64, time: i64) {
        let Some(slot) = self.open.iter().position(|open| *open == at) else { return };
        self.asked += 1;
        for h in 0..self.hypotheses.len() {
            let before = self.hypotheses[h].states[slot];
            if self.answers[before as usize].asked != self.asked {
                let state = &self.states[before as usize];
                let (step, next) = (self.model.step(state, what, time), state.met(what, time));
                let next = self.intern(next);
                self.answers[before as usize] =
                    Answer { asked: self.asked, step, next, ..Answer::default() };
            }
            let Answer { step, next, .. } = self.answers[before as usize];
            self.replace(h, slot, next);
            let hypothesis = &mut self.hypotheses[h];
            hypothesis.score += step;
            self.lattice.extend(hypothesis.node, step);
        }
    }

    fn returned(&mut self, at: u32, time: i64) {
        let unit = self.window.calls[at as usize].units[1];
        self.asked += 1;
        for h in 0..self.hypotheses.len() {
            let waits = |state: &u32| {
                self.waits[*state as usize] & waits_bit(at) != 0
                    && self.states[*state as usize].waits_for(at)
            };
            let Some(slot) = self.hypotheses[h].states.iter().position(waits) else { continue };
            let before = self.hypotheses[h].states[slot];
            if self.answers[before as usize].asked != self.asked {
                let state = &self.states[before as usize];
                let (step, next) = (self.model.returns(state), state.returned(at, time, unit));
                let next = self.intern(next);
                self.answers[before as usize] =
                    Answer { asked: self.asked, step, next, ..Answer::default() };
            }
            let Answer { step, next, .. } = self.answers[before as usize];
            self.replace(h, slot, next);
            let hypothesis = &mut self.hypotheses[h];
            hypothesis.score += step;
            self.lattice.extend(hypothesis.node, step);
        }
    }

    fn replace(&mut self, hypothesis: usize, slot: usize, next: u32) {
        let hypothesis = &mut self.hypotheses[hypothesis];
        let before = std::mem::replace(&mut hypothesis.states[slot], next);
        let (old, new) = (self.states[before as usize].hash, self.states[next as usize].hash);
        hypothesis.hash = hypothesis.hash.wrapping_sub(old).wrapping_add(new);
    }

    /// Asks every state that is in a hypothesis what it says to the call.
    fn ask(&mut self, at: u32, time: i64) {
        self.asked += 1;
        let call = &self.window.calls[at as usize];
        for h in 0..self.hypotheses.len() {
            for slot in 0..self.hypotheses[h].states.len() {
                let index = self.hypotheses[h].states[slot];
                if self.answers[index as usize].asked == self.asked {
                    continue;
                }
                let state = &self.states[index as usize];
                let request = &self.window.requests[state.request as usize];
                let mut answer = Answer { asked: self.asked, ..Answer::default() };
                answer.rest = self.ahead[index as usize];
                // Waiting for an answer does not discriminate.
                if !state.is_waiting() {
                    answer.rest += self.model.stay(state, time);
                }
                let overrun = self.model.overrun(call, request);
                let is_known = call.known.is_none_or(|known| known == state.request as usize);
                if overrun > IMPOSSIBLE && is_known {
                    let step = self.model.step(state, call.class, time);
                    let factors = self.model.unit(call.units[0], state.unit)
                        + self.model.field(call, request)
                        + overrun;
                    answer.step = step + factors;
                    if self.model.kept().is_some() {
                        answer.odds = self.model.odds(state, step, time) + factors;
                    }
                    let next = state.called(at, call);
                    answer.next = self.intern(next);
                    answer.gain = answer.step + self.ahead[answer.next as usize] - answer.rest;
                } else {
                    answer.step = f32::NEG_INFINITY;
                }
                self.answers[index as usize] = answer;
            }
        }
    }

    fn called(&mut self, at: u32, time: i64) {
        let call = &self.window.calls[at as usize];
        if self.open.is_empty() {
            self.found.confidence[at as usize] = 1.0;
            return;
        }
        self.ask(at, time);
        let nobody = if call.known.is_some() {
            f32::NEG_INFINITY
        } else if self.has_background {
            self.model.background(call.class)
        } else {
            -60.0
        };
        let mut choices = std::mem::take(&mut self.choices);
        choices.clear();
        let (kept, mut waiting) = (self.model.kept(), Vec::new());
        let mut least = f32::MIN;
        let answers = &self.answers;
        for (h, hypothesis) in (0_u32..).zip(&self.hypotheses) {
            let answer = |state: &u32| answers[*state as usize];
            let rest: f32 = hypothesis.states.iter().map(|state| answer(state).rest).sum();
            let mut add = |score: f32, key: f32, slot: u32| {
                if key >= least {
                    least = least.max(key - BEHIND_MAX);
                    choices.push(Choice::new(key, score, h, slot));
                }
            };
            for (slot, state) in (0_u32..).zip(&hypothesis.states) {
                let Answer { step, gain, .. } = answer(state);
                if step == f32::NEG_INFINITY {
                    continue;
                }
                let before = match kept {
                    Some(kept) => self.order(&hypothesis.states, slot as usize, kept, &mut waiting),
                    None => 0.0,
                } + hypothesis.score;
                add(before + step, before + rest + gain, slot);
            }
            let score = hypothesis.score + nobody;
            if nobody > f32::NEG_INFINITY || hypothesis.states.is_empty() {
                add(score, score + rest, NOBODY);
            }
        }
        self.choices = choices;
        if self.choices.is_empty() {
            // What is known contradicts the times.
            return;
        }
        self.take(at);
    }

    /// What the order says if the request in `slot` makes the call: how often those that came earlier
    /// go first, against what the delays alone say of those in the same state. Sums to what the delays
    /// say, so that a model with order is no likelier for that alone.
    fn order(
        &self,
        states: &[u32],
        slot: usize,
        kept: f32,
        waiting: &mut Vec<(Since, f32)>,
    ) -> f32 {
        let own = &self.states[states[slot] as usize];
        waiting.clear();
        let mut nth = 0;
        for (other, index) in states.iter().enumerate() {
            let answer = self.answers[*index as usize];
            if answer.step > f32::NEG_INFINITY && self.states[*index as usize].is_level_with(own) {
                if other == slot {
                    nth = waiting.len();
                }
                let since = (self.states[*index as usize].last, other as u32);
                waiting.push((since, answer.odds));
            }
        }
        if waiting.len() < 2 { 0.0 } else { tilt(waiting, nth, kept) }
    }

    /// Goes on with the best choices.
    fn take(&mut self, at: u32) {
        best(&mut self.choices, BEHIND_MAX, self.width * CHOICES);
        let old = std::mem::take(&mut self.hypotheses);
        self.seen.clear();
        for c in 0..self.choices.len() {
            let choice = self.choices[c];
            let from = &old[choice.hypothesis as usize];
            let (mut hash, mut next, mut request) = (from.hash, 0, NOBODY);
            if choice.slot != NOBODY {
                let before = from.states[choice.slot as usize] as usize;
                next = self.answers[before].next;
                request = self.states[before].request;
                hash = hash.wrapping_sub(self.states[before].hash);
                hash = hash.wrapping_add(self.states[next as usize].hash);
            }
            let step = choice.score - from.score;
            if let Some(known) = self.seen.get(&hash) {
                let node = self.hypotheses[*known as usize].node;
                self.lattice.merge(node, from.node, step, at, request);
                continue;
            }
            if self.hypotheses.len() >= self.width {
                continue;
            }
            self.seen.insert(hash, self.hypotheses.len() as u32);
            let mut states = self.spare.pop().unwrap_or_default();
            states.clear();
            states.extend_from_slice(&from.states);
            if choice.slot != NOBODY {
                states[choice.slot as usize] = next;
            }
            let node = self.lattice.push(from.node, step, at, request);
            self.hypotheses.push(Hypothesis { score: choice.score, states, hash, node });
        }
        self.spare.extend(old.into_iter().map(|hypothesis| hypothesis.states));
        self.make_room();
    }

    fn closed(&mut self, at: u32, time: i64) {
        let Some(slot) = self.open.iter().position(|open| *open == at) else { return };
        self.open.remove(slot);
        self.asked += 1;
        for hypothesis in &mut self.hypotheses {
            let index = hypothesis.states.remove(slot) as usize;
            let state = &self.states[index];
            let answer = &mut self.answers[index];
            if answer.asked != self.asked {
                let request = &self.window.requests[at as usize];
                let step = self.model.step(state, END, time)
                    + self.model.unit(request.units[1], state.unit);
                *answer = Answer { asked: self.asked, step, ..Answer::default() };
            }
            hypothesis.score += answer.step;
            hypothesis.hash = hypothesis.hash.wrapping_sub(state.hash);
            self.lattice.extend(hypothesis.node, answer.step);
        }
        self.merge();
        if self.open.is_empty() {
            self.settle();
        }
    }

    /// Makes one of hypotheses that have become equal.
    fn merge(&mut self) {
        if self.hypotheses.len() < 2 {
            return;
        }
        let by_score =
            |a: &Hypothesis, b: &Hypothesis| b.score.total_cmp(&a.score).then(a.node.cmp(&b.node));
        self.hypotheses.sort_unstable_by(by_score);
        self.seen.clear();
        let old = std::mem::take(&mut self.hypotheses);
        for hypothesis in old {
            match self.seen.get(&hypothesis.hash) {
                Some(known) => {
                    let node = self.hypotheses[*known as usize].node;
                    self.lattice.join(node, hypothesis.node);
                    self.spare.push(hypothesis.states);
                }
                None => {
                    self.seen.insert(hypothesis.hash, self.hypotheses.len() as u32);
                    self.hypotheses.push(hypothesis);
                }
            }
        }
        // Scores stay small, so that their differences stay exact.
        let best = self.hypotheses[0].score;
        for hypothesis in &mut self.hypotheses {
            hypothesis.score -= best;
        }
    }

    /// Decides all calls so far.
    fn settle(&mut self) {
        let by_score = |a: &&Hypothesis, b: &&Hypothesis| {
            a.score.total_cmp(&b.score).then(b.node.cmp(&a.node))
        };
        let Some(best) = self.hypotheses.iter().max_by(by_score) else { return };
        let ends: Vec<u32> = self.hypotheses.iter().map(|hypothesis| hypothesis.node).collect();
        self.lattice.decide(best.node, &ends, &mut self.found);
        let total = self.lattice.total(&ends);
        self.found.likelihood += total;
        if self.open.is_empty() {
            self.restart();
        } else {
            let sums: Vec<f64> = ends.iter().map(|end| self.lattice.sum(*end) - total).collect();
            self.lattice.clear();
            for (hypothesis, sum) in self.hypotheses.iter_mut().zip(sums) {
                hypothesis.node = self.lattice.root_with(sum);
            }
        }
    }

    fn make_room(&mut self) {
        if self.lattice.len() > NODES_MAX {
            self.settle();
        }
        if self.states.len() > STATES_MAX {
            let old = std::mem::take(&mut self.states);
            self.answers.clear();
            self.ahead.clear();
            self.waits.clear();
            let mut moved: FxHashMap<u32, u32> = FxHashMap::default();
            let mut hypotheses = std::mem::take(&mut self.hypotheses);
            for index in hypotheses.iter_mut().flat_map(|hypothesis| &mut hypothesis.states) {
                let known = moved.get(index).copied();
                let next = known.unwrap_or_else(|| self.intern(old[*index as usize].clone()));
                moved.insert(*index, next);
                *index = next;
            }
            self.hypotheses = hypotheses;
        }
    }
}

/// Logarithm of a factor that nothing makes good.
const IMPOSSIBLE: f32 = -18.0;
