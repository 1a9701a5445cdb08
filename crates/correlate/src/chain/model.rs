//! What was learned of one process: which call comes next in which state, and after how long.

use rustc_hash::FxHashMap;

use super::density::{BINS, Density, Scale};
use super::fields::shares;
use super::order::Order;
use super::state::{RETURNED, State};
use crate::algorithm::{Call, Request, Window};

/// Examples that weigh as much as what the next coarser level says.
const BACK_OFF: f32 = 5.0;
/// The same for delays, and for those of the whole process.
const BACK_OFF_DELAY: f32 = 10.0;
const EVERYWHERE: f32 = 20.0;
/// Probability of what never was seen.
const NEVER: f32 = 1e-5;
const FLOOR: f32 = 1e-9;
/// Probability, without any example, that whoever waits does nothing but wait.
const RETURNS: f32 = 0.5;
/// States that are remembered at each level; beyond, the rarest make room.
const STATES_MAX: usize = 20_000;
/// A factor that discriminates less is left out.
const SURE: f32 = 0.999;

/// What came after one state.
#[derive(Clone, Debug, Default)]
struct After {
    /// By class of the next call; `END` for the response.
    next: FxHashMap<u64, Density>,
    /// Over all of them.
    any: Density,
}

/// Which parts of the model are in use: all, but where it is measured what one is worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ingredients {
    /// Threads and contexts.
    pub(crate) units: bool,
    /// Rare values that a request and its call share.
    pub(crate) fields: bool,
    /// First in, first out among requests in the same state.
    pub(crate) order: bool,
    /// A call may end a little after its request.
    pub(crate) soft_end: bool,
    /// Calls that no request caused.
    pub(crate) background: bool,
    /// Requests of one trace that meet are one walk.
    pub(crate) meetings: bool,
    /// Which calls a request has made.
    pub(crate) history: bool,
    /// Several hypotheses at a time.
    pub(crate) beam: bool,
    /// More than one round of learning.
    pub(crate) learning: bool,
    /// Less sure answers where the window is less sure.
    pub(crate) tempering: bool,
}

impl Ingredients {
    /// All of them.
    pub(crate) const ALL: Self = Self {
        units: true,
        fields: true,
        order: true,
        soft_end: true,
        background: true,
        meetings: true,
        history: true,
        beam: true,
        learning: true,
        tempering: true,
    };

    /// The same, by delays alone where requests are in the same state.
    pub(super) fn without_order(self) -> Self {
        Self { order: false, ..self }
    }

    /// Hypotheses at a time, where all are in use.
    pub(super) fn width(self, all: usize) -> usize {
        if self.beam { all } else { 1 }
    }
}

/// Statistics of one process.
#[derive(Clone, Debug)]
pub(super) struct Model {
    levels: [FxHashMap<u64, After>; 3],
    /// Over all states.
    all: After,
    /// How long it took from when they were ready until the response.
    left: [FxHashMap<u64, Density>; 3],
    /// Of the window's clock.
    scale: Scale,
    /// How often the call's unit is that of the request's last event: of the request that made it,
    /// and of those that did not. `(same, all)`.
    units: [(f32, f32); 2],
    /// The same for whether the two share a rare value.
    fields: [(f32, f32); 2],
    /// Whether the first of those in the same state goes first.
    pub(super) order: Order,
    /// Calls that ended after their request, of all, and by how much.
    overrun: (f32, f32),
    overruns: Density,
    /// Calls without a request by class, and the time in which they were counted.
    background: FxHashMap<u64, f32>,
    observed: f32,
    factors: Factors,
    has_soft_end: bool,
    /// Levels that are asked, from the coarsest.
    levels_asked: usize,
}

/// Logarithms of the factors, ready for use.
#[derive(Clone, Copy, Debug, Default)]
struct Factors {
    same_unit: f32,
    other_unit: f32,
    same_field: f32,
    other_field: f32,
    /// Share of pairs in the same state that keep their order; zero: not used.
    kept: f32,
}

impl Model {
    /// Nothing learned, with the resolution of the window's clock.
    pub(super) fn of(window: &Window) -> Self {
        Self {
            levels: Default::default(),
            all: After::default(),
            left: Default::default(),
            scale: Scale::new(window.tick),
            units: [(1.0, 2.0); 2],
            fields: [(1.0, 2.0); 2],
            order: Order::default(),
            overrun: (0.0, 0.0),
            overruns: Density::default(),
            background: FxHashMap::default(),
            observed: 0.0,
            factors: Factors::default(),
            has_soft_end: true,
            levels_asked: 3,
        }
    }

    /// From `state` came `class` at `time`.
    pub(super) fn add(&mut self, state: &State, class: u64, time: i64, weight: f32) {
        let delay = self.scale.delay(time - state.last);
        let after = self.levels.iter_mut().zip(state.keys).map(|(level, key)| level.entry(key));
        let all = (class != RETURNED).then_some(&mut self.all);
        for after in after.map(|entry| entry.or_default()).chain(all) {
            after.next.entry(class).or_default().add(&self.scale, delay, weight);
            after.any.add(&self.scale, delay, weight);
        }
    }

    /// Logarithm of the probability that from `state` comes `class`, and of the density, per
    /// nanosecond, that it comes at `time`.
    pub(super) fn step(&self, state: &State, class: u64, time: i64) -> f32 {
        let delay = self.scale.delay(time - state.last);
        let (mut choice, mut when) = (NEVER, 1.0 / BINS as f32);
        let all = self.all.any.weight;
        let trust = all / (all + EVERYWHERE);
        when = (1.0 - trust) * when + trust * self.all.any.probability(delay);
        for (level, key) in self.levels.iter().zip(state.keys).rev().take(self.levels_asked) {
            let Some(after) = level.get(&key) else { continue };
            let all = after.any.weight;
            let trust = all / (all + BACK_OFF);
            let Some(next) = after.next.get(&class) else {
                choice *= 1.0 - trust;
                continue;
            };
            choice = (1.0 - trust) * choice + trust * next.weight / all;
            let trust = next.weight / (next.weight + BACK_OFF_DELAY);
            when = (1.0 - trust) * when + trust * next.probability(delay);
        }
        choice.max(FLOOR).ln() + when.max(FLOOR).ln() - delay.log_width()
    }

    /// From a state with these keys the response came so much after it was ready.
    pub(super) fn add_left(&mut self, keys: [u64; 3], left: i64) {
        let delay = self.scale.delay(left);
        for (level, key) in self.left.iter_mut().zip(keys) {
            level.entry(key).or_default().add(&self.scale, delay, 1.0);
        }
    }

    /// Logarithm of the density, per nanosecond, of a response at `end`.
    pub(super) fn left(&self, state: &State, end: i64) -> f32 {
        if end == i64::MAX {
            return 0.0;
        }
        let delay = self.scale.delay(end - state.ready);
        let mut when = 1.0 / BINS as f32;
        for (level, key) in self.left.iter().zip(state.keys).rev().take(self.levels_asked) {
            let Some(left) = level.get(&key) else { continue };
            let trust = left.weight / (left.weight + BACK_OFF_DELAY);
            when = (1.0 - trust) * when + trust * left.probability(delay);
        }
        when.max(FLOOR).ln() - delay.log_width()
    }

    /// Logarithm of the probability that the answer to a call is what comes next. When it comes is up to
    /// who was called; that nothing came before it is up to this request.
    pub(super) fn returns(&self, state: &State) -> f32 {
        let mut choice = RETURNS;
        for (level, key) in self.levels.iter().zip(state.keys).rev().take(self.levels_asked) {
            let Some(after) = level.get(&key) else { continue };
            let all = after.any.weight;
            let trust = all / (all + BACK_OFF);
            let share = after.next.get(&RETURNED).map_or(0.0, |next| next.weight / all);
            choice = (1.0 - trust) * choice + trust * share;
        }
        choice.max(FLOOR).ln()
    }

    /// Logarithm of the probability that nothing came from `state` until `time`.
    pub(super) fn stay(&self, state: &State, time: i64) -> f32 {
        let delay = self.scale.delay(time - state.last);
        let mut rest = 1.0 - delay.bin() as f32 / BINS as f32;
        for (level, key) in self.levels.iter().zip(state.keys).rev().take(self.levels_asked) {
            let Some(after) = level.get(&key) else { continue };
            let all = after.any.weight;
            let trust = all / (all + BACK_OFF);
            rest = (1.0 - trust) * rest + trust * after.any.beyond(delay) / all;
        }
        rest.max(FLOOR).ln()
    }

    /// Logarithm of the odds that what is [`step`](Self::step) comes at `time`, given that nothing came so far:
    /// at this step of the clock, and not later.
    pub(super) fn odds(&self, state: &State, step: f32, time: i64) -> f32 {
        let stay = if state.is_waiting() { 0.0 } else { self.stay(state, time) };
        let now = (step - stay + self.scale.log_tick()).min(-1e-3);
        now - (-now.exp()).ln_1p()
    }

    /// Whether the call's unit is that of the last event of its request (`is_cause`) or of another.
    pub(super) fn add_unit(&mut self, call: Option<u64>, last: u64, is_cause: bool) {
        let Some(unit) = call.filter(|_| last != 0) else { return };
        let (same, all) = &mut self.units[usize::from(!is_cause)];
        *same += f32::from(u8::from(unit == last));
        *all += 1.0;
    }

    /// What the units say for a request whose last event was on `last`.
    pub(super) fn unit(&self, call: Option<u64>, last: u64) -> f32 {
        match call {
            Some(unit) if last != 0 && unit == last => self.factors.same_unit,
            Some(_) if last != 0 => self.factors.other_unit,
            _ => 0.0,
        }
    }

    /// Whether the call shares a rare value with its request (`is_cause`) or with another.
    pub(super) fn add_field(&mut self, shares: bool, is_cause: bool) {
        let (same, all) = &mut self.fields[usize::from(!is_cause)];
        *same += f32::from(u8::from(shares));
        *all += 1.0;
    }

    /// What values that the two share, or do not, say.
    pub(super) fn field(&self, call: &Call, request: &Request) -> f32 {
        if call.tokens.is_empty() {
            0.0
        } else if shares(&call.tokens, &request.tokens) {
            self.factors.same_field
        } else {
            self.factors.other_field
        }
    }

    /// Share of pairs in the same state that keep their order, where it is used.
    pub(super) fn kept(&self) -> Option<f32> {
        (self.factors.kept > 0.0).then_some(self.factors.kept)
    }

    /// The call ended within its request, or so much later.
    pub(super) fn add_overrun(&mut self, nanoseconds: i64) {
        self.overrun.1 += 1.0;
        if nanoseconds > 0 {
            self.overrun.0 += 1.0;
            let delay = self.scale.delay(nanoseconds);
            self.overruns.add(&self.scale, delay, 1.0);
        }
    }

    /// What it costs that a call ends after its request: nothing within it.
    pub(super) fn overrun(&self, call: &Call, request: &Request) -> f32 {
        if call.end <= request.end {
            return 0.0;
        }
        if !self.has_soft_end {
            return f32::NEG_INFINITY;
        }
        let delay = self.scale.delay(call.end - request.end);
        let share = (self.overrun.0 + 0.02) / (self.overrun.1 + 20.0);
        let trust = self.overruns.weight / (self.overruns.weight + BACK_OFF);
        let near = if call.end - request.end < 1_000_000 { 0.02 } else { 1e-4 };
        let when = (1.0 - trust) * near + trust * self.overruns.probability(delay);
        (share * when.max(1e-6) * 10.0).ln().min(0.0)
    }

    /// A call that no request caused.
    pub(super) fn add_background(&mut self, class: u64, weight: f32) {
        *self.background.entry(class).or_default() += weight;
    }

    /// Nanoseconds over which calls without a request were counted.
    pub(super) fn add_observed(&mut self, nanoseconds: i64) {
        self.observed += nanoseconds.max(0) as f32;
    }

    /// Logarithm of the rate, per nanosecond, of calls of the class that no request causes.
    pub(super) fn background(&self, class: u64) -> f32 {
        let count = self.background.get(&class).copied().unwrap_or(0.0);
        ((count + 1e-3) / (self.observed + 1e9)).ln()
    }

    /// Forgets by `factor`, so that a deploy is forgotten; the rarest make room.
    pub(super) fn decay(&mut self, factor: f32) {
        self.all.any.scale(factor);
        self.all.next.values_mut().for_each(|density| density.scale(factor));
        for level in &mut self.left {
            level.retain(|_, left| {
                left.scale(factor);
                left.weight >= 0.1
            });
        }
        for level in &mut self.levels {
            level.retain(|_, after| {
                after.any.scale(factor);
                after.next.retain(|_, density| {
                    density.scale(factor);
                    density.weight >= 0.1
                });
                after.any.weight >= 0.1
            });
            if level.len() > STATES_MAX {
                let mut weights: Vec<f32> = level.values().map(|after| after.any.weight).collect();
                weights.sort_unstable_by(f32::total_cmp);
                let least = weights[weights.len() - STATES_MAX / 2];
                level.retain(|_, after| after.any.weight > least);
            }
        }
        let pairs = self.units.iter_mut().chain(&mut self.fields);
        for (some, all) in pairs.chain([&mut self.overrun]) {
            *some *= factor;
            *all *= factor;
        }
        self.order.scale(factor);
        self.overruns.scale(factor);
        self.background.retain(|_, count| {
            *count *= factor;
            *count >= 0.01
        });
        self.observed *= factor;
    }

    /// Makes it ready for questions.
    pub(super) fn freeze(&mut self, ingredients: Ingredients) {
        for after in self.levels.iter_mut().flat_map(|level| level.values_mut()) {
            after.any.freeze();
        }
        let share = |(some, all): (f32, f32)| ((some + 1.0) / (all + 2.0)).clamp(1.0 - SURE, SURE);
        let [right, wrong] = self.units.map(share);
        self.has_soft_end = ingredients.soft_end;
        self.levels_asked = if ingredients.history { 3 } else { 1 };
        self.factors = Factors::default();
        if ingredients.units {
            self.factors.same_unit = (right / wrong).ln();
            self.factors.other_unit = ((1.0 - right) / (1.0 - wrong)).ln();
        }
        if ingredients.fields {
            let [right, wrong] = self.fields.map(share);
            self.factors.same_field = (right / wrong).ln();
            self.factors.other_field = ((1.0 - right) / (1.0 - wrong)).ln();
        }
        let kept = self.order.kept();

        if ingredients.order && self.order.weight >= ORDER_EXAMPLES && kept >= ORDER_MIN {
            self.factors.kept = kept;
        }
    }
}

/// Share of calls in order from which on the order is used.
const ORDER_MIN: f32 = 0.9;
/// Calls without which it is not.
const ORDER_EXAMPLES: f32 = 30.0;
