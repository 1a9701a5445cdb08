//! Trace: the tree of spans that one request from outside caused.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Duration, Gap, Link, Method, Relation, Span, SpanId, TraceId, WallTime};

/// A span with its place in a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceSpan {
    /// The span, which is not copied for each trace that shows it.
    pub span: Arc<Span>,
    /// Its parent in this trace; `None` for the root, and for spans whose parent is below the
    /// threshold.
    pub parent: Option<SpanId>,
    /// How the parent was found; `None` for a root.
    pub link: Option<Link>,
}

impl TraceSpan {
    /// Method, relation and confidence of the parent, where there is one.
    pub fn reason(&self) -> Option<(Method, Relation, f32)> {
        self.link.as_ref().map(|link| (link.method, link.relation, link.confidence))
    }
}

/// The tree of spans that one request from outside caused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// Parents before their children, siblings by start; the root is first.
    pub spans: Vec<TraceSpan>,
    /// Times around the trace in which events are missing.
    pub gaps: Vec<Gap>,
    /// Set when a limit cut the trace off: how many spans it may have beyond.
    pub cut_at: Option<u32>,
}

/// A trace in one line of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// Its id.
    pub id: TraceId,
    /// Service of the root span.
    pub service: String,
    /// Name of the root span.
    pub name: String,
    /// Start of the earliest span.
    pub start: WallTime,
    /// From the earliest start to the latest end.
    pub duration: Duration,
    /// Number of spans.
    pub spans: u32,
    /// Number of spans with status error.
    pub errors: u32,
    /// Each service with its number of spans, by name.
    pub services: Vec<(String, u32)>,
    /// Whether events are known to be missing in or around it.
    pub incomplete: bool,
}
