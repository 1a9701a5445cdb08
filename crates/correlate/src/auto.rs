//! All that there is, strongest first: ids that the application carries, what was observed of threads,
//! and first-free for the rest, as sure as it was measured to be in this process.

use deeptrace_model::{EvidenceKind, Method};

use crate::algorithm::{Algorithm, Call, Candidate, Guess, Row};
use crate::calibration::Calibration;
use crate::fifo::first_free;

pub(crate) const ROW: Row = Row {
    name: "auto",
    title: "application ids, then observed context, then first-free as sure as measured here",
    make: || Box::new(Auto::default()),
};

/// Belief in an id of the application that exactly one open request carries.
const CARRIED: f32 = 0.999;

/// A pin that is believed so much is not weighed against anything that might come.
const CERTAIN: f32 = 0.9;

#[derive(Default)]
struct Auto {
    calibration: Calibration,
}

impl Algorithm for Auto {
    fn choose(&mut self, call: &Call, candidates: &[&Candidate]) -> Option<Guess> {
        let order = possible_first_free(call, candidates);
        let strong = carried(call, candidates).or_else(|| observed(call, candidates));
        if let Some(strong) = strong {
            self.calibration.learn(candidates.len(), order == Some(strong.candidate));
            return Some(strong);
        }
        let holds = self.calibration.holds(candidates.len());
        Some(Guess {
            candidate: order?,
            method: if holds { Method::Order } else { Method::Inferred },
            confidence: self.calibration.confidence(candidates.len()) * (1.0 - call.background),
        })
    }

    fn is_certain(&self, call: &Call) -> bool {
        call.evidence
            .is_some_and(|seen| seen.kind == EvidenceKind::Pin && seen.confidence >= CERTAIN)
    }
}

/// First-free among the requests that do not carry another trace id than the call.
fn possible_first_free(call: &Call, candidates: &[&Candidate]) -> Option<usize> {
    let Some(own) = call.trace_context else { return first_free(call, candidates) };
    let is_possible =
        |c: &Candidate| c.trace_context.is_none_or(|context| { context.trace } == { own.trace });
    let possible: Vec<&Candidate> =
        candidates.iter().copied().filter(|candidate| is_possible(candidate)).collect();
    let chosen = possible[first_free(call, &possible)?].span;
    candidates.iter().position(|candidate| candidate.span == chosen)
}

/// The only request with the call's own trace id.
fn carried(call: &Call, candidates: &[&Candidate]) -> Option<Guess> {
    let own = call.trace_context?.trace;
    let mut same = candidates.iter().enumerate().filter(|(_, candidate)| {
        candidate.trace_context.is_some_and(|context| { context.trace } == own)
    });
    let (candidate, _) = same.next()?;
    let only = same.next().is_none();
    only.then_some(Guess { candidate, method: Method::TraceContext, confidence: CARRIED })
}

/// The request that was observed to have made the call.
fn observed(call: &Call, candidates: &[&Candidate]) -> Option<Guess> {
    let evidence = call.evidence?;
    let parent = evidence.parent?;
    let candidate = candidates.iter().position(|candidate| candidate.span == parent)?;
    let method = match evidence.kind {
        EvidenceKind::Pin | EvidenceKind::Thread => Method::Thread,
    };
    Some(Guess { candidate, method, confidence: evidence.confidence })
}
