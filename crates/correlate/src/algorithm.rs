//! What an algorithm sees and says.

use deeptrace_model::{BootTime, Evidence, Method, SpanId, Tid, TraceContext};

/// An algorithm, as a row of [`TABLE`](crate::TABLE).
pub struct Row {
    /// Name, as in `asso algo`.
    pub name: &'static str,
    /// What it does and where it is published, in one line for people.
    pub title: &'static str,
    /// A fresh one, for one process.
    pub make: fn() -> Box<dyn Algorithm>,
}

/// A call whose parent is asked for.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its span.
    pub span: SpanId,
    /// First byte of its request.
    pub start: BootTime,
    /// Last byte of its response.
    pub end: BootTime,
    /// Thread that sent it.
    pub tid: Tid,
    /// Hash of what is called: protocol, peer and name.
    pub callee: u64,
    /// The application's own ids in it.
    pub trace_context: Option<TraceContext>,
    /// What was observed.
    pub evidence: Option<Evidence>,
    /// Share of this process's calls that are made for no request at all, although one is open.
    pub background: f32,
}

/// A request that could have made the call: it was open all the time.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its span.
    pub span: SpanId,
    /// Its request was complete.
    pub start: BootTime,
    /// Its response was complete; `None` while it is open.
    pub end: Option<BootTime>,
    /// Thread that read it.
    pub tid: Tid,
    /// The application's own ids in it.
    pub trace_context: Option<TraceContext>,
    /// Callees of the calls that it is known to have made, with repetitions.
    pub made: Vec<u64>,
}

/// Which candidate it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess {
    /// Index among the candidates.
    pub candidate: usize,
    /// How it was found.
    pub method: Method,
    /// Probability that it is right.
    pub confidence: f32,
}

/// Decides for the calls of one process, in the order of their starts.
///
/// MUST give the same answers for the same sequence of questions. MUST NOT look at ids of spans but to
/// tell them apart. MAY abstain: a wrong parent is worse than none.
pub trait Algorithm: Send {
    /// The parent of `call`. `candidates` are ordered by start and contain the call in time.
    fn choose(&mut self, call: &Call, candidates: &[&Candidate]) -> Option<Guess>;

    /// Whether the parent of `call` is known already, so that it need not wait for slow requests.
    fn is_certain(&self, _call: &Call) -> bool {
        false
    }
}
