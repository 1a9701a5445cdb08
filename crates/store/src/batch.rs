//! Batch: what is written at once; and what a store tells of itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use deeptrace_model::{Duration, Gap, Link, Span, SpanKind, WallTime};

/// What is written at once: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Finished spans, in any order.
    pub spans: Vec<Span>,
    /// Links, in any order; their spans may come later or have come before.
    pub links: Vec<Link>,
    /// Times in which events are missing.
    pub gaps: Vec<Gap>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.links.is_empty() && self.gaps.is_empty()
    }

    /// Empties it for the next round and keeps its memory.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.links.clear();
        self.gaps.clear();
    }
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Spans; one that was written twice is counted twice until it is merged.
    pub spans: u64,
    /// Links.
    pub links: u64,
    /// Times in which events are missing.
    pub gaps: u64,
    /// Bytes in use on disk, without what is free to be used again.
    pub bytes: u64,
    /// Start of the earliest span; `None` without spans.
    pub oldest: Option<WallTime>,
    /// End of the latest span; `None` without spans.
    pub newest: Option<WallTime>,
}

/// How the cluster is that keeps a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its name.
    pub name: String,
    /// `green`: all is well; `yellow`: copies are missing; `red`: data is missing.
    pub status: String,
    /// Its nodes.
    pub nodes: u64,
    /// Shards and copies that are on no node.
    pub unassigned_shards: u64,
}

/// An operation of a service, with how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `service.name`.
    pub service: String,
    /// Name of its spans.
    pub name: String,
    /// Kind of its spans.
    pub kind: SpanKind,
    /// Spans.
    pub spans: u64,
    /// Spans with status error.
    pub errors: u64,
    /// Sum of their durations.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}

/// Operations, those of the same service, name and kind added up.
#[derive(Clone, Debug, Default)]
pub struct OperationSums(BTreeMap<(String, String, u8), Operation>);

impl OperationSums {
    /// Adds one.
    pub fn add(&mut self, one: Operation) {
        match self.0.entry((one.service.clone(), one.name.clone(), one.kind as u8)) {
            Entry::Vacant(place) => _ = place.insert(one),
            Entry::Occupied(sum) => {
                let sum = sum.into_mut();
                sum.spans += one.spans;
                sum.errors += one.errors;
                sum.total.0 = sum.total.0.saturating_add(one.total.0);
                sum.longest = sum.longest.max(one.longest);
            }
        }
    }

    /// All of them, by service, name and kind.
    pub fn into_vec(self) -> Vec<Operation> {
        self.0.into_values().collect()
    }
}

/// What one call of [`Store::maintain`] did.
///
/// [`Store::maintain`]: crate::Store::maintain
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Spans removed because they were older than the retention.
    pub expired: u64,
    /// Spans removed because the store was larger than allowed.
    pub evicted: u64,
    /// Small batches that were merged into larger ones.
    pub merged: u64,
    /// Whether there is more to do: call again soon.
    pub more: bool,
}
