//! Beam search over joint assignments: which calls belong to which requests, all at once.
//!
//! A hypothesis is the states of all open requests. Equal ones are merged; those too many, or too far
//! behind the best, are dropped. All that lived are kept as a lattice until no request is open, so that
//! a call's confidence is the share of the likelihood that agrees with its answer.

use rustc_hash::FxHashMap;

use super::lattice::{Lattice, NOBODY};
use super::learn::part;
use super::model::{Ingredients, Model};
use super::state::{JOINED, LEFT, State};
use super::timeline::{Happening, Moment};
use crate::algorithm::Window;

/// Nats behind the best, at which a hypothesis is dropped.
const BEHIND_MAX: f32 = 25.0;
/// Nodes of the lattice at which it is decided although requests are open.
const NODES_MAX: usize = 100_000;
/// States that are held before those in no hypothesis are let go.
const STATES_MAX: usize = 50_000;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Request of each call; [`NOBODY`] for none.
    pub(super) parents: Vec<u32>,
    /// Probability of that answer.
    pub(super) confidence: Vec<f32>,
    /// Logarithm of the likelihood.
    pub(super) likelihood: f64,
}

impl Found {
    /// No answer to any of so many calls.
    pub(super) fn nothing(calls: usize) -> Self {
        Self { parents: vec![NOBODY; calls], confidence: vec![0.0; calls], likelihood: 0.0 }
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
    /// It makes this call.
    step: f32,
    /// It makes no call until now.
    stay: f32,
    /// The state after the call; zero: not made yet.
    next: u32,
}

impl Answer {
    /// Logarithm of the rate at which the call comes, given that nothing came so far.
    fn hazard(self) -> f32 {
        self.step - self.stay
    }
}

/// A way for a hypothesis to go on.
#[derive(Clone, Copy, Debug)]
struct Choice {
    key: f32,
    score: f32,
    hypothesis: u32,
    /// Position in `open`; [`NOBODY`]: no request made the call.
    slot: u32,
}

/// One search.
pub(super) struct Search<'a> {
    model: &'a Model,
    window: &'a Window,
    width: usize,
    open: Vec<u32>,
    hypotheses: Vec<Hypothesis>,
    states: Vec<State>,
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
            let waits = |state: &u32| self.states[*state as usize].waits_for(at);
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
        for hypothesis in &self.hypotheses {
            for index in &hypothesis.states {
                let answer = &mut self.answers[*index as usize];
                if answer.asked == self.asked {
                    continue;
                }
                let state = &self.states[*index as usize];
                let request = &self.window.requests[state.request as usize];
                *answer = Answer { asked: self.asked, ..Answer::default() };
                // Waiting for an answer does not discriminate.
                if !state.is_waiting() {
                    answer.stay = self.model.stay(state, time);
                }
                let overrun = self.model.overrun(call, request);
                let is_known = call.known.is_none_or(|known| known == state.request as usize);
                answer.step = if overrun > IMPOSSIBLE && is_known {
                    self.model.step(state, call.class, time)
                        + self.model.unit(call.units[0], state.unit)
                        + self.model.field(call, request)
                        + overrun
                } else {
                    f32::NEG_INFINITY
                };
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
        self.choices.clear();
        for (h, hypothesis) in (0_u32..).zip(&self.hypotheses) {
            let answers = &self.answers;
            let stay: f32 = hypothesis.states.iter().map(|s| answers[*s as usize].stay).sum();
            for (slot, index) in (0_u32..).zip(&hypothesis.states) {
                let answer = answers[*index as usize];
                if answer.step == f32::NEG_INFINITY {
                    continue;
                }
                let mut score = hypothesis.score + answer.step;
                if self.model.has_order() {
                    score += self.order(&hypothesis.states, slot as usize);
                }
                let key = score + stay - answer.stay;
                self.choices.push(Choice { key, score, hypothesis: h, slot });
            }
            let score = hypothesis.score + nobody;
            if nobody > f32::NEG_INFINITY || hypothesis.states.is_empty() {
                self.choices.push(Choice { key: score + stay, score, hypothesis: h, slot: NOBODY });
            }
        }
        if self.choices.is_empty() {
            // What is known contradicts the times.
            return;
        }
        self.take(at, time);
    }

    /// What the order says if the request in `slot` makes the call: how often those that came earlier
    /// go first, against what the delays alone say of those in the same state. Sums to what the delays
    /// say, so that a model with order is no likelier for that alone.
    fn order(&self, states: &[u32], slot: usize) -> f32 {
        let own = &self.states[states[slot] as usize];
        let (mut total, mut weighted, mut own_weight, mut nth) = (0.0_f32, 0.0_f32, 0.0_f32, 0);
        let own_hazard = self.answers[states[slot] as usize].hazard();
        let is_level = |index: &u32| {
            self.answers[*index as usize].step > f32::NEG_INFINITY
                && self.states[*index as usize].is_level_with(own)
        };
        let many = states.iter().filter(|index| is_level(index)).count();
        if many < 2 {
            return 0.0;
        }
        for (other, index) in states.iter().enumerate().filter(|(_, index)| is_level(index)) {
            let hazard = (self.answers[*index as usize].hazard() - own_hazard).clamp(-40.0, 40.0);
            let weight = self.model.order(nth, many - 1 - nth);
            if other == slot {
                own_weight = weight;
            }
            total += hazard.exp();
            weighted += (hazard + weight).exp();
            nth += 1;
        }
        own_weight + (total / weighted).ln()
    }

    /// Goes on with the best choices.
    fn take(&mut self, at: u32, time: i64) {
        let call = &self.window.calls[at as usize];
        let most = self.choices.iter().map(|choice| choice.key).fold(f32::MIN, f32::max);
        self.choices.retain(|choice| choice.key >= most - BEHIND_MAX);
        self.choices.sort_unstable_by(|a, b| {
            b.key.total_cmp(&a.key).then(a.hypothesis.cmp(&b.hypothesis)).then(a.slot.cmp(&b.slot))
        });
        let old = std::mem::take(&mut self.hypotheses);
        self.seen.clear();
        for c in 0..self.choices.len() {
            let choice = self.choices[c];
            let from = &old[choice.hypothesis as usize];
            let (mut hash, mut next, mut request) = (from.hash, 0, NOBODY);
            if choice.slot != NOBODY {
                let before = from.states[choice.slot as usize] as usize;
                if self.answers[before].next == 0 {
                    let state = self.states[before].called(at, call.class, time, call.units[0]);
                    self.answers[before].next = self.intern(state);
                }
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
                let step = self.model.step(state, Model::END, time)
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
        self.found.likelihood += f64::from(best);
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
        if self.open.is_empty() {
            self.found.likelihood += f64::from(best.score);
            self.restart();
        } else {
            self.lattice.clear();
            for hypothesis in &mut self.hypotheses {
                hypothesis.node = self.lattice.root_with(hypothesis.score.into());
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
