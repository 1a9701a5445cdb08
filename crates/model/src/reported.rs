//! Reported: spans that an application's SDK made, not we. They have no socket, no calls and no bytes;
//! what OpenTelemetry knows of them and a [`Span`] has no field for is in attributes of these names.

use crate::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Pid, ProcessKey, Span, SpanId, Tid,
    Touch, UnitId, Value, hash64,
};

/// `protocol` of a span that came by the OpenTelemetry protocol.
pub const REPORTED: &str = "otlp";

/// Events of a span: texts, each a JSON object with `name`, `time_unix_nano`, `attributes`.
pub const EVENTS: &str = "otel.events";
/// Links to other spans: texts, each a JSON object with `trace_id`, `span_id`, `attributes`.
pub const LINKS: &str = "otel.links";
/// Names of attributes that are of the resource, where the name alone does not tell.
pub const RESOURCE_NAMES: &str = "otel.resource.names";
/// Name of the instrumentation scope.
pub const SCOPE_NAME: &str = "otel.scope.name";
/// Version of the instrumentation scope.
pub const SCOPE_VERSION: &str = "otel.scope.version";
/// `OK` where the application said so; else it said nothing.
pub const STATUS_CODE: &str = "otel.status_code";
/// The `tracestate` that came with the trace (W3C Trace Context §3.3).
pub const TRACE_STATE: &str = "w3c.tracestate";
/// Id of the span of ours that a reported one has absorbed.
pub const OBSERVED_SPAN: &str = "deeptrace.observed.span_id";

impl Span {
    /// Whether an SDK reported it, and none of ours was found for it.
    pub fn is_reported(&self) -> bool {
        self.protocol == REPORTED
    }

    /// The span of ours that it has absorbed.
    pub fn observed(&self) -> Option<SpanId> {
        let id = self.attributes.get(OBSERVED_SPAN).and_then(Value::as_text)?;
        u64::from_str_radix(id, 16).ok().map(SpanId)
    }
}

impl Exchange {
    /// Of a span that was not seen on a socket: no other span has its keys.
    pub fn unseen(span: SpanId) -> Self {
        Self {
            kind: ExchangeKind::Datagram,
            request: span.0,
            response: None,
            stream: 0,
            request_hash: hash64(&[span.0]),
            confidence: 0.0,
        }
    }
}

impl Touch {
    /// Of a span that was not seen on a socket.
    pub fn unseen(pid: Pid) -> Self {
        Self { event: EventId(0), time: BootTime(0), pid, tid: Tid(0), unit: UnitId::of(Tid(0)) }
    }
}

impl ConnectionId {
    /// Of a span that was not seen on a socket: the kernel's cookies begin at one.
    pub const UNSEEN: Self = Self(0);
}

impl ProcessKey {
    /// Of a process of which only the id was told; zero where that was not.
    pub fn told(pid: Pid) -> Self {
        Self { pid, started: BootTime(0) }
    }
}
