//! Strip: takes spans out of a batch, and the links from and to them.

use std::collections::BTreeSet;

use deeptrace_model::{Link, Span, SpanId};

/// Takes out the spans of which `is_gone` says so, with the links from and to them; returns how many spans.
pub fn strip(spans: &mut Vec<Span>, links: &mut Vec<Link>, is_gone: impl Fn(&Span) -> bool) -> u64 {
    let gone: BTreeSet<SpanId> =
        spans.iter().filter(|span| is_gone(span)).map(|span| span.id).collect();
    if gone.is_empty() {
        return 0;
    }
    let before = spans.len();
    spans.retain(|span| !gone.contains(&span.id));
    links.retain(|link| {
        !gone.contains(&link.child) && link.parent.is_none_or(|parent| !gone.contains(&parent))
    });
    (before - spans.len()) as u64
}
