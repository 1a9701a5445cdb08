//! All that there is for one call of a live process, strongest first: ids that the application carries,
//! what was observed of threads, and first-free for the rest, as sure as it was measured to be here.

use deeptrace_model::{BootTime, Evidence, EvidenceKind, Method, SpanId, TraceContext};

use crate::calibration::Calibration;

/// Belief in an id of the application that exactly one open request carries.
const CARRIED: f32 = 0.999;

/// A pin that is believed so much is not weighed against anything that might come.
const CERTAIN: f32 = 0.9;

/// A call whose parent is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Its span.
    pub(crate) span: SpanId,
    /// First byte of its request.
    pub(crate) start: BootTime,
    /// Last byte of its response.
    pub(crate) end: BootTime,
    /// Hash of what is called: protocol, peer and name.
    pub(crate) callee: u64,
    /// The application's own ids in it.
    pub(crate) trace_context: Option<TraceContext>,
    /// What was observed.
    pub(crate) evidence: Option<Evidence>,
    /// Share of this process's calls that are made for no request at all, although one is open.
    pub(crate) background: f32,
}

/// A request that could have made the call: it was open all the time.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Its span.
    pub(crate) span: SpanId,
    /// Its request was complete.
    pub(crate) start: BootTime,
    /// Its response was complete; `None` while it is open.
    pub(crate) end: Option<BootTime>,
    /// The application's own ids in it.
    pub(crate) trace_context: Option<TraceContext>,
    /// Callees of the calls that it is known to have made, with repetitions.
    pub(crate) made: Vec<u64>,
}

/// Which candidate it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Guess {
    /// Index among the candidates.
    pub(crate) candidate: usize,
    /// How it was found.
    pub(crate) method: Method,
    /// Probability that it is right.
    pub(crate) confidence: f32,
}

/// Decides for the calls of one process, in the order of their starts. Looks at ids of spans only to
/// tell them apart.
#[derive(Default)]
pub(crate) struct Strong {
    calibration: Calibration,
}

impl Strong {
    /// The parent of `call`. `candidates` are ordered by start and contain the call in time. `has_order`:
    /// an order that was seen to hold is more than a guess.
    pub(crate) fn choose(
        &mut self,
        call: &Call,
        candidates: &[&Candidate],
        has_order: bool,
    ) -> Option<Guess> {
        let order = possible_first_free(call, candidates);
        let strong = carried(call, candidates).or_else(|| observed(call, candidates));
        if let Some(strong) = strong {
            // What wake-ups and turns explain says little of the calls that they don't explain.
            if strong.method.rank() <= Method::Thread.rank() {
                self.calibration.learn(candidates.len(), order == Some(strong.candidate));
            }
            return Some(strong);
        }
        let holds = has_order && self.calibration.holds(candidates.len());
        Some(Guess {
            candidate: order?,
            method: if holds { Method::Order } else { Method::Inferred },
            confidence: self.calibration.confidence(candidates.len()) * (1.0 - call.background),
        })
    }

    /// Whether the parent of `call` is known already, so that it need not wait for slow requests.
    pub(crate) fn is_certain(&self, call: &Call) -> bool {
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
    Some(Guess { candidate, method: method(evidence.kind), confidence: evidence.confidence })
}

/// How a link says what was observed.
pub(crate) fn method(kind: EvidenceKind) -> Method {
    match kind {
        EvidenceKind::Pin | EvidenceKind::Thread => Method::Thread,
        EvidenceKind::Coroutine => Method::Coroutine,
        EvidenceKind::Wake => Method::Wake,
        EvidenceKind::Turn => Method::Order,
    }
}

/// Index of the oldest candidate without a call to this callee. Where all have one, of those with the
/// fewest.
fn first_free(call: &Call, candidates: &[&Candidate]) -> Option<usize> {
    let calls =
        |candidate: &Candidate| candidate.made.iter().filter(|c| **c == call.callee).count();
    let all = candidates.iter().enumerate();
    all.min_by_key(|(_, candidate)| calls(candidate)).map(|(index, _)| index)
}
