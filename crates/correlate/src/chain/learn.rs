//! Learning without truth: from an assignment to a model, and from a model to a better assignment.

use rustc_hash::FxHashMap;

use super::fields::shares;
use super::lattice::NOBODY;
use super::model::{Ingredients, Model};
use super::order::{Level, Order, Since};
use super::search::Found;
use super::state::{END, RETURNED};
use super::timeline::{Happening, Moment};
use super::walk::{Step, walk};
use crate::algorithm::{Call, Window};

/// How the first assignment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The oldest open request without a call of this class; only requests that were alone are learned
    /// from.
    Alone,
    /// The oldest open request without a call of this class.
    First,
    /// The latest open request.
    Latest,
    /// The latest open request whose last event was in the unit of the call; nobody, where there is none.
    Unit,
}

/// A first assignment, and which requests to learn from; `None` where there are too few of them.
pub(super) fn start(
    window: &Window,
    moments: &[Moment],
    how: Start,
) -> Option<(Vec<u32>, Option<Vec<bool>>)> {
    let mut parents = vec![NOBODY; window.calls.len()];
    let mut complete = vec![i64::MIN; window.requests.len()];
    for (time, _, at) in moments.iter().filter(|moment| moment.1 == Happening::Joined) {
        complete[*at as usize] = *time;
    }
    let mut alone = vec![true; window.requests.len()];
    let mut open: Vec<u32> = Vec::new();
    let mut made: FxHashMap<(u32, u64), ()> = FxHashMap::default();
    let mut units: Vec<Option<u64>> = window.requests.iter().map(|it| it.units[0]).collect();
    for (_, happening, at) in moments {
        match happening {
            Happening::Opened => {
                open.push(*at);
                if open.len() > 1 {
                    open.iter().for_each(|request| alone[*request as usize] = false);
                }
            }
            Happening::Called => {
                let call = &window.calls[*at as usize];
                let within = |slack: i64| {
                    move |request: &&u32| {
                        window.requests[**request as usize].end.saturating_add(slack) >= call.end
                    }
                };
                let slack = if open.iter().any(|request| within(0)(&request)) { 0 } else { SLACK };
                // A meeting goes on when all have come, unless that never is.
                let is_complete = |request: &&u32| complete[**request as usize] <= call.start;
                let some = open.iter().filter(within(slack)).any(|request| is_complete(&request));
                let free = |request: &&u32| !made.contains_key(&(**request, call.class));
                let possible = |request: &&u32| !some || is_complete(request);
                // A value that few share is a better guess than any order.
                let has_value = |request: &&u32| {
                    shares(&call.tokens, &window.requests[**request as usize].tokens)
                };
                let by_value = !call.tokens.is_empty()
                    && open.iter().filter(within(slack)).any(|request| has_value(&request));
                let possible =
                    |request: &&u32| possible(request) && (!by_value || has_value(request));
                let containing = || open.iter().filter(within(slack)).filter(possible);
                let same_unit = |request: &&u32| {
                    call.units[0].is_some() && units[**request as usize] == call.units[0]
                };
                let chosen = match (call.known, how) {
                    (Some(known), _) => Some(known as u32),
                    (None, Start::Latest) => containing().next_back().copied(),
                    (None, Start::Unit) => containing().rfind(same_unit).copied(),
                    _ => containing().find(free).or_else(|| containing().next_back()).copied(),
                };
                if let Some(request) = chosen {
                    made.insert((request, call.class), ());
                    parents[*at as usize] = request;
                    units[request as usize] = call.units[0];
                }
            }
            Happening::Closed => open.retain(|request| request != at),
            Happening::Joined => {
                // The order is that in which they are complete.
                if let Some(slot) = open.iter().position(|request| request == at) {
                    let request = open.remove(slot);
                    open.push(request);
                }
            }
            Happening::Returned | Happening::ReturnedAtOnce => {
                if let Some(last) = units.get_mut(parents[*at as usize] as usize) {
                    *last = window.calls[*at as usize].units[1];
                }
            }
            Happening::Left => {}
        }
    }
    if how == Start::Unit {
        let found = parents.iter().filter(|parent| **parent != NOBODY).count();
        if (found as f32) < UNITS_TELL * parents.len() as f32 {
            return None;
        }
    }
    if how != Start::Alone {
        return Some((parents, None));
    }
    let many = alone.iter().filter(|alone| **alone).count();
    (many >= ALONE_MIN && many * 20 >= alone.len()).then_some((parents, Some(alone)))
}

/// Share of calls that units must explain, to begin with them.
const UNITS_TELL: f32 = 0.7;
/// Nanoseconds by which a call may end after its request, where no other request contains it.
const SLACK: i64 = 1_000_000;
/// Requests that were alone, without which they are not learned from.
const ALONE_MIN: usize = 30;

/// In which of some parts of a timeline a place is.
pub(super) fn part(place: usize, places: usize, parts: usize) -> usize {
    place * parts / places.max(1)
}

/// Counts what `parents` say. `only`: learn delays from these requests. Of several models each learns
/// from all [`part`]s of the time but its own.
pub(super) fn learn(
    models: &mut [Model],
    window: &Window,
    moments: &[Moment],
    parents: &[u32],
    only: Option<&[bool]>,
) {
    let is_learned = |request: u32| only.is_none_or(|only| only[request as usize]);
    let parts = models.len();
    // Where requests were until now, to learn from it once they are answered.
    let mut been: FxHashMap<u32, Vec<([u64; 3], i64)>> = FxHashMap::default();
    walk(window, moments, parents, |place, time, open, step| {
        let own = (parts > 1).then(|| part(place, moments.len(), parts));
        let mut each = |learn: &mut dyn FnMut(&mut Model)| {
            for (_, model) in models.iter_mut().enumerate().filter(|(at, _)| Some(*at) != own) {
                learn(model);
            }
        };
        if let Step::Called(slot, at) = step {
            let call = &window.calls[at as usize];
            for (other, state) in open.iter().enumerate() {
                let request = &window.requests[state.request as usize];
                if request.end >= call.end {
                    let is_cause = slot == Some(other);
                    each(&mut |model| model.add_unit(call.units[0], state.unit, is_cause));
                    if !call.tokens.is_empty() {
                        let shares = shares(&call.tokens, &request.tokens);
                        each(&mut |model| model.add_field(shares, is_cause));
                    }
                }
            }
        }
        let (slot, class) = match step {
            Step::Met(slot, what) => (slot, what),
            Step::Called(None, at) => {
                let class = window.calls[at as usize].class;
                return each(&mut |model| model.add_background(class, 1.0));
            }
            Step::Called(Some(slot), at) => {
                let call = &window.calls[at as usize];
                let request = &window.requests[open[slot].request as usize];
                if call.end != i64::MAX {
                    each(&mut |model| model.add_overrun(call.end - request.end));
                }
                (slot, call.class)
            }
            Step::Returned(slot) => (slot, RETURNED),
            Step::Closed(slot) => (slot, END),
        };
        let state = &open[slot];
        if !is_learned(state.request) || time == i64::MAX {
            been.remove(&state.request);
            return;
        }
        each(&mut |model| model.add(state, class, time, 1.0));
        let places = been.entry(state.request).or_default();
        places.push((state.keys, state.ready));
        if let Step::Closed(_) = step {
            for (keys, ready) in places.drain(..) {
                each(&mut |model| model.add_left(keys, time - ready));
            }
            been.remove(&state.request);
        }
    });
    let ends = moments.iter().map(|moment| moment.0).filter(|time| *time != i64::MAX);
    if let (Some(first), Some(last)) = (moments.first(), ends.max()) {
        let learned = if parts > 1 { parts as i64 - 1 } else { 1 };
        let observed = last.saturating_sub(first.0) / parts.max(1) as i64 * learned;
        models.iter_mut().for_each(|model| model.add_observed(observed));
    }
}

/// Whether order holds: by what was found from delays alone, with these `models`. In its own order an
/// assignment always is.
pub(super) fn order(
    models: &[Model],
    window: &Window,
    moments: &[Moment],
    by_delays: &Found,
) -> Order {
    let mut order = Order::default();
    let mut waiting: Vec<(Since, f32)> = Vec::new();
    walk(window, moments, &by_delays.parents, |place, time, open, step| {
        let Step::Called(Some(slot), at) = step else { return };
        let call = &window.calls[at as usize];
        // Those that come at the same time are in no order.
        let is_tied = |other: Option<&Call>| {
            other.is_some_and(|it| it.start == call.start && it.class == call.class)
        };
        let is_tied = is_tied(at.checked_sub(1).and_then(|it| window.calls.get(it as usize)))
            || is_tied(window.calls.get(at as usize + 1));
        if call.known.is_some() || is_tied {
            return;
        }
        let model = &models[part(place, moments.len(), models.len())];
        waiting.clear();
        let mut own = 0;
        for (other, state) in open.iter().enumerate() {
            if window.requests[state.request as usize].end >= call.end
                && state.is_level_with(&open[slot])
                || other == slot
            {
                if other == slot {
                    own = waiting.len();
                }
                let step = model.step(state, call.class, time);
                waiting.push(((state.last, 0), model.odds(state, step, time)));
            }
        }
        if waiting.len() > 1 {
            let sure = by_delays.confidence[at as usize];
            order.add(&Level { waiting: &waiting, own, sure });
        }
    });
    order
}

/// Models of `parents` alone: one for each of so many parts of the time, of the other parts. All of them
/// have the same `order`.
pub(super) fn fresh(
    window: &Window,
    moments: &[Moment],
    parents: &[u32],
    only: Option<&[bool]>,
    parts: usize,
    order: &Order,
    ingredients: Ingredients,
) -> Vec<Model> {
    let mut model = Model::of(window);
    model.order = order.clone();
    let mut models = vec![model; parts];
    learn(&mut models, window, moments, parents, only);
    models.iter_mut().for_each(|model| model.freeze(ingredients));
    models
}
