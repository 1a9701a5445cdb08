//! The chain model: every open request is a walk over "next call, or the answer", and the joint
//! assignment of calls to requests with the highest likelihood wins. Learned without truth.

mod density;
mod lattice;
mod learn;
mod model;
mod search;
mod state;
mod timeline;

use deeptrace_model::{Method, hash64};

use crate::algorithm::{Algorithm, Guess, Window};
use lattice::NOBODY;
use learn::{Start, fresh, learn, start};
pub use model::Ingredients;
use model::Model;
use search::{Found, search};
use timeline::timeline;

/// Rounds of learning.
const ROUNDS: usize = 5;
/// Hypotheses at a time: while learning, and for the answer.
const WIDTH_LEARNING: usize = 12;
const WIDTH: usize = 50;
/// What an earlier window still counts, once another was learned from.
const DECAY: f32 = 0.5;

/// The model of one process, window by window.
pub(crate) struct Chain {
    ingredients: Ingredients,
    model: Option<Model>,
}

impl Chain {
    pub(crate) fn new(ingredients: Ingredients) -> Self {
        Self { ingredients, model: None }
    }

    fn learned(&self, window: &Window, moments: &[timeline::Moment], classes: &[u64]) -> Model {
        if let Some(model) = &self.model {
            return model.clone();
        }
        let run = |model: &Model| {
            search(model, window, moments, classes, WIDTH_LEARNING, self.ingredients.background)
        };
        let mut best: Option<(f64, Vec<u32>)> = None;
        for how in [Start::Alone, Start::First, Start::Latest] {
            let Some((mut parents, only)) = start(window, moments, how) else { continue };
            let mut only = only.as_deref();
            let mut likelihood = f64::MIN;
            for _ in 0..ROUNDS {
                let model = fresh(window, moments, classes, &parents, only, self.ingredients);
                only = None;
                let found = run(&model);
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
        fresh(window, moments, classes, &parents, None, self.ingredients)
    }
}

impl Algorithm for Chain {
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>> {
        let moments = timeline(window);
        let classes: Vec<u64> = window
            .requests
            .iter()
            .map(|r| match r.arrival {
                (_, 0 | 1) => r.class,
                (nth, of) => hash64(&[r.class, nth.into(), of.into()]),
            })
            .collect();
        let mut model = self.learned(window, &moments, &classes);
        let Found { parents, confidence, .. } =
            search(&model, window, &moments, &classes, WIDTH, self.ingredients.background);
        if self.model.is_some() {
            model.decay(DECAY);
        } else {
            model = Model::new(model.resolution);
        }
        learn(&mut model, window, &moments, &classes, &parents, None);
        model.freeze(self.ingredients);
        self.model = Some(model);
        let guess = |(request, confidence): (u32, f32)| {
            (request != NOBODY).then_some(Guess {
                request: request as usize,
                method: Method::Inferred,
                confidence: confidence.clamp(0.0, 1.0),
            })
        };
        parents.into_iter().zip(confidence).map(guess).collect()
    }
}
