//! Evidence: what was observed of who worked for whom inside a process.

use serde::{Deserialize, Serialize};

use crate::{BootTime, Pid, SpanId};

/// What spoke for a parent, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EvidenceKind {
    /// The unit received this request and answered it, and nothing else in between.
    Pin,
    /// The same of a runtime's own unit, or the call's unit was made in the request's context.
    Coroutine,
    /// The call was made in the context that the thread last received.
    Thread,
    /// Wake-ups led from the request to the call, or from the response to the answer.
    Wake,
    /// An event loop did it right after it had read the request, or a response of another call of it.
    Turn,
}

/// Something observed: `child` (a call) was made for `parent` (a request) of the same process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The process.
    pub pid: Pid,
    /// Span of the call.
    pub child: SpanId,
    /// Span of the request; `None`: it was seen that the call belongs to no open request.
    pub parent: Option<SpanId>,
    /// What spoke for it.
    pub kind: EvidenceKind,
    /// How often this kind of evidence is right, between 0 and 1.
    pub confidence: f32,
    /// When it was decided.
    pub time: BootTime,
}
