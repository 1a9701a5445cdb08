//! Link: this span was caused by that one, how that was found, and how sure it is.

use serde::{Deserialize, Serialize};

use crate::{SpanId, Text, WallTime};

/// How a parent was found, in the order of `SURFACE`: the best rank wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The application's own ids.
    TraceContext,
    /// The two sides of one exchange.
    Connection,
    /// The same thread worked for the request and nothing else.
    Thread,
    /// The same goroutine, task or coroutine.
    Coroutine,
    /// A wake-up handed the work over.
    Wake,
    /// An item in a queue handed the work over.
    Queue,
    /// Order on an event loop, or first-in first-out, where it was seen to hold.
    Order,
    /// A statistical guess.
    Inferred,
}

impl Method {
    /// As printed in a span's `link.method`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TraceContext => "trace-context",
            Self::Connection => "connection",
            Self::Thread => "thread",
            Self::Coroutine => "coroutine",
            Self::Wake => "wake",
            Self::Queue => "queue",
            Self::Order => "order",
            Self::Inferred => "inferred",
        }
    }

    /// Rank of evidence: lower is stronger.
    pub fn rank(self) -> u8 {
        self as u8
    }
}

/// What the parent is to the child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// The parent waits for the child, or contains it.
    #[default]
    Child,
    /// The parent caused the child and did not wait.
    Follows,
}

/// This span was caused by that one. A record of its own, beside the spans, never changed: a
/// later and better one has a better rank or a higher generation, and wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The caused span.
    pub child: SpanId,
    /// The causing span; `None`: no answer, with the reason in `method` and `confidence` zero.
    pub parent: Option<SpanId>,
    /// When the child starts: the link lies in its partition.
    pub child_start: WallTime,
    /// How it was found.
    pub method: Method,
    /// What the parent is to the child.
    pub relation: Relation,
    /// Probability that it is right, between 0 and 1.
    pub confidence: f32,
    /// Name of the algorithm that decided.
    pub algorithm: Text,
    /// How many requests of the process could have been the parent.
    pub candidates: u32,
    /// Counts up when the same child is decided again; among equal ranks the highest wins.
    pub generation: u32,
    /// Whether the request was answered, so that nothing can be learned any more.
    pub is_final: bool,
}

impl Link {
    /// Whether this link replaces `other` for the same child: better rank of evidence, then the
    /// higher generation.
    pub fn beats(&self, other: &Link) -> bool {
        let order = |link: &Link| {
            (link.parent.is_none(), link.method.rank(), std::cmp::Reverse(link.generation))
        };
        order(self) < order(other)
    }
}
