//! Body: what a batch stores of a span beside its columns, one after the other.

use std::borrow::Cow;

use deeptrace_model::{
    Attributes, BootTime, ConnectionId, EventId, Pid, ProcessKey, Span, Tid, Touch, UnitId,
};
use serde::{Deserialize, Serialize};

/// What is written, borrowed from the span.
#[derive(Serialize)]
struct BodyRef<'a> {
    protocol: &'a str,
    status_message: Option<&'a str>,
    attributes: &'a Attributes,
    sizes: (u64, u64),
    request_payload: &'a [u8],
    response_payload: &'a [u8],
    process: ProcessKey,
    connection: ConnectionId,
    confidence: f32,
    touches: [Step; 2],
    answer: Option<[Step; 2]>,
    unknown: &'a [Cow<'static, str>],
    truncated: bool,
    lost_events: u32,
}

/// What is read: the same fields, owned.
#[derive(Deserialize)]
pub(crate) struct Body {
    pub(crate) protocol: String,
    pub(crate) status_message: Option<String>,
    pub(crate) attributes: Attributes,
    pub(crate) sizes: (u64, u64),
    pub(crate) request_payload: Vec<u8>,
    pub(crate) response_payload: Vec<u8>,
    pub(crate) process: ProcessKey,
    pub(crate) connection: ConnectionId,
    pub(crate) confidence: f32,
    touches: [Step; 2],
    answer: Option<[Step; 2]>,
    pub(crate) unknown: Vec<Cow<'static, str>>,
    pub(crate) truncated: bool,
    pub(crate) lost_events: u32,
}

/// A touch as its difference to the one before: mostly small numbers and zeros.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Step {
    event: i64,
    time: i64,
    pid: i64,
    tid: i64,
    unit: i64,
}

impl Step {
    fn between(last: &Touch, next: &Touch) -> Self {
        let step = |from: u64, to: u64| to.wrapping_sub(from) as i64;
        Self {
            event: step(last.event.0, next.event.0),
            time: step(last.time.0, next.time.0),
            pid: step(last.pid.0.into(), next.pid.0.into()),
            tid: step(last.tid.0.into(), next.tid.0.into()),
            unit: step(last.unit.0, next.unit.0),
        }
    }

    fn after(&self, last: &Touch) -> Touch {
        let after = |from: u64, by: i64| from.wrapping_add(by as u64);
        Touch {
            event: EventId(after(last.event.0, self.event)),
            time: BootTime(after(last.time.0, self.time)),
            pid: Pid(after(last.pid.0.into(), self.pid) as u32),
            tid: Tid(after(last.tid.0.into(), self.tid) as u32),
            unit: UnitId(after(last.unit.0, self.unit)),
        }
    }
}

/// What the first touch is measured from: a call by the main thread of the process.
fn origin(process: ProcessKey) -> Touch {
    Touch {
        pid: process.pid,
        tid: Tid(process.pid.0),
        unit: UnitId(process.pid.0.into()),
        ..Touch::default()
    }
}

/// Appends the body of `span` to `out`.
pub(crate) fn write(span: &Span, out: Vec<u8>) -> postcard::Result<Vec<u8>> {
    let [first, last] = &span.request;
    let body = BodyRef {
        protocol: &span.protocol,
        status_message: span.status_message.as_deref(),
        attributes: &span.attributes,
        sizes: (span.request_size, span.response_size),
        request_payload: &span.request_payload,
        response_payload: &span.response_payload,
        process: span.process,
        connection: span.connection,
        confidence: span.exchange.confidence,
        touches: [Step::between(&origin(span.process), first), Step::between(first, last)],
        answer: (span.response.as_ref())
            .map(|[a, b]| [Step::between(last, a), Step::between(a, b)]),
        unknown: &span.unknown,
        truncated: span.truncated,
        lost_events: span.lost_events,
    };
    postcard::to_extend(&body, out)
}

/// Reads one body; its end is known from outside.
pub(crate) fn read(bytes: &[u8]) -> postcard::Result<Body> {
    postcard::from_bytes(bytes)
}

impl Body {
    /// First and last call of the request, and of the response.
    pub(crate) fn touches(&self) -> ([Touch; 2], Option<[Touch; 2]>) {
        let pair = |[a, b]: [Step; 2], last: &Touch| {
            let first = a.after(last);
            [first, b.after(&first)]
        };
        let request = pair(self.touches, &origin(self.process));
        (request, self.answer.map(|answer| pair(answer, &request[1])))
    }
}
