//! Most recent: every open request may be the cause, weighted by an exponential delay (Reynolds et al.,
//! "WAP5", WWW 2006).
//!
//! The mean delay of each pair of request class and callee is that to the most recent request of the
//! class, over all calls of the window: without truth nothing better is known to the method.

use deeptrace_model::Method;
use rustc_hash::FxHashMap;

use crate::algorithm::{Algorithm, Call, Guess, Row, Window, each_call};

pub(crate) const ROW: Row = Row {
    name: "wap5",
    title: "recent requests, weighted by an exponential delay (WWW 2006)",
    make: || Box::new(Wap5),
};

struct Wap5;

impl Algorithm for Wap5 {
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>> {
        let delay = |request: usize, call: &Call| {
            (call.start - window.requests[request].start).max(window.tick) as f64
        };
        let pair = |request: usize, call: &Call| (window.requests[request].class, call.callee);
        let mut sums: FxHashMap<(u64, u64), (f64, f64)> = FxHashMap::default();
        each_call(window, |call, open| {
            let mut seen = Vec::new();
            for request in open.iter().rev().copied() {
                let pair = pair(request, call);
                if !seen.contains(&pair) {
                    seen.push(pair);
                    let (sum, count) = sums.entry(pair).or_default();
                    *sum += delay(request, call);
                    *count += 1.0;
                }
            }
            None
        });
        each_call(window, |call, open| {
            let weight = |request: usize| {
                let (sum, count) = sums.get(&pair(request, call)).copied().unwrap_or((1.0, 1.0));
                let rate = count / sum;
                rate * (-rate * delay(request, call)).exp()
            };
            let total: f64 = open.iter().map(|request| weight(*request)).sum();
            let by_weight = |a: &usize, b: &usize| weight(*a).total_cmp(&weight(*b)).then(a.cmp(b));
            let request = open.iter().copied().max_by(by_weight)?;
            let share = if total > 0.0 { weight(request) / total } else { 0.0 };
            Some(Guess { request, method: Method::Inferred, confidence: share as f32 })
        })
    }
}
