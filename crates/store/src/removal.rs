//! Removal: what is to be removed from a store, and what was.

use deeptrace_model::WallTime;

use crate::SpanLookup;

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Removal<'a> {
    /// Spans that ended before this moment, with the links that say who caused them, and gaps that
    /// ended before it.
    Before(WallTime),
    /// Spans that any of the lookups finds, with all links from and to them.
    Spans(&'a [SpanLookup]),
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Spans; one that was written twice may count twice.
    pub spans: u64,
    /// Links.
    pub links: u64,
    /// Times in which events are missing.
    pub gaps: u64,
    /// Spans and links, among those counted, that could not be read any more but may have been meant.
    pub unreadable: u64,
}

impl Removed {
    /// Counts `other` in.
    pub fn add(&mut self, other: Self) {
        self.spans += other.spans;
        self.links += other.links;
        self.gaps += other.gaps;
        self.unreadable += other.unreadable;
    }
}
