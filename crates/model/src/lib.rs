//! The vocabulary that all stages share, and nothing else.
//!
//! Data flows one way: an [`Event`] is one thing the kernel told; bytes of events become
//! [`Message`]s; a request with its response becomes a [`Span`]; what was observed of who worked
//! for whom is [`Evidence`]; a [`Link`] says which span caused which; a [`Trace`] is the tree.
//!
//! Depends on serde and one kind of text only, does no I/O and reads no clock, so every stage can be tested on data.
#![forbid(unsafe_code)]

mod attribute;
mod event;
mod evidence;
mod id;
mod link;
mod message;
mod payload;
mod process;
mod reported;
mod span;
mod time;
mod trace;

pub use attribute::{Attribute, AttributeKey, AttributeSet, Attributes, Text, Value};
pub use event::{
    Call, Close, Demand, Direction, Endpoint, Event, EventBody, Follow, HandOver, HandOverKind,
    Host, LossCause, Open, Origin, Plaintext, Transport,
};
pub use evidence::{Evidence, EvidenceKind};
pub use id::{
    ConnectionId, EventId, ExchangeKey, ItemKey, Pid, RequestKey, SpanId, StreamKey, Tid, TraceId,
    UnitId, UnitKind, hash_bytes, hash64,
};
pub use link::{Link, Method, Relation};
pub use message::{Incomplete, Message, MessageRole, Touch, TraceContext};
pub use payload::Payload;
pub use process::{Process, ProcessKey};
pub use reported::{
    EVENTS, LINKS, OBSERVED_SPAN, REPORTED, RESOURCE_NAMES, SCOPE_NAME, SCOPE_VERSION, STATUS_CODE,
    TRACE_STATE,
};
pub use span::{
    Exchange, ExchangeKind, Gap, GapCause, LINKED_SPANS, LINKED_TIME, Missed, Span, SpanKind,
    SpanStatus,
};
pub use time::{BootTime, Clock, Duration, WallTime};
pub use trace::{Trace, TraceSpan, TraceSummary};
