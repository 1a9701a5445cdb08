//! Question: what a server asks an agent that keeps its spans.

use deeptrace_model::{Duration, ExchangeKey, RequestKey, SpanId, SpanKind, TraceId, WallTime};
use serde::{Deserialize, Serialize};

/// Names a span, or what it has in common with others, wherever it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Both sides of an exchange have it.
    Exchange(ExchangeKey),
    /// The same for an exchange without an answer.
    Request(RequestKey),
    /// The application's own trace id.
    Trace(TraceId),
    /// A span by its id.
    Span(SpanId),
}

/// What is asked; each variant is answered by spans and links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Spans and links by key: one depth of a trace.
    Lookups(Lookups),
    /// A page of spans that pass a filter, newest first.
    Scan(Scan),
}

/// Lookups that are independent of each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lookups {
    /// Spans that have the key and overlap the time.
    pub spans: Vec<(Key, Between)>,
    /// Links whose child it is, and whose child starts in the time.
    pub children: Vec<(SpanId, Between)>,
    /// Links whose parent it is.
    pub parents: Vec<(SpanId, Between)>,
    /// At most so many spans, and so many links, are of use.
    pub limit: u32,
}

/// From one moment to another, both included; wall clock of the host that keeps the span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Between {
    /// Since when.
    pub from: WallTime,
    /// Until when.
    pub to: WallTime,
}

/// A page of spans that pass a filter; what is `None` does not matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// When they start.
    pub window: Between,
    /// Their `service.name`.
    pub service: Option<String>,
    /// Their name.
    pub name: Option<String>,
    /// Their kind.
    pub kind: Option<SpanKind>,
    /// They took at least this long.
    pub min_duration: Option<Duration>,
    /// They took at most this long.
    pub max_duration: Option<Duration>,
    /// Their status is error.
    pub errors_only: bool,
    /// The page begins behind the span with this start and id.
    pub after: Option<(WallTime, SpanId)>,
    /// Spans of the page, at most.
    pub limit: u32,
}
