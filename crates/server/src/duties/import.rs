//! Import: spans that were exported somewhere, with their place in their traces. What is stored already
//! stays as it is, so the same file may come twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use deeptrace_model::{Duration, Link, TraceSpan};
use deeptrace_store::{Batch, SpanKey, SpanLookup, Store, StoreError, Window};
use serde::{Deserialize, Serialize};

/// Spans of one import call, at most.
pub const SPANS_MAX: usize = 1_000;

/// What became of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Spans that were written.
    pub spans: u64,
    /// Links that were written.
    pub links: u64,
    /// Spans that were there already.
    pub known: u64,
    /// Spans that had been erased, and stay so.
    pub erased: u64,
}

impl Imported {
    /// Counts `other` in.
    pub fn add(&mut self, other: Self) {
        self.spans += other.spans;
        self.links += other.links;
        self.known += other.known;
        self.erased += other.erased;
    }
}

/// Writes spans that are not there yet; `tombstones` keep out what was erased.
pub fn import(
    store: &dyn Store,
    tombstones: &super::Tombstones,
    spans: Vec<TraceSpan>,
) -> Result<Imported, StoreError> {
    let around = |it: &TraceSpan| Window::around(&it.span, Duration::from_secs(1));
    let lookups: Vec<SpanLookup> = spans
        .iter()
        .map(|it| SpanLookup { key: SpanKey::Id(it.span.id), window: around(it) })
        .collect();
    let known = store.spans(&lookups, usize::MAX)?;
    let mut seen: BTreeSet<_> = known.iter().map(|span| span.id).collect();
    let mut count = Imported::default();
    let mut batch = Batch::default();
    for TraceSpan { span, link, .. } in spans {
        if !seen.insert(span.id) {
            count.known += 1;
            continue;
        }
        batch.links.extend(link.filter(|link: &Link| link.parent.is_some()));
        batch.spans.push(Arc::unwrap_or_clone(span));
    }
    let came = batch.spans.len();
    if let Some(left) = tombstones.held().without(&batch) {
        batch = left;
    }
    store.write(&batch)?;
    count.spans = batch.spans.len() as u64;
    count.links = batch.links.len() as u64;
    count.erased = (came - batch.spans.len()) as u64;
    Ok(count)
}
