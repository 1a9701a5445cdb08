//! Records: what is sent of a span, a link and a gap, field by field in this order. A later version
//! appends fields in a tail of its own (`SpanTail1` …) and never changes what is here.

use std::borrow::Cow;

use deeptrace_model::{
    Attribute, Exchange, Gap, GapCause, Link, Method, ProcessKey, Relation, Span, SpanId, SpanKind,
    SpanStatus, Text, Touch, TraceContext, WallTime,
};
use serde::{Deserialize, Serialize};

/// Kinds of sections.
pub(crate) const SETS: u8 = 1;
pub(crate) const SPANS: u8 = 2;
pub(crate) const LINKS: u8 = 3;
pub(crate) const GAPS: u8 = 4;

/// Attributes of a set or a span, at most; a record with more is left out.
pub(crate) const ATTRIBUTES_MAX: usize = 256;

/// Sets that a span shares, at most; a record with more is left out.
pub(crate) const SETS_MAX: usize = 3;

/// Attributes that several spans of the batch share.
#[derive(Serialize, Deserialize)]
pub(crate) struct SetRecord<'a>(pub(crate) Cow<'a, [Attribute]>);

/// A span.
#[derive(Serialize, Deserialize)]
pub(crate) struct SpanRecord<'a> {
    pub(crate) id: u64,
    pub(crate) kind: SpanKind,
    pub(crate) name: &'a str,
    pub(crate) service: &'a str,
    pub(crate) protocol: &'a str,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) status: SpanStatus,
    pub(crate) status_message: Option<&'a str>,
    /// Indices into the sets of the batch, in order.
    pub(crate) sets: Vec<u32>,
    /// Its own attributes.
    pub(crate) own: Cow<'a, [Attribute]>,
    pub(crate) request_size: u64,
    pub(crate) response_size: u64,
    pub(crate) request_payload: &'a [u8],
    pub(crate) response_payload: &'a [u8],
    pub(crate) process: ProcessKey,
    pub(crate) connection: u64,
    pub(crate) exchange: Exchange,
    pub(crate) request: [Touch; 2],
    pub(crate) response: Option<[Touch; 2]>,
    pub(crate) trace_context: Option<TraceContext>,
    pub(crate) unknown: Cow<'a, [Cow<'static, str>]>,
    pub(crate) truncated: bool,
    pub(crate) lost_events: u32,
}

/// A link.
#[derive(Serialize, Deserialize)]
pub(crate) struct LinkRecord<'a> {
    child: u64,
    parent: Option<u64>,
    child_start: u64,
    method: Method,
    relation: Relation,
    confidence: f32,
    algorithm: &'a str,
    candidates: u32,
    generation: u32,
    is_final: bool,
}

/// A gap.
#[derive(Serialize, Deserialize)]
pub(crate) struct GapRecord {
    from: u64,
    to: u64,
    cause: GapCause,
    events: u64,
    bytes: u64,
}

impl<'a> SpanRecord<'a> {
    pub(crate) fn of(span: &'a Span, sets: Vec<u32>) -> Self {
        Self {
            id: span.id.0,
            kind: span.kind,
            name: &span.name,
            service: &span.service,
            protocol: &span.protocol,
            start: span.start.0,
            end: span.end.0,
            status: span.status,
            status_message: span.status_message.as_deref(),
            sets,
            own: Cow::Borrowed(span.attributes.own()),
            request_size: span.request_size,
            response_size: span.response_size,
            request_payload: &span.request_payload,
            response_payload: &span.response_payload,
            process: span.process,
            connection: span.connection.0,
            exchange: span.exchange,
            request: span.request,
            response: span.response,
            trace_context: span.trace_context,
            unknown: Cow::Borrowed(&span.unknown),
            truncated: span.truncated,
            lost_events: span.lost_events,
        }
    }
}

impl<'a> LinkRecord<'a> {
    pub(crate) fn of(link: &'a Link) -> Self {
        Self {
            child: link.child.0,
            parent: link.parent.map(|parent| parent.0),
            child_start: link.child_start.0,
            method: link.method,
            relation: link.relation,
            confidence: link.confidence,
            algorithm: &link.algorithm,
            candidates: link.candidates,
            generation: link.generation,
            is_final: link.is_final,
        }
    }

    pub(crate) fn link(self) -> Link {
        Link {
            child: SpanId(self.child),
            parent: self.parent.map(SpanId),
            child_start: WallTime(self.child_start),
            method: self.method,
            relation: self.relation,
            confidence: self.confidence,
            algorithm: Text::new(self.algorithm),
            candidates: self.candidates,
            generation: self.generation,
            is_final: self.is_final,
        }
    }
}

impl GapRecord {
    pub(crate) fn of(gap: &Gap) -> Self {
        let Gap { from, to, cause, events, bytes } = *gap;
        Self { from: from.0, to: to.0, cause, events, bytes }
    }

    pub(crate) fn gap(self) -> Gap {
        let Self { from, to, cause, events, bytes } = self;
        Gap { from: WallTime(from), to: WallTime(to), cause, events, bytes }
    }
}
