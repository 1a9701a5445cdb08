//! The chain model: every open request is a walk over "next call, or the answer", and the joint
//! assignment of calls to requests with the highest likelihood wins. Learned without truth.

mod density;
mod fields;
mod lattice;
mod learn;
mod meeting;
mod model;
mod search;
mod state;
mod timeline;

use deeptrace_model::Method;

use crate::algorithm::{Algorithm, Guess, Window};
use lattice::NOBODY;
use learn::{Start, fresh, learn, start};
use meeting::Joined;
pub(crate) use model::Ingredients;
use model::Model;
use search::{Found, search};
use timeline::{Moment, timeline};

/// Rounds of learning.
const ROUNDS: usize = 5;
/// Parts of the first window, each of which is decided with what was learned of the others.
const PARTS: usize = 4;
/// Hypotheses at a time: while learning, and for the answer.
const WIDTH_LEARNING: usize = 12;
const WIDTH: usize = 50;
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
    let (found, mut next) = match model.take() {
        Some(mut known) => {
            let models = std::slice::from_ref(&known);
            let found = search(models, window, moments, ingredients.width(WIDTH), ingredients);
            known.decay(DECAY);
            (found, known)
        }
        None => {
            let models = first_models(window, moments, ingredients);
            let found = search(&models, window, moments, ingredients.width(WIDTH), ingredients);
            (found, Model::of(window))
        }
    };
    learn(std::slice::from_mut(&mut next), window, moments, &found.parents, None);
    next.freeze(ingredients);
    *model = Some(next);
    found
}

/// Learns from nothing: from several first assignments, the likeliest outcome. What a model says is
/// tried on what it did not learn from: on its own answers it would be surer than it is right.
fn first_models(window: &Window, moments: &[Moment], ingredients: Ingredients) -> Vec<Model> {
    let mut best: Option<(f64, Vec<u32>)> = None;
    let has_units = ingredients.units && window.calls.iter().any(|call| call.units[0].is_some());
    let starts = [Start::Alone, Start::First, Start::Latest, Start::Unit];
    for how in starts.into_iter().filter(|how| has_units || *how != Start::Unit) {
        let Some((mut parents, only)) = start(window, moments, how) else { continue };
        let mut only = only.as_deref();
        let mut likelihood = f64::MIN;
        for _ in 0..if ingredients.learning { ROUNDS } else { 1 } {
            let models = fresh(window, moments, &parents, only, PARTS, ingredients);
            only = None;
            let found =
                search(&models, window, moments, ingredients.width(WIDTH_LEARNING), ingredients);
            likelihood = found.likelihood;
            if found.parents == parents {
                break;
            }
            parents = found.parents;
        }
        if best.as_ref().is_none_or(|(most, _)| likelihood > *most) {
            best = Some((likelihood, parents));
        }
    }
    let parents = best.map_or_else(|| vec![NOBODY; window.calls.len()], |(_, parents)| parents);
    fresh(window, moments, &parents, None, PARTS, ingredients)
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
