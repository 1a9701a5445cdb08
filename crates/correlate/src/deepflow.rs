//! Associations by thread, coroutine and sequence only (Shen et al., "Network-Centric Distributed
//! Tracing with DeepFlow", SIGCOMM 2023).
//!
//! A unit works for the request that it read last, until it has answered it; a response that it reads
//! brings back the request of its call. A call made by a unit that works for nobody has no parent.

use deeptrace_model::Method;
use rustc_hash::FxHashMap;

use crate::algorithm::{Algorithm, Guess, Row, Window};

pub(crate) const ROW: Row = Row {
    name: "deepflow",
    title: "thread, coroutine and sequence associations only (SIGCOMM 2023)",
    make: || Box::new(DeepFlow),
};

struct DeepFlow;

/// What happens, in the order in which it counts at equal times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Read(usize),
    Returned(usize),
    Called(usize),
    Answered(usize),
}

impl Algorithm for DeepFlow {
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>> {
        let mut happenings = Vec::new();
        for (at, request) in window.requests.iter().enumerate() {
            happenings.push((request.start, Happening::Read(at)));
            happenings.push((request.end, Happening::Answered(at)));
        }
        for (at, call) in window.calls.iter().enumerate() {
            happenings.push((call.start, Happening::Called(at)));
            happenings.push((call.end.max(call.start + 1), Happening::Returned(at)));
        }
        happenings.sort_unstable();
        let mut works: FxHashMap<u64, usize> = FxHashMap::default();
        let mut parents: Vec<Option<usize>> = vec![None; window.calls.len()];
        for (_, happening) in happenings {
            match happening {
                Happening::Read(at) => {
                    window.requests[at].units[0].map(|unit| works.insert(unit, at));
                }
                Happening::Called(at) => {
                    let unit = window.calls[at].units[0];
                    parents[at] = unit.and_then(|unit| works.get(&unit).copied());
                }
                Happening::Returned(at) => {
                    if let (Some(unit), Some(parent)) = (window.calls[at].units[1], parents[at]) {
                        works.insert(unit, parent);
                    }
                }
                Happening::Answered(at) => {
                    for unit in window.requests[at].units.into_iter().flatten() {
                        if works.get(&unit) == Some(&at) {
                            works.remove(&unit);
                        }
                    }
                }
            }
        }
        let guess = |request| Guess { request, method: Method::Thread, confidence: 1.0 };
        parents.into_iter().map(|parent| parent.map(guess)).collect()
    }
}
