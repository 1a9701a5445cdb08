//! A span as offline correlation sees it, whoever recorded it.

use deeptrace_model::Method;

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
