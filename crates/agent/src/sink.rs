//! Where finished spans go: the store of the same process, or a server elsewhere.

use deeptrace_model::{Gap, Link, Span, SpanId};

/// What the pipeline has finished since the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Spans, in the order in which they were finished.
    pub spans: Vec<Span>,
    /// Links, in the order in which they were decided.
    pub links: Vec<Link>,
    /// Times in which events are missing.
    pub gaps: Vec<Gap>,
    /// Calls that no request of their process made, as far as was seen: traces begin with them. Not for
    /// sinks.
    pub roots: Vec<SpanId>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.links.is_empty() && self.gaps.is_empty()
    }

    /// Empties it, and keeps its room.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.links.clear();
        self.gaps.clear();
        self.roots.clear();
    }
}

/// Takes finished batches.
///
/// `send` MUST NOT block: the ring buffer fills meanwhile. What cannot be taken is dropped and
/// counted by the sink, which also writes the gap that tells of it.
pub trait Sink: Send {
    /// Takes a batch.
    fn send(&mut self, batch: Batch);

    /// Tells each counter with its value since the start.
    fn counters(&self, _out: &mut dyn FnMut(&'static str, u64)) {}

    /// Memory of spans that were sent and are gone, to be used again; empty. By default fresh.
    fn room(&mut self) -> Vec<Span> {
        Vec::new()
    }
}
