//! Learning without truth: from an assignment to a model, and from a model to a better assignment.

use rustc_hash::FxHashMap;

use super::fields::shares;
use super::lattice::NOBODY;
use super::model::{Ingredients, Model};
use super::order::Order;
use super::state::{JOINED, LEFT, RETURNED, State};
use super::timeline::{Happening, Moment};
use crate::algorithm::Window;

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
/// from all [`part`]s of the time but its own. `sure`: how sure delays alone are of each of them, to
/// learn whether order holds.
pub(super) fn learn(
    models: &mut [Model],
    window: &Window,
    moments: &[Moment],
    parents: &[u32],
    only: Option<&[bool]>,
    sure: Option<&[f32]>,
) {
    let is_learned = |request: u32| only.is_none_or(|only| only[request as usize]);
    // By arrival, so that sums are made in the same order each time.
    let mut open: Vec<State> = Vec::new();
    let find = |open: &[State], request: u32| open.iter().position(|s| s.request == request);
    let parts = models.len();
    for (place, (time, happening, at)) in moments.iter().copied().enumerate() {
        let own = (parts > 1).then(|| part(place, moments.len(), parts));
        let mut each = |learn: &mut dyn FnMut(&mut Model)| {
            for (_, model) in models.iter_mut().enumerate().filter(|(at, _)| Some(*at) != own) {
                learn(model);
            }
        };
        match happening {
            Happening::Opened => {
                let unit = window.requests[at as usize].units[0];
                open.push(State::new(at, window.requests[at as usize].class, time, unit));
            }
            Happening::Joined | Happening::Left => {
                let Some(slot) = find(&open, at) else { continue };
                let what = if happening == Happening::Joined { JOINED } else { LEFT };
                each(&mut |model| model.add(&open[slot], what, time, 1.0));
                open[slot] = open[slot].met(what, time);
            }
            Happening::Called => {
                let call = &window.calls[at as usize];
                let parent = parents[at as usize];
                for state in &open {
                    if window.requests[state.request as usize].end >= call.end {
                        each(&mut |model| {
                            model.add_unit(call.units[0], state.unit, state.request == parent)
                        });
                        if !call.tokens.is_empty() {
                            let request = &window.requests[state.request as usize];
                            let shares = shares(&call.tokens, &request.tokens);
                            each(&mut |model| model.add_field(shares, state.request == parent));
                        }
                    }
                }
                let Some(slot) = find(&open, parent) else {
                    each(&mut |model| model.add_background(call.class, 1.0));
                    continue;
                };
                if let Some(sure) = sure.filter(|_| call.known.is_none()) {
                    let is_level = |state: &State| {
                        let contains = window.requests[state.request as usize].end >= call.end;
                        contains && state.is_level_with(&open[slot])
                    };
                    let before = open[..slot].iter().filter(|state| is_level(state)).count();
                    let behind = open[slot + 1..].iter().filter(|state| is_level(state)).count();
                    if before + behind > 0 {
                        let (many, sure) = (before + behind + 1, sure[at as usize]);
                        each(&mut |model| model.order.add(before == 0, many, sure));
                    }
                }
                let request = &window.requests[parent as usize];
                if call.end != i64::MAX {
                    each(&mut |model| model.add_overrun(call.end - request.end));
                }
                if is_learned(parent) {
                    each(&mut |model| model.add(&open[slot], call.class, time, 1.0));
                }
                open[slot] = open[slot].called(at, call.class, time, call.units[0]);
            }
            Happening::Returned | Happening::ReturnedAtOnce => {
                if let Some(slot) = find(&open, parents[at as usize])
                    && open[slot].waits_for(at)
                {
                    let unit = window.calls[at as usize].units[1];
                    if is_learned(open[slot].request) && time != i64::MAX {
                        each(&mut |model| model.add(&open[slot], RETURNED, time, 1.0));
                    }
                    open[slot] = open[slot].returned(at, time, unit);
                }
            }
            Happening::Closed => {
                let Some(slot) = find(&open, at) else { continue };
                let state = open.remove(slot);
                if is_learned(at) && time != i64::MAX {
                    each(&mut |model| model.add(&state, Model::END, time, 1.0));
                }
            }
        }
    }
    let ends = moments.iter().map(|moment| moment.0).filter(|time| *time != i64::MAX);
    if let (Some(first), Some(last)) = (moments.first(), ends.max()) {
        let learned = if parts > 1 { parts as i64 - 1 } else { 1 };
        let observed = last.saturating_sub(first.0) / parts.max(1) as i64 * learned;
        models.iter_mut().for_each(|model| model.add_observed(observed));
    }
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
    learn(&mut models, window, moments, parents, only, None);
    models.iter_mut().for_each(|model| model.freeze(ingredients));
    models
}
