//! Row: what a batch stores of one span, as numbers; and what many spans have in common, stored once.

use std::borrow::Cow;
use std::sync::Arc;

use deeptrace_model::{
    ConnectionId, Exchange, ExchangeKind, Pid, ProcessKey, Span, SpanKind, SpanStatus, Tid, Touch,
    UnitId, Value,
};
use serde::{Deserialize, Serialize};

use super::column::columns;

/// What spans of one connection, side and set of threads have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Common {
    /// Index into the strings; the first, as it is read alone.
    pub(super) service: u32,
    /// Index into the strings.
    pub(super) protocol: u32,
    pub(super) process: ProcessKey,
    pub(super) connection: ConnectionId,
    /// Bits of the exchange's confidence.
    pub(super) confidence: u32,
    /// Indices into the sets, in order; [`NONE`] where there is none.
    pub(super) sets: [u32; 3],
    /// Who made the calls: first and last of the request, and of the response where there is one.
    pub(super) callers: Callers,
}

/// No index.
pub(super) const NONE: u32 = u32::MAX;

/// A thread that made a call.
pub(super) type Caller = (Pid, Tid, UnitId);

/// Who made the calls of a span: mostly one thread made all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Callers {
    One(Caller),
    Each(Box<[Caller; 4]>),
}

impl Callers {
    fn of(touches: &[Touch; 4]) -> Self {
        let callers = touches.map(|touch| (touch.pid, touch.tid, touch.unit));
        match callers.iter().all(|caller| *caller == callers[0]) {
            true => Self::One(callers[0]),
            false => Self::Each(Box::new(callers)),
        }
    }

    pub(super) fn get(&self, index: usize) -> Caller {
        match self {
            Self::One(caller) => *caller,
            Self::Each(callers) => callers[index],
        }
    }
}

/// Whether two spans have the same [`Common`]; `calls` are the second one's.
pub(super) fn is_common(one: &Span, other: &Span, calls: &[Touch; 4]) -> bool {
    let caller = |touch: &Touch| (touch.pid, touch.tid, touch.unit);
    one.process == other.process
        && one.connection == other.connection
        && one.exchange.confidence.to_bits() == other.exchange.confidence.to_bits()
        && touches(one).iter().map(caller).eq(calls.iter().map(caller))
        && one.attributes.shared().map(Arc::as_ptr).eq(other.attributes.shared().map(Arc::as_ptr))
        && one.service == other.service
        && one.protocol == other.protocol
}

impl Common {
    /// Of a span, without the indices.
    pub(super) fn of(span: &Span, touches: &[Touch; 4]) -> Self {
        Self {
            service: NONE,
            protocol: NONE,
            process: span.process,
            connection: span.connection,
            confidence: span.exchange.confidence.to_bits(),
            sets: [NONE; 3],
            callers: Callers::of(touches),
        }
    }
}

/// What few spans have at all.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Extra {
    /// Names by their index into the strings.
    pub(super) attributes: Vec<(u32, Value)>,
    pub(super) status_message: Option<String>,
    pub(super) unknown: Vec<Cow<'static, str>>,
    pub(super) truncated: bool,
    pub(super) lost_events: u32,
}

/// The four calls of a span; those of a response that was not seen are those of the request.
pub(super) fn touches(span: &Span) -> [Touch; 4] {
    let [a, b] = span.request;
    let [c, d] = span.response.unwrap_or([b, b]);
    [a, b, c, d]
}

columns! {
    /// One span.
    Row,
    /// Spans.
    Rows {
        id: Fixed,
        /// Nanoseconds since the epoch.
        start: Delta,
        flags: Plain,
        /// Index into what is common.
        common: Plain,
        /// Index into the strings.
        name: Plain,
        /// Position of the request; stored as the difference to the one before of the same common.
        request: Signed,
        /// The same of the response.
        response: Signed,
        stream: Plain,
        request_hash: Fixed,
        request_size: Plain,
        response_size: Plain,
        /// Index into the payloads.
        request_payload: Plain,
        /// Index into the payloads.
        response_payload: Plain,
        /// Index into the extras, one more; zero where there is none.
        extra: Plain,
        /// Number of the event of the first call; of the others, the difference to the call before.
        event: Delta,
        event_1: Signed,
        event_2: Signed,
        event_3: Signed,
        /// From the time of the first call to the span's start, on another clock; of the others, from
        /// the call before.
        clock: Delta,
        time_1: Signed,
        time_2: Signed,
        time_3: Signed,
        /// From the last call to the span's end.
        rest: Signed,
    }
}

const KINDS: [SpanKind; 5] = [
    SpanKind::Server,
    SpanKind::Client,
    SpanKind::Producer,
    SpanKind::Consumer,
    SpanKind::Internal,
];
const STATUSES: [SpanStatus; 3] = [SpanStatus::Ok, SpanStatus::Error, SpanStatus::Unset];
const EXCHANGES: [ExchangeKind; 3] =
    [ExchangeKind::Tcp, ExchangeKind::Unix, ExchangeKind::Datagram];

/// Bits: 0–2 kind, 3–4 status, 5–6 kind of exchange, 7 answered, 8 with the response's calls.
fn flags(span: &Span) -> u64 {
    let place = |found: Option<usize>| found.unwrap_or_default() as u64;
    place(KINDS.iter().position(|kind| *kind == span.kind))
        | place(STATUSES.iter().position(|status| *status == span.status)) << 3
        | place(EXCHANGES.iter().position(|kind| *kind == span.exchange.kind)) << 5
        | u64::from(span.exchange.response.is_some()) << 7
        | u64::from(span.response.is_some()) << 8
}

/// The kind that flags say.
pub(super) fn kind(flags: u64) -> SpanKind {
    KINDS[((flags & 7) as usize).min(KINDS.len() - 1)]
}

/// The status that flags say.
pub(super) fn status(flags: u64) -> SpanStatus {
    STATUSES[((flags >> 3 & 3) as usize).min(STATUSES.len() - 1)]
}

impl Row {
    /// Of a span, without the indices.
    pub(super) fn of(span: &Span, touches: &[Touch; 4]) -> Self {
        let [a, b, c, d] = touches;
        let event = |from: &Touch, to: &Touch| to.event.0.wrapping_sub(from.event.0);
        let time = |from: &Touch, to: &Touch| to.time.0.wrapping_sub(from.time.0);
        Self {
            id: span.id.0,
            start: span.start.0,
            flags: flags(span),
            request: span.exchange.request,
            response: span.exchange.response.unwrap_or_default(),
            stream: span.exchange.stream,
            request_hash: span.exchange.request_hash,
            request_size: span.request_size,
            response_size: span.response_size,
            event: a.event.0,
            event_1: event(a, b),
            event_2: event(b, c),
            event_3: event(c, d),
            clock: span.start.0.wrapping_sub(a.time.0),
            time_1: time(a, b),
            time_2: time(b, c),
            time_3: time(c, d),
            rest: span.end.0.wrapping_sub(span.start.0).wrapping_sub(time(a, d)),
            ..Self::default()
        }
    }

    pub(super) fn has_response_calls(&self) -> bool {
        self.flags >> 8 & 1 == 1
    }
}

impl Rows {
    /// When span `index` ends, in nanoseconds since the epoch.
    pub(super) fn end(&self, index: usize) -> u64 {
        let steps = [&self.time_1, &self.time_2, &self.time_3, &self.rest];
        let start = self.start.get(index);
        steps.iter().fold(start, |end, step| end.wrapping_add(step.get(index)))
    }

    /// The exchange of span `index`.
    pub(super) fn exchange(&self, index: usize, confidence: f32) -> Exchange {
        let flags = self.flags.get(index);
        Exchange {
            kind: EXCHANGES[((flags >> 5 & 3) as usize).min(EXCHANGES.len() - 1)],
            request: self.request.get(index),
            response: (flags >> 7 & 1 == 1).then(|| self.response.get(index)),
            stream: self.stream.get(index),
            request_hash: self.request_hash.get(index),
            confidence,
        }
    }
}
