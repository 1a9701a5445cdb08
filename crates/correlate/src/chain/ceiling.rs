//! How much could be told at all: the same search with the delays of the truth instead of learned ones, and
//! with far more hypotheses. What it cannot tell is not in the times.

use std::collections::BTreeMap;

use deeptrace_model::{hash_bytes, hash64};
use deeptrace_workload::{SETS, Seen, simulate};

use super::*;
use crate::algorithm::{Call, Request};

/// Hypotheses at a time.
const WIDTH_CEILING: usize = 4 * WIDTH;

/// The one that the bench reports.
const SEED: u64 = 2;

/// One process of a set by times alone, and the true request of each call.
fn processes(set: &str, seed: u64) -> Vec<(Window, Vec<u32>)> {
    let set = SETS.iter().find(|it| it.name == set).expect("a set has this name");
    let seen = simulate(&(set.make)(), seed);
    let mut processes: BTreeMap<&str, (Vec<&Seen>, Vec<&Seen>)> = BTreeMap::new();
    for it in &seen {
        let (requests, calls) = processes.entry(it.service).or_default();
        if it.is_call { calls } else { requests }.push(it);
    }
    let of = |(mut requests, mut calls): (Vec<&Seen>, Vec<&Seen>)| {
        requests.sort_by_key(|it| it.start);
        calls.sort_by_key(|it| it.start);
        let name = |it: &Seen| it.peer.map_or(0, |peer| hash_bytes(peer.as_bytes()));
        let class = |it: &Seen| hash64(&[it.operation as u64, name(it)]);
        let numbers: BTreeMap<u64, u32> =
            requests.iter().zip(0..).map(|(it, number)| (it.id, number)).collect();
        let parent = |it: &&Seen| it.parent.and_then(|id| numbers.get(&id).copied());
        let truth = calls.iter().map(|it| parent(it).unwrap_or(NOBODY)).collect();
        let request = |(it, meeting): (&&Seen, u32)| Request {
            start: it.start,
            end: it.end,
            class: class(it),
            meeting,
            ..Request::default()
        };
        let requests = requests.iter().zip(0..).map(request).collect();
        let call = |it: &&Seen| Call {
            start: it.start,
            end: it.end,
            class: class(it),
            callee: name(it),
            ..Call::default()
        };
        (Window::new(requests, calls.iter().map(call).collect()), truth)
    };
    processes.into_values().map(of).filter(|(window, _)| !window.calls.is_empty()).collect()
}

/// How sure an answer is, if there is one, and whether it is right.
type Answer = (Option<f32>, bool);

/// With what the truth says of delays and order.
fn told(window: &Window, truth: &[u32]) -> Vec<Answer> {
    let (moments, ingredients) = (timeline(window), Ingredients::ALL);
    let delays = ingredients.without_order();
    let of = |order: Order, what| fresh(window, &moments, truth, None, 1, &order, what);
    let by_truth = Found { parents: truth.to_vec(), ..Found::nothing(truth.len()) };
    let models = of(Order::default(), delays);
    let order = learn::order(&models, window, &moments, &by_truth);
    let models = of(order, ingredients);
    let found = search(&models, window, &moments, WIDTH_CEILING, ingredients);
    let answers = found.parents.iter().zip(&found.confidence).zip(truth);
    answers
        .map(|((parent, sure), truth)| ((*parent != NOBODY).then_some(*sure), parent == truth))
        .collect()
}

/// With what is learned without it.
fn inferred(window: &Window, truth: &[u32]) -> Vec<Answer> {
    let guesses = Chain::new(Ingredients::ALL).infer(window);
    let answer = |(guess, truth): (Option<Guess>, &u32)| {
        let parent = guess.map_or(NOBODY, |guess| guess.request as u32);
        (guess.map(|guess| guess.confidence), parent == *truth)
    };
    guesses.into_iter().zip(truth).map(answer).collect()
}

/// Share of all calls that is right, and share of those with an answer that can be told with a precision
/// of 99.5 %, the surest first.
fn figures(answers: &[Answer]) -> (f64, f64) {
    let right = answers.iter().filter(|(_, is_right)| *is_right).count();
    let mut given: Vec<(f32, bool)> =
        answers.iter().filter_map(|(sure, is_right)| Some(((*sure)?, *is_right))).collect();
    given.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (mut right_so_far, mut told) = (0, 0);
    for (before, (_, is_right)) in given.iter().enumerate() {
        right_so_far += usize::from(*is_right);
        if right_so_far as f64 >= 0.995 * (before + 1) as f64 {
            told = before + 1;
        }
    }
    (right as f64 / answers.len() as f64, told as f64 / given.len() as f64)
}

#[test]
fn what_is_learned_tells_nearly_as_much_as_the_truth() {
    for set in ["pool", "fields", "ticks", "lost-20"] {
        let processes = processes(set, SEED);
        let of = |how: fn(&Window, &[u32]) -> Vec<Answer>| {
            let answers = processes.iter().flat_map(|(window, truth)| how(window, truth));
            figures(&answers.collect::<Vec<_>>())
        };
        let (told, inferred) = (of(told), of(inferred));
        for (how, (right, sure)) in [("told", told), ("learned", inferred)] {
            let (right, sure) = (right * 100.0, sure * 100.0);
            println!("{set:<8} {how:<8} right {right:.1} %, with 99.5 % precision {sure:.1} %");
        }
        assert!(inferred.0 > told.0 - 0.01, "{set}: {inferred:?}, with true delays {told:?}");
    }
}
