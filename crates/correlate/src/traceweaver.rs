//! Whole requests against each other: each has some likely ways to be made of calls, no call is used
//! twice, and the ways with the greatest total weight win (Ashok et al., "TraceWeaver", SIGCOMM 2024).
//!
//! As published it assumes one call per endpoint, and that all requests of a class call alike. The order
//! of calls is learned from requests that were alone, or else from first-free; published results take
//! the true one. Delays are mixtures of normal densities per pair; the independent set is searched with
//! a beam instead of a solver.

use deeptrace_model::Method;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::algorithm::{Algorithm, Guess, Row, Window, each_call};
use crate::mixture::Mixture;

pub(crate) const ROW: Row = Row {
    name: "traceweaver",
    title: "delay mixtures, and the independent set of greatest weight (SIGCOMM 2024)",
    make: || Box::new(TraceWeaver),
};

struct TraceWeaver;

/// Requests that are solved together at most.
const BATCH: usize = 30;
/// Ways that are tried for each request.
const WAYS: usize = 8;
/// Sets that are kept while requests are added.
const WIDTH: usize = 60;
/// Rounds of learning delays.
const ROUNDS: usize = 3;
/// Logarithm of the weight of a call that is not found.
const MISSED: f64 = -12.0;
/// The same where every request is known to make all of its calls.
const NEVER_MISSED: f64 = -10_000.0;

/// A call that every request of a class makes, and what it follows: an earlier one, or the request.
#[derive(Clone)]
struct Slot {
    class: u64,
    after: Option<usize>,
}

/// A way: for each slot a call, and its weight.
type Way = (f64, Vec<Option<usize>>);

impl Algorithm for TraceWeaver {
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>> {
        let first = first_free(window);
        let plans = plans(window, &first);
        solve(window, &plans, first, MISSED)
    }
}

/// With the order of calls of known `parents`, as published.
pub(crate) fn with_order(window: &Window, parents: &[Option<usize>]) -> Vec<Option<Guess>> {
    let known: Vec<_> = parents.iter().map(|parent| parent.map(|parent| (parent, 1.0))).collect();
    solve(window, &plans(window, &known), first_free(window), NEVER_MISSED)
}

/// Learns delays from `parents`, assigns, and learns again.
fn solve(
    window: &Window,
    plans: &FxHashMap<u64, Vec<Slot>>,
    mut parents: Vec<Option<(usize, f32)>>,
    missed: f64,
) -> Vec<Option<Guess>> {
    for _ in 0..ROUNDS {
        let delays = delays(window, plans, &parents);
        parents = assign(window, plans, &delays, missed);
    }
    let guess = |parent: Option<(usize, f32)>| {
        let (request, confidence) = parent?;
        Some(Guess { request, method: Method::Inferred, confidence })
    };
    parents.into_iter().map(guess).collect()
}

/// A first assignment to learn from.
fn first_free(window: &Window) -> Vec<Option<(usize, f32)>> {
    let mut made: FxHashSet<(usize, u64)> = FxHashSet::default();
    let guesses = each_call(window, |call, open| {
        let free = |request: &&usize| !made.contains(&(**request, call.class));
        let request = *open.iter().find(free)?;
        made.insert((request, call.class));
        Some(Guess { request, method: Method::Order, confidence: 1.0 })
    });
    guesses.into_iter().map(|guess| guess.map(|guess| (guess.request, 1.0))).collect()
}

/// What requests of each class call, in order of their mean start.
fn plans(window: &Window, parents: &[Option<(usize, f32)>]) -> FxHashMap<u64, Vec<Slot>> {
    let mut requests: FxHashMap<u64, f64> = FxHashMap::default();
    for request in &window.requests {
        *requests.entry(request.class).or_default() += 1.0;
    }
    let mut seen: FxHashMap<(u64, u64), (f64, f64, f64)> = FxHashMap::default();
    for (call, parent) in window.calls.iter().zip(parents) {
        let Some((request, _)) = *parent else { continue };
        let request = &window.requests[request];
        let (count, start, end) = seen.entry((request.class, call.class)).or_default();
        *count += 1.0;
        *start += (call.start - request.start) as f64;
        *end += (call.end - request.start) as f64;
    }
    let mut plans: FxHashMap<u64, Vec<Slot>> = FxHashMap::default();
    for (class, requests) in requests {
        let mut order: Vec<(f64, f64, u64)> = seen
            .iter()
            .filter(|((of, _), (count, ..))| *of == class && *count >= 0.3 * requests)
            .map(|((_, callee), (count, start, end))| (start / count, end / count, *callee))
            .collect();
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.2.cmp(&b.2)));
        let mut slots: Vec<Slot> = Vec::new();
        for (start, _, called) in &order {
            // The latest of those that had ended by then.
            let ended = |(_, it): &(usize, &(f64, f64, u64))| it.1 <= *start;
            let before = order.iter().take(slots.len()).enumerate().filter(ended);
            let after = before.max_by(|a, b| a.1.1.total_cmp(&b.1.1)).map(|(at, _)| at);
            slots.push(Slot { class: *called, after });
        }
        plans.insert(class, slots);
    }
    plans
}

/// Delays of each slot of each class.
fn delays(
    window: &Window,
    plans: &FxHashMap<u64, Vec<Slot>>,
    parents: &[Option<(usize, f32)>],
) -> FxHashMap<(u64, usize), Mixture> {
    let mut made: FxHashMap<(usize, u64), usize> = FxHashMap::default();
    for (call, parent) in parents.iter().enumerate() {
        if let Some((request, _)) = parent {
            made.entry((*request, window.calls[call].class)).or_insert(call);
        }
    }
    let mut samples: FxHashMap<(u64, usize), Vec<f64>> = FxHashMap::default();
    for (number, request) in window.requests.iter().enumerate() {
        let slots = &plans[&request.class];
        let call_of = |slot: usize| made.get(&(number, slots[slot].class)).copied();
        for (nth, slot) in slots.iter().enumerate() {
            let since = match slot.after {
                Some(before) => call_of(before).map(|call| window.calls[call].end),
                None => Some(request.start),
            };
            if let (Some(call), Some(since)) = (call_of(nth), since) {
                let apart = (window.calls[call].start - since) as f64;
                samples.entry((request.class, nth)).or_default().push(apart);
            }
        }
    }
    let least = window.tick.max(1000) as f64;
    samples.into_iter().map(|(key, samples)| (key, Mixture::new(&samples, least))).collect()
}

/// Takes requests in batches, and gives them calls.
fn assign(
    window: &Window,
    plans: &FxHashMap<u64, Vec<Slot>>,
    delays: &FxHashMap<(u64, usize), Mixture>,
    missed: f64,
) -> Vec<Option<(usize, f32)>> {
    let mut calls: FxHashMap<u64, Vec<usize>> = FxHashMap::default();
    for (at, call) in window.calls.iter().enumerate() {
        calls.entry(call.class).or_default().push(at);
    }
    let mut used = vec![false; window.calls.len()];
    let mut parents = vec![None; window.calls.len()];
    let mut from = 0;
    while from < window.requests.len() {
        let (mut to, mut end) = (from, i64::MIN);
        while to < window.requests.len()
            && to - from < BATCH
            && (to == from || window.requests[to].start <= end)
        {
            end = end.max(window.requests[to].end);
            to += 1;
        }
        let ways: Vec<Vec<Way>> = (from..to)
            .map(|number| {
                let plan = &plans[&window.requests[number].class];
                ways(window, number, plan, delays, &calls, &used, missed)
            })
            .collect();
        for (number, (chosen, ways)) in
            (from..to).zip(independent(&ways, missed).into_iter().zip(&ways))
        {
            let Some((weight, calls)) = ways.get(chosen) else { continue };
            let total: f64 = ways.iter().map(|(other, _)| (other - weight).exp()).sum();
            for call in calls.iter().flatten() {
                used[*call] = true;
                parents[*call] = Some((number, (1.0 / total) as f32));
            }
        }
        from = to;
    }
    parents
}

/// The likeliest ways in which the request is made of calls.
fn ways(
    window: &Window,
    number: usize,
    slots: &[Slot],
    delays: &FxHashMap<(u64, usize), Mixture>,
    calls: &FxHashMap<u64, Vec<usize>>,
    used: &[bool],
    missed: f64,
) -> Vec<Way> {
    let request = &window.requests[number];
    let mut ways: Vec<Way> = vec![(0.0, Vec::new())];
    for (nth, slot) in slots.iter().enumerate() {
        let of_callee = calls.get(&slot.class).map_or(&[][..], Vec::as_slice);
        let first = of_callee.partition_point(|call| window.calls[*call].start < request.start);
        let within = of_callee[first..]
            .iter()
            .copied()
            .take_while(|call| window.calls[*call].start <= request.end)
            .filter(|call| window.calls[*call].end <= request.end && !used[*call])
            .take(BATCH);
        let within: Vec<usize> = within.collect();
        let mut next: Vec<Way> = Vec::new();
        for (weight, chosen) in &ways {
            let since = match slot.after {
                Some(before) => chosen[before].map_or(request.start, |call| window.calls[call].end),
                None => request.start,
            };
            let with = |weight: f64, call: Option<usize>| {
                (weight, chosen.iter().copied().chain([call]).collect::<Vec<_>>())
            };
            next.push(with(weight + missed, None));
            let delay = delays.get(&(request.class, nth));
            for call in within.iter().filter(|call| window.calls[**call].start >= since) {
                let apart = (window.calls[*call].start - since) as f64;
                let fits = delay.map_or(missed, |mixture| mixture.fit(apart).max(missed));
                next.push(with(weight + fits, Some(*call)));
            }
        }
        next.sort_by(|a, b| b.0.total_cmp(&a.0));
        next.truncate(WAYS);
        ways = next;
    }
    ways
}

/// For each request one of its ways, so that no call is used twice; the last may be that none is.
fn independent(ways: &[Vec<Way>], missed: f64) -> Vec<usize> {
    let mut sets: Vec<(f64, Vec<usize>, FxHashSet<usize>)> =
        vec![(0.0, Vec::new(), FxHashSet::default())];
    for ways in ways {
        let mut next: Vec<(f64, usize, usize)> = Vec::new();
        let least = ways.last().map_or(0.0, |way| way.0);
        for (number, (weight, _, taken)) in sets.iter().enumerate() {
            let free = |way: &Way| way.1.iter().flatten().all(|call| !taken.contains(call));
            for (at, way) in ways.iter().enumerate().filter(|(_, way)| free(way)) {
                next.push((weight + way.0, number, at));
            }
            next.push((weight + least + missed, number, usize::MAX));
        }
        next.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        next.truncate(WIDTH);
        let grow = |(weight, number, at): (f64, usize, usize)| {
            let (_, chosen, taken) = &sets[number];
            let (mut chosen, mut taken) = (chosen.clone(), taken.clone());
            chosen.push(at);
            taken.extend(ways.get(at).iter().flat_map(|way| way.1.iter().flatten()));
            (weight, chosen, taken)
        };
        sets = next.into_iter().map(grow).collect();
    }
    sets.into_iter().next().map_or_else(Vec::new, |(_, chosen, _)| chosen)
}
