//! How the published figures of three algorithms came about (Ashok et al., "TraceWeaver", SIGCOMM 2024,
//! and the programs published with it), so that they can be reproduced before they are beaten.
//!
//! That evaluation looks at processes with one caller, expects at most one call of a request to each
//! callee, and knows beforehand which calls wait for which others. None of it is known to somebody who
//! traces a system, so these are for an evaluation only, and not in [`TABLE`](crate::TABLE).

use deeptrace_model::Method;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::algorithm::{Guess, Window};
use crate::traceweaver;

/// The request of each call of the window of a whole process. The second argument is the truth, the
/// index of a request for each call; `traceweaver` takes the order of calls from it, the others nothing.
pub type Infer = fn(&Window, &[Option<usize>]) -> Vec<Option<Guess>>;

/// An algorithm in its published form.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Name, as in [`TABLE`](crate::TABLE).
    pub name: &'static str,
    /// What it does.
    pub infer: Infer,
}

/// The algorithms that are known in this form.
pub const PUBLISHED: &[Published] = &[
    Published { name: "fifo", infer: |window, _| first_come(window) },
    Published { name: "wap5", infer: |window, _| wap5(window) },
    Published { name: "traceweaver", infer: traceweaver::with_order },
];

/// The n-th call to each callee is of the n-th request.
fn first_come(window: &Window) -> Vec<Option<Guess>> {
    let mut nth: FxHashMap<u64, usize> = FxHashMap::default();
    let of = |call: &crate::Call| {
        let next = nth.entry(call.callee).or_default();
        *next += 1;
        (*next <= window.requests.len()).then(|| guess(*next - 1))
    };
    window.calls.iter().map(of).collect()
}

/// Mean delays beyond which a call is taken to have no cause.
const DELAYS: f64 = 4.0;

/// The likeliest request of the last four mean delays, by an exponential delay. A request that was
/// looked at once for a callee is not looked at again for it.
fn wap5(window: &Window) -> Vec<Option<Guess>> {
    let longest = window.requests.iter().map(|it| it.end - it.start).max().unwrap_or(0);
    let before = |start: i64| window.requests.partition_point(|request| request.start <= start);
    let mut sums: FxHashMap<u64, (f64, f64)> = FxHashMap::default();
    for call in &window.calls {
        let Some(latest) = before(call.start).checked_sub(1) else { continue };
        let delay = call.start - window.requests[latest].start;
        if delay <= longest {
            let (sum, count) = sums.entry(call.callee).or_default();
            *sum += delay as f64;
            *count += 1.0;
        }
    }
    let mut seen: FxHashSet<(u64, usize)> = FxHashSet::default();
    let of = |call: &crate::Call| {
        let (sum, count) = sums.get(&call.callee)?;
        let since = |request: &usize| (call.start - window.requests[*request].start) as f64;
        let near = |request: &usize| since(request) <= DELAYS * sum / count;
        let candidates = (0..before(call.start)).rev().take_while(near);
        // The density falls with the delay: the latest one is the likeliest.
        let new: Vec<usize> = candidates.filter(|it| seen.insert((call.callee, *it))).collect();
        new.first().copied().map(guess)
    };
    window.calls.iter().map(of).collect()
}

fn guess(request: usize) -> Guess {
    Guess { request, method: Method::Inferred, confidence: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Request};

    fn window(requests: &[i64], calls: &[(i64, u64)]) -> Window {
        let request =
            |start: &i64| Request { start: *start, end: start + 100, ..Request::default() };
        let call = |(start, callee): &(i64, u64)| Call {
            start: *start,
            end: start + 5,
            class: *callee,
            callee: *callee,
            ..Call::default()
        };
        Window::new(requests.iter().map(request).collect(), calls.iter().map(call).collect())
    }

    fn requests(guesses: Vec<Option<Guess>>) -> Vec<Option<usize>> {
        guesses.into_iter().map(|guess| guess.map(|guess| guess.request)).collect()
    }

    #[test]
    fn first_come_counts_by_callee() {
        let window = window(&[0, 10], &[(20, 1), (21, 2), (22, 1), (23, 1), (24, 2)]);
        let expected = vec![Some(0), Some(0), Some(1), None, Some(1)];
        assert_eq!(requests(first_come(&window)), expected);
    }

    #[test]
    fn a_request_is_looked_at_once_and_not_from_afar() {
        let window = window(&[0, 10, 500], &[(20, 1), (22, 1), (510, 1)]);
        assert_eq!(requests(wap5(&window)), vec![Some(1), None, Some(2)]);
    }

    #[test]
    fn the_order_of_calls_comes_from_the_truth() {
        // Each request calls 1 and, after it has ended, 2; both pairs overlap in time.
        let window = window(&[0, 10], &[(20, 1), (24, 1), (27, 2), (33, 2)]);
        let truth = [Some(0), Some(1), Some(0), Some(1)];
        assert_eq!(requests(traceweaver::with_order(&window, &truth)), truth);
    }
}
