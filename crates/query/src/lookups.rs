//! Lookups: what an assembly must know next; and what the stores answered.

use std::sync::Arc;

use deeptrace_model::{Gap, Link, Span};
use deeptrace_store::{LinkLookup, SpanLookup, Window};

/// What an assembly must know next: independent of each other, to be asked all at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookups {
    /// Spans by key.
    pub spans: Vec<SpanLookup>,
    /// Links by key.
    pub links: Vec<LinkLookup>,
    /// Gaps that overlap this time.
    pub gaps: Option<Window>,
    /// At most so many spans, and so many links, are of use.
    pub limit: usize,
}

impl Lookups {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.links.is_empty() && self.gaps.is_none()
    }
}

/// What the stores answered to one [`Lookups`], in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Spans.
    pub spans: Vec<Arc<Span>>,
    /// Links.
    pub links: Vec<Link>,
    /// Gaps.
    pub gaps: Vec<Gap>,
}
