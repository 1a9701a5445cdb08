//! First free: the oldest open request that has not called this callee yet. DeepTrace's baseline
//! (SIGCOMM 2025).
//!
//! Right while work is done in the order in which it came; wholly wrong after one slip, since all that
//! follow are shifted. It says nothing about how sure it is: `auto` measures that.

use deeptrace_model::Method;

use crate::algorithm::{Algorithm, Call, Candidate, Guess, Row};

pub(crate) const ROW: Row = Row {
    name: "fifo",
    title: "the oldest open request without a call to this callee (baseline of SIGCOMM 2025)",
    make: || Box::new(Fifo),
};

struct Fifo;

impl Algorithm for Fifo {
    fn choose(&mut self, call: &Call, candidates: &[&Candidate]) -> Option<Guess> {
        let candidate = first_free(call, candidates)?;
        Some(Guess { candidate, method: Method::Order, confidence: 1.0 / candidates.len() as f32 })
    }
}

/// Index of the oldest candidate without a call to this callee. Where all have one, of those with the
/// fewest: the published rule assumes one call per callee.
pub(crate) fn first_free(call: &Call, candidates: &[&Candidate]) -> Option<usize> {
    let calls =
        |candidate: &Candidate| candidate.made.iter().filter(|c| **c == call.callee).count();
    let all = candidates.iter().enumerate();
    all.min_by_key(|(_, candidate)| calls(candidate)).map(|(index, _)| index)
}
