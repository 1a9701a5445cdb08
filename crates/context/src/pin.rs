//! Pin: what the answer to a request proves about the calls that were made meanwhile.
//!
//! Assumes that a unit with one open request works for nobody else. Timers and housekeeping on the
//! same thread break it; they are rare on threads that serve requests, and the measured trust in a
//! process's threads lowers the confidence where they are not.

use deeptrace_model::{BootTime, Evidence, EvidenceKind, Pid, SpanId, UnitId};

use crate::process::Request;

/// A pin is never believed more than this: the remaining wrong ones are background work.
const PIN: f32 = 0.995;
/// The same where another unit wrote the answer.
const THREAD: f32 = 0.95;

/// Evidence for the calls of a request that `writer` answered. `trust` is how far units can be trusted
/// in this process.
pub(crate) fn decide(
    pid: Pid,
    span: SpanId,
    request: &Request,
    writer: UnitId,
    trust: f32,
    time: BootTime,
) -> impl Iterator<Item = Evidence> {
    let (kind, ceiling) = if writer == request.reader {
        (EvidenceKind::Pin, PIN)
    } else {
        (EvidenceKind::Thread, THREAD)
    };
    let calls = if request.shared { &[] } else { request.calls.as_slice() };
    let calls: Vec<_> = calls.iter().filter(|call| call.unit == request.reader).copied().collect();
    calls.into_iter().map(move |call| Evidence {
        pid,
        child: call.span,
        parent: Some(span),
        kind,
        confidence: ceiling * trust,
        time,
    })
}
