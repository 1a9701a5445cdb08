//! A span as offline correlation sees it, whoever recorded it.

use deeptrace_model::{Method, Span, SpanKind, hash_bytes, hash64};

use crate::correlator::callee;

/// Which side of an exchange saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The process served the request.
    Served,
    /// The process sent it.
    Sent,
}

/// One span. What is not known is `None`, or empty.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Tells it apart from others; nothing else is read into it.
    pub id: u64,
    /// Hash of service, host and process id.
    pub process: u64,
    /// Which side saw it.
    pub side: Side,
    /// First byte of the request, nanoseconds of the host's clock.
    pub start: i64,
    /// Last byte of the response, nanoseconds of the host's clock.
    pub end: i64,
    /// Hash of protocol, endpoint and peer.
    pub class: u64,
    /// Hash of who is at the other end.
    pub peer: u64,
    /// Execution context, or else thread, at the request and at the response.
    pub units: [Option<u64>; 2],
    /// Both sides of one exchange share it.
    pub exchange: Option<u64>,
    /// Hash of the pair of addresses, the same from both sides, to find the other side where
    /// `exchange` is absent.
    pub addresses: Option<u64>,
    /// Set where one connection carries one exchange at a time (HTTP/1.1): which it is.
    pub in_turn: Option<u64>,
    /// Hashes of values in its payloads, ordered.
    pub tokens: Vec<u64>,
    /// The request that caused it, where stronger evidence told that.
    pub known: Option<u64>,
}

impl Observation {
    /// A span that we recorded ourselves; `None` where it is neither a request nor a call. Its times are
    /// those of the wall clock.
    pub fn of_span(span: &Span) -> Option<Self> {
        let (side, class, peer) = match span.kind {
            SpanKind::Server => (Side::Served, crate::inferred::class(span), 0),
            SpanKind::Client | SpanKind::Producer => {
                (Side::Sent, callee(span), hash_bytes(span.protocol.as_bytes()))
            }
            SpanKind::Consumer | SpanKind::Internal => return None,
        };
        // A request is known once all of it was read.
        let asked = if side == Side::Served { span.request[1] } else { span.request[0] };
        let started = hash64(&[span.process.pid.0.into(), span.process.started.0]);
        let nanoseconds = |wall: u64| i64::try_from(wall).unwrap_or(i64::MAX);
        Some(Self {
            id: span.id.0,
            process: hash64(&[hash_bytes(span.service.as_bytes()), started]),
            side,
            start: nanoseconds(span.start.0),
            end: nanoseconds(span.end.0),
            class,
            peer,
            units: [Some(asked.tid.0.into()), crate::inferred::last_unit(span)],
            exchange: span.exchange.key().map(|key| key.0),
            addresses: None,
            in_turn: None,
            tokens: span
                .trace_context
                .map(|context| hash64(&[context.trace.0 as u64, (context.trace.0 >> 64) as u64]))
                .into_iter()
                .collect(),
            known: None,
        })
    }
}

/// What was found out about one span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The span.
    pub id: u64,
    /// What caused it; `None`: a root, or no answer.
    pub parent: Option<u64>,
    /// How that was found.
    pub method: Option<Method>,
    /// Probability that it is right.
    pub confidence: f32,
}
