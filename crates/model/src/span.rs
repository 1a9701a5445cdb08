//! Span: a request with its response, as seen by one side.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    Attributes, ConnectionId, ExchangeKey, Payload, ProcessKey, RequestKey, SpanId, Text, Touch,
    TraceContext, Value, WallTime, hash64,
};

/// Which side of the exchange saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanKind {
    /// Received the request.
    Server,
    /// Sent the request.
    Client,
    /// Sent an item for somebody to take later.
    Producer,
    /// Took an item.
    Consumer,
    /// Inside a process (reported by SDKs).
    Internal,
}

impl SpanKind {
    /// Whether it received: the other side of its exchange is a caller's.
    pub fn is_receiver(self) -> bool {
        matches!(self, Self::Server | Self::Consumer)
    }

    /// Its name in Span JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Internal => "internal",
        }
    }
}

/// How the exchange ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanStatus {
    /// Answered, and the protocol does not call it an error.
    Ok,
    /// Answered with an error, refused, or cut off.
    Error,
    /// No answer was seen.
    #[default]
    Unset,
}

/// How positions in an [`Exchange`] are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExchangeKind {
    /// TCP sequence numbers.
    Tcp,
    /// Byte counts of a named pair of UNIX sockets.
    Unix,
    /// Hashes of datagrams.
    Datagram,
}

/// What both sides of an exchange see alike, whatever NAT did to the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// How to read the positions.
    pub kind: ExchangeKind,
    /// TCP: sequence number where the request starts. UNIX: the same as a byte count, mixed with
    /// the pair's name, as the sender counts. Datagrams: a hash of size and first bytes, which both
    /// sides see alike, also behind NAT and on sockets that are bound to all addresses.
    pub request: u64,
    /// The same for the response; `None` where none was seen.
    pub response: Option<u64>,
    /// Stream or transaction id.
    pub stream: u64,
    /// Bytes of the request, with a hash of its head, to tell requests apart that were never
    /// answered.
    pub request_hash: u64,
    /// How sure it is that the positions mean the same on both sides: 1.0 but for UNIX sockets
    /// that were found half-way.
    pub confidence: f32,
}

impl Exchange {
    /// The key that the other side has as well; `None` where no response was seen.
    pub fn key(&self) -> Option<ExchangeKey> {
        let response = self.response?;
        Some(ExchangeKey(hash64(&[self.kind as u64, self.request, response, self.stream])))
    }

    /// By what two sides that saw as much are told to be one exchange: the key, or without a response that of
    /// the request.
    pub fn key_or_request(&self) -> u64 {
        self.key().map_or_else(|| self.request_key().0, |key| key.0)
    }

    /// The key for when one side saw no response.
    pub fn request_key(&self) -> RequestKey {
        RequestKey(hash64(&[16 + self.kind as u64, self.request, self.request_hash, self.stream]))
    }
}

/// A request with its response, as seen by one side. Immutable; carries no trace id and no parent,
/// those come with the links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Derived from where the request was seen; see [`SpanId::derive`].
    pub id: SpanId,
    /// Which side saw it.
    pub kind: SpanKind,
    /// Low-cardinality name.
    pub name: Text,
    /// `service.name` of the process.
    pub service: Text,
    /// Name in the table of protocols.
    pub protocol: Cow<'static, str>,
    /// First byte of the request, on this side.
    pub start: WallTime,
    /// Last byte of the response on this side, or when it was given up.
    pub end: WallTime,
    /// How it ended.
    pub status: SpanStatus,
    /// Error text; the reason where `status` is `Unset`.
    pub status_message: Option<String>,
    /// After OpenTelemetry's semantic conventions.
    pub attributes: Attributes,
    /// Bytes of the request on the wire.
    pub request_size: u64,
    /// Bytes of the response on the wire.
    pub response_size: u64,
    /// First bytes of the request, redacted.
    pub request_payload: Payload,
    /// First bytes of the response, redacted.
    pub response_payload: Payload,
    /// The process.
    pub process: ProcessKey,
    /// The socket.
    pub connection: ConnectionId,
    /// What the other side sees alike.
    pub exchange: Exchange,
    /// First and last call of the request.
    pub request: [Touch; 2],
    /// First and last call of the response; `None` where none was seen.
    pub response: Option<[Touch; 2]>,
    /// The application's own trace context, found in the request.
    pub trace_context: Option<TraceContext>,
    /// Names of attributes whose bytes were sent before the agent came.
    pub unknown: Vec<Cow<'static, str>>,
    /// Whether bytes that the parser wanted were not copied.
    pub truncated: bool,
    /// Events known to be missing in or around it.
    pub lost_events: u32,
}

/// Attribute of a span that took items out of a queue: ids of the spans that put them there.
pub const LINKED_SPANS: &str = "deeptrace.link.span_ids";

/// Attribute beside it: nanoseconds from the last byte of the oldest item that was put to the last byte
/// that was taken.
pub const LINKED_TIME: &str = "deeptrace.link.time_ns";

impl Span {
    /// The spans that put what this one took out of a queue: further causes, beside its parent.
    pub fn linked(&self) -> impl Iterator<Item = SpanId> {
        let ids = match self.attributes.get(LINKED_SPANS) {
            Some(Value::Texts(ids)) => ids.as_slice(),
            _ => &[],
        };
        ids.iter().filter_map(|id| u64::from_str_radix(id, 16).ok().map(SpanId))
    }

    /// Bytes that it takes in memory, roughly: payloads and attributes of its own are most of it.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.request_payload.len()
            + self.response_payload.len()
            + self.attributes.own().len() * 96
    }

    /// Its attributes with those that follow from its calls, if it has any: `thread.id`, and the nanoseconds until
    /// the first byte of the response, `deeptrace.time_to_first_byte_ns`. For what leaves the process.
    pub fn all_attributes(&self) -> Attributes {
        let mut all = self.attributes.clone();
        let mut add = |name: &'static str, number: u64| {
            if all.get(name).is_none() {
                all.push((Cow::Borrowed(name), i64::try_from(number).unwrap_or(i64::MAX).into()));
            }
        };
        if !self.is_reported() {
            add("thread.id", self.request[1].tid.0.into());
        }
        if let Some([first, _]) = self.response {
            let waited = first.time.since(self.request[1].time);
            add("deeptrace.time_to_first_byte_ns", waited.0);
        }
        all
    }
}

/// Why nothing, or not everything, was seen for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The agent did not run.
    AgentDown,
    /// The agent ran but could not read in time: the ring buffer was full.
    RingFull,
    /// Capture was switched off, or stepped down to stay within its limits.
    Paused,
    /// The store refused what it was given (disk full); spans of this time were dropped.
    StoreFull,
    /// The server could not be reached for longer than the agent's buffers hold; spans of this time
    /// were dropped; or more waited for sampling to decide on them than it may hold.
    BufferFull,
    /// Sampling dropped spans of traces that are kept, or may have: their verdict came too late, or not at
    /// all, because the agents could not hear each other.
    SampledOut,
}

/// Spans that were dropped, and when they were: what becomes a [`Gap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// How many.
    pub spans: u64,
    /// Start of the earliest.
    pub from: WallTime,
    /// End of the latest.
    pub to: WallTime,
}

impl Missed {
    /// One more.
    pub fn add(&mut self, span: &Span) {
        self.merge(Self { spans: 1, from: span.start, to: span.end });
    }

    /// Those, too.
    pub fn merge(&mut self, other: Self) {
        if other.spans > 0 {
            self.from = if self.spans == 0 { other.from } else { self.from.min(other.from) };
            self.to = self.to.max(other.to);
            self.spans += other.spans;
        }
    }

    /// The gap that tells of them; `None` where none was dropped.
    pub fn gap(self, cause: GapCause) -> Option<Gap> {
        let Self { spans, from, to } = self;
        (spans > 0).then_some(Gap { from, to, cause, events: spans, bytes: 0 })
    }
}

/// A time in which events are known to be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Since when.
    pub from: WallTime,
    /// Until when.
    pub to: WallTime,
    /// Why.
    pub cause: GapCause,
    /// Events or spans missing, at least; zero where it cannot be counted.
    pub events: u64,
    /// Bytes missed on connections that survived it.
    pub bytes: u64,
}
