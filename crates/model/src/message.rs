//! Message: one request or response, cut out of a stream.

use serde::{Deserialize, Serialize};

use crate::{
    Attributes, BootTime, Direction, EventId, ItemKey, Payload, Pid, SpanId, SpanStatus, StreamKey,
    Text, Tid, TraceId, UnitId,
};

mod name;

/// A name that is a constant of a table. Serde would take a plain reference for one into its input.
type Name = &'static str;

/// Which part of an exchange a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageRole {
    /// Asks; a response follows in the opposite direction on the same stream.
    #[default]
    Request,
    /// Answers the oldest open request of its stream.
    Response,
    /// Asks for no answer, and answers nothing (a notification, a published item).
    OneWay,
}

/// Where a byte of a message met the kernel: the call that moved it, and who made the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// The event.
    pub event: EventId,
    /// When the call ended.
    pub time: BootTime,
    /// Process that made the call.
    pub pid: Pid,
    /// Thread that made the call.
    pub tid: Tid,
    /// What ran on the thread.
    pub unit: UnitId,
}

/// Trace context that the application itself put into a message (W3C `traceparent`, B3 …).
///
/// Packed, because it would have every message and span aligned to 16 bytes, which allocates slower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C, packed(8))]
pub struct TraceContext {
    /// The application's trace id.
    pub trace: TraceId,
    /// The application's span that sent the message.
    pub parent: u64,
}

/// Why a message has no proper end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Incomplete {
    /// Events were lost inside it.
    Lost,
    /// The connection ended inside it, with this `errno` (zero: orderly).
    Closed(u16),
}

/// One request or response, cut out of a stream by its protocol's parser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Name in the table of protocols.
    #[serde(deserialize_with = "name::one")]
    pub protocol: Name,
    /// Connection and stream. A response answers the oldest open request of the same key.
    pub stream: StreamKey,
    /// Which way it went, as seen by the socket's owner.
    pub direction: Direction,
    /// Which part of an exchange it is.
    pub role: MessageRole,
    /// The span that a request or one-way message opens; see [`SpanId::derive`]. Of a response: not
    /// the exchange's, and nobody's.
    pub span: SpanId,
    /// Position of its first byte: TCP sequence number extended to 64 bits (the low 32 bits are
    /// the kernel's), or byte count.
    pub start: u64,
    /// Bytes on the wire.
    pub size: u64,
    /// The call that moved its first byte.
    pub first: Touch,
    /// The call that moved its last byte.
    pub last: Touch,
    /// Low-cardinality name for the span, on requests: `GET /users/{id}`, `SELECT orders`.
    /// Empty where the message does not tell.
    pub name: Text,
    /// After OpenTelemetry's semantic conventions; those of request and response are merged in
    /// the span, the response's winning.
    pub attributes: Attributes,
    /// What a response says of success; `Unset` on requests.
    pub status: SpanStatus,
    /// Error text, where the response has one.
    pub status_message: Option<String>,
    /// The application's own trace context.
    pub trace_context: Option<TraceContext>,
    /// First bytes, at most `max_payload_size`, values redacted at equal length.
    pub payload: Payload,
    /// Names of attributes whose bytes were sent before the agent came.
    #[serde(deserialize_with = "name::several")]
    pub unknown: Vec<&'static str>,
    /// Whether bytes of the message that the parser wanted were not copied.
    pub truncated: bool,
    /// Events known to be missing in or right before the message.
    pub lost_events: u32,
    /// Set where its end was not seen.
    pub incomplete: Option<Incomplete>,
    /// What it puts into a queue, or takes out of one.
    pub items: Vec<ItemKey>,
    /// A later message of this exchange replaces it (a `100 Continue`, a NOTICE): it does not
    /// end the exchange.
    pub interim: bool,
    /// Whether what answers it may be a value that must not be kept, without the name that says so: the
    /// value of a key in a database.
    pub answer_is_value: bool,
    /// Hash of its first bytes, after redaction ([`hash_bytes`] of at most 64), for joining unanswered requests.
    ///
    /// [`hash_bytes`]: crate::hash_bytes
    pub head_hash: u64,
}
