//! The chain model: every open request is a walk over "next call, or the answer", and the joint
//! assignment of calls to requests with the highest likelihood wins. Learned without truth.

#[cfg(test)]
mod ceiling;
mod choice;
mod density;
mod fields;
mod lattice;
mod learn;
mod meeting;
mod model;
mod order;
mod search;
mod state;
mod temper;
mod timeline;
mod walk;

use deeptrace_model::Method;

use crate::algorithm::{Algorithm, Guess, Window};
use lattice::NOBODY;
use learn::{Start, fresh, learn, start};
use meeting::Joined;
pub(crate) use model::Ingredients;
use model::Model;
use order::Order;
use search::{Found, search};
use temper::temper;
use timeline::{Moment, timeline};

/// Rounds of learning at most.
const ROUNDS: usize = 10;
/// Nats a call that a round must gain, so that there is another.
const LITTLE: f64 = 0.01;
/// Rounds more, where requests in the same state are seen to keep their order.
const ROUNDS_IN_ORDER: usize = 2;
/// Parts of the first window, each of which is decided with what was learned of the others.
const PARTS: usize = 4;
/// Hypotheses at a time: while learning, and for the answer.
const WIDTH_LEARNING: usize = 8;
const WIDTH: usize = 400;
/// What an earlier window still counts, once another was learned from.
const DECAY: f32 = 0.5;

/// The model of one process, window by window.
pub(crate) struct Chain {
    ingredients: Ingredients,
    plain: Option<Model>,
    /// Of meetings, where requests of one trace meet.
    joined: Option<Model>,
}

impl Chain {
    pub(crate) fn new(ingredients: Ingredients) -> Self {
        Self { ingredients, plain: None, joined: None }
    }
}

/// What one model says of a window; `model` is that of earlier windows, and then of this one as well.
fn solve(
    model: &mut Option<Model>,
    window: &Window,
    moments: &[Moment],
    ingredients: Ingredients,
) -> Found {
    let width = ingredients.width(WIDTH);
    let (found, mut next) = match model.take() {
        Some(mut known) => {
            let found = search(std::slice::from_ref(&known), window, moments, width, ingredients);
            let order = if known.kept().is_some() {
                let delays = ingredients.without_order();
                known.freeze(delays);
                let width = ingredients.width(WIDTH_LEARNING);
                let models = std::slice::from_ref(&known);
                let found = search(models, window, moments, width, delays);
                learn::order(models, window, moments, &found)
            } else {
                learn::order(std::slice::from_ref(&known), window, moments, &found)
            };
            known.decay(DECAY);
            known.order.join(&order);
            (found, known)
        }
        None => {
            let (models, order) = first_models(window, moments, ingredients);
            let found = search(&models, window, moments, width, ingredients);
            let mut next = Model::of(window);
            next.order = order;
            (found, next)
        }
    };
    learn(std::slice::from_mut(&mut next), window, moments, &found.drawn, None);
    next.freeze(ingredients);
    *model = Some(next);
    found
}

/// Learns from nothing: from several first assignments, the likeliest outcome. What a model says is
/// tried on what it did not learn from: on its own answers it would be surer than it is right.
fn first_models(
    window: &Window,
    moments: &[Moment],
    ingredients: Ingredients,
) -> (Vec<Model>, Order) {
    let has_units = ingredients.units && window.calls.iter().any(|call| call.units[0].is_some());
    let starts = [Start::Alone, Start::First, Start::Latest, Start::Unit];
    let width = ingredients.width(WIDTH_LEARNING);
    let delays = ingredients.without_order();
    // One round from an assignment.
    let round = |parents: &[u32], only: Option<&[bool]>| {
        let models = fresh(window, moments, parents, only, PARTS, &Order::default(), delays);
        (search(&models, window, moments, width, delays), models)
    };
    let mut best: Option<(Found, Vec<Model>)> = None;
    let mut begun: Vec<Vec<u32>> = Vec::new();
    for how in starts.into_iter().filter(|how| has_units || *how != Start::Unit) {
        let Some((parents, only)) = start(window, moments, how) else { continue };
        if only.is_none() && begun.contains(&parents) {
            continue;
        }
        let mut last = round(&parents, only.as_deref());
        for _ in 1..if ingredients.learning { ROUNDS } else { 1 } {
            let next = round(&last.0.drawn, None);
            let gain = next.0.likelihood - last.0.likelihood;
            if gain > 0.0 {
                last = next;
            }
            if gain < LITTLE * window.calls.len() as f64 {
                break;
            }
        }
        if best.as_ref().is_none_or(|best| last.0.likelihood > best.0.likelihood) {
            best = Some(last);
        }
        if only.is_none() {
            begun.push(parents);
        }
    }
    let (best, models) =
        best.unwrap_or_else(|| (Found::nothing(window.calls.len()), vec![Model::of(window)]));
    let order = learn::order(&models, window, moments, &best);
    let mut parents = best.drawn;
    for _ in 0..if ingredients.order && ingredients.learning { ROUNDS_IN_ORDER } else { 0 } {
        let models = fresh(window, moments, &parents, None, PARTS, &order, ingredients);
        if models.iter().all(|model| model.kept().is_none()) {
            break;
        }
        parents = search(&models, window, moments, width, ingredients).drawn;
    }
    (fresh(window, moments, &parents, None, PARTS, &order, ingredients), order)
}

impl Algorithm for Chain {
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>> {
        if window.calls.is_empty() {
            return Vec::new();
        }
        let rare = self.ingredients.fields.then(|| fields::rare(window)).flatten();
        let window = rare.as_ref().unwrap_or(window);
        let mut found = solve(&mut self.plain, window, &timeline(window), self.ingredients);
        if self.ingredients.meetings
            && let Some(joined) = Joined::new(window, &found.parents)
        {
            let meetings =
                solve(&mut self.joined, &joined.window, &joined.moments, self.ingredients);
            found.parents = joined.requests(window, &meetings.parents);
            found.confidence = meetings.confidence;
        }
        if self.ingredients.tempering {
            temper(&mut found);
        }
        let guess = |(request, confidence): (u32, f32)| {
            (request != NOBODY).then_some(Guess {
                request: request as usize,
                method: Method::Inferred,
                confidence: confidence.clamp(0.0, 1.0),
            })
        };
        found.parents.into_iter().zip(found.confidence).map(guess).collect()
    }
}
