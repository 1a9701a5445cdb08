//! Search: traces that hold a span that passes a filter, newest first, a page at a time.

use std::{collections::BTreeMap, sync::Arc};

use deeptrace_model::{Duration, Span, SpanStatus, Trace, TraceSummary, WallTime};
use deeptrace_store::{Cursor, Filter, Store, StoreError};
use rustc_hash::FxHashSet;

use crate::{Assembly, Clocks, Limits, Start, group, run};

/// Spans from which traces are assembled together, at most.
const GROUP_MAX: usize = 1024;

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
    let mut traces = Vec::new();
    let next = walk(store, filter, after, limit, limits, &mut |trace| {
        traces.push(summary(trace));
        Ok::<bool, StoreError>(true)
    })?;
    Ok(TracePage { traces, next })
}

/// The same with whole traces, each told to `take` as it comes, which says whether it counts as one of the
/// `limit`; a page ends without them all when too many do not. Returns where the next page begins; `None`
/// at the end. Holds as many spans as one trace may have and a bounded number beside.
pub fn walk<E: From<StoreError>>(
    store: &dyn Store,
    filter: &Filter,
    after: Option<Cursor>,
    limit: usize,
    limits: Limits,
    take: &mut dyn FnMut(&Trace) -> Result<bool, E>,
) -> Result<Option<Cursor>, E> {
    let (mut taken, mut next) = (0, after);
    let mut seen = FxHashSet::default();
    // A trace beyond the limit of spans is assembled again for each part of it; this bounds it.
    let mut assemblies_left = limit.saturating_mul(4).saturating_add(16);
    loop {
        let found = store.scan(filter, next, limit.saturating_mul(2).clamp(32, 1024))?;
        let mut spans = found.spans.as_slice();
        while !spans.is_empty() {
            let unseen = (0..spans.len()).filter(|place| !seen.contains(&spans[*place].id));
            let unseen: Vec<usize> = unseen.collect();
            let most = assemblies_left.clamp(1, GROUP_MAX);
            let starts: Vec<&Arc<Span>> =
                unseen.iter().take(most).map(|place| &spans[*place]).collect();
            let decided = group::run(store, &starts, limit.saturating_sub(taken), limits)?;
            // What was not decided begins the next group.
            let len = unseen.get(decided.len()).copied().unwrap_or(spans.len());
            let (now, later) = spans.split_at(len);
            spans = later;
            let mut traces = unseen.into_iter().zip(decided).peekable();
            for (place, span) in now.iter().enumerate() {
                if taken >= limit || assemblies_left == 0 {
                    return Ok(next);
                }
                next = Some(Cursor::of(span));
                let trace = traces.next_if(|(start, _)| *start == place);
                let trace = trace.and_then(|(_, trace)| trace);
                if seen.contains(&span.id) {
                    continue;
                }
                assemblies_left -= 1;
                // Beyond the limit one span of a trace may be in it and another not.
                let alone = || run(store, Assembly::new(Start::Span(Arc::clone(span)), limits));
                let Some(trace) = trace.map_or_else(alone, |trace| Ok(Some(trace)))? else {
                    continue;
                };
                let passing = trace.spans.iter().map(|it| &it.span).filter(|it| filter.matches(it));
                let newest = passing.map(|it| (it.start, it.id)).max();
                let ids = trace.spans.iter().flat_map(|it| [Some(it.span.id), it.span.observed()]);
                seen.extend(ids.flatten());
                if newest.is_none_or(|newest| newest <= (span.start, span.id)) {
                    taken += usize::from(take(&trace)?);
                }
            }
        }
        next = found.next;
        if next.is_none() {
            return Ok(None);
        }
    }
}

/// A trace in one line of a list.
pub fn summary(trace: &Trace) -> TraceSummary {
    let spans = || trace.spans.iter().map(|it| &it.span);
    let clocks = Clocks::of(trace);
    let stamps = || spans().map(|span| clocks.stamps(span));
    let start = WallTime(stamps().map(|(start, _)| start).min().unwrap_or_default());
    let end = WallTime(stamps().map(|(_, end)| end).max().unwrap_or_default());
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
