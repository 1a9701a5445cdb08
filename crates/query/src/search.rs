//! Search: traces that hold a span that passes a filter, newest first, a page at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use deeptrace_model::{Duration, SpanStatus, Trace, TraceSummary};
use deeptrace_store::{Cursor, Filter, Store, StoreError};

use crate::{Assembly, Limits, Start, run};

/// Traces of one page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TracePage {
    /// By their newest span that passes, the newest first.
    pub traces: Vec<TraceSummary>,
    /// Where the next page begins; `None` at the end. A page may be short of its limit and yet
    /// have a next one.
    pub next: Option<Cursor>,
}

/// Traces that hold a span that passes `filter`, at most `limit`, beginning behind `after`. Each
/// trace is on one page only: where its newest span is that passes.
pub fn search(
    store: &dyn Store,
    filter: &Filter,
    after: Option<Cursor>,
    limit: usize,
    limits: Limits,
) -> Result<TracePage, StoreError> {
    let mut page = TracePage { traces: Vec::new(), next: after };
    let mut seen = BTreeSet::new();
    // A trace beyond the limit of spans is assembled again for each part of it; this bounds it.
    let mut assemblies_left = limit.saturating_mul(4).saturating_add(16);
    loop {
        let found = store.scan(filter, page.next, limit.saturating_mul(2).clamp(32, 1024))?;
        for span in &found.spans {
            if page.traces.len() >= limit || assemblies_left == 0 {
                return Ok(page);
            }
            page.next = Some(Cursor::of(span));
            if seen.contains(&span.id) {
                continue;
            }
            assemblies_left -= 1;
            let assembly = Assembly::new(Start::Span(Arc::clone(span)), limits);
            let Some(trace) = run(store, assembly)? else { continue };
            let passing = trace.spans.iter().map(|it| &it.span).filter(|it| filter.matches(it));
            let newest = passing.map(|it| (it.start, it.id)).max();
            if newest.is_none_or(|newest| newest <= (span.start, span.id)) {
                page.traces.push(summary(&trace));
            }
            seen.extend(trace.spans.iter().map(|it| it.span.id));
        }
        page.next = found.next;
        if found.next.is_none() {
            return Ok(page);
        }
    }
}

/// A trace in one line of a list.
pub fn summary(trace: &Trace) -> TraceSummary {
    let spans = || trace.spans.iter().map(|it| &it.span);
    let start = spans().map(|span| span.start).min().unwrap_or_default();
    let end = spans().map(|span| span.end).max().unwrap_or_default();
    let mut services: BTreeMap<&str, u32> = BTreeMap::new();
    for span in spans() {
        *services.entry(&span.service).or_default() += 1;
    }
    let root = trace.spans.first().map(|it| &it.span);
    let lost = spans().any(|span| span.lost_events > 0);
    TraceSummary {
        id: trace.id,
        service: root.map(|span| span.service.to_string()).unwrap_or_default(),
        name: root.map(|span| span.name.to_string()).unwrap_or_default(),
        start,
        duration: Duration(end.0.saturating_sub(start.0)),
        spans: count(spans().count()),
        errors: count(spans().filter(|span| span.status == SpanStatus::Error).count()),
        services: services.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        incomplete: lost || !trace.gaps.is_empty() || trace.cut_at.is_some(),
    }
}

fn count(spans: usize) -> u32 {
    u32::try_from(spans).unwrap_or(u32::MAX)
}
