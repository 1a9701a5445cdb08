//! Same thread: the latest request that was read by the thread which made the call (Tak et al.,
//! "vPath", USENIX ATC 2009). Assumes a thread per request; abstains where no thread matches.

use deeptrace_model::Method;

use crate::algorithm::{Algorithm, Call, Candidate, Guess, Row};

pub(crate) const ROW: Row = Row {
    name: "vpath",
    title: "the latest request read by the thread that made the call (USENIX ATC 2009)",
    make: || Box::new(Vpath),
};

struct Vpath;

impl Algorithm for Vpath {
    fn choose(&mut self, call: &Call, candidates: &[&Candidate]) -> Option<Guess> {
        let candidate = candidates.iter().rposition(|candidate| candidate.tid == call.tid)?;
        let same = candidates.iter().filter(|candidate| candidate.tid == call.tid).count();
        Some(Guess { candidate, method: Method::Thread, confidence: 1.0 / same as f32 })
    }
}
