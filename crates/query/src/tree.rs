//! Tree: spans with their links put in order, and the trace's id.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use deeptrace_model::{Link, Span, SpanId, TraceId, TraceSpan, WallTime};

/// Spans with the link to their parent, which is among them, as a tree: parents before their
/// children, siblings by start. Several roots come by start, each with all that is below it.
/// Where links go in a circle the earliest span becomes a root.
pub(crate) fn order(spans: Vec<(Arc<Span>, Option<Link>)>) -> (TraceId, Vec<TraceSpan>) {
    let parent_of = |link: &Option<Link>| link.as_ref().and_then(|link| link.parent);
    let mut children: BTreeMap<SpanId, Vec<SpanId>> = BTreeMap::new();
    let mut by_id = BTreeMap::new();
    let mut by_start: Vec<(WallTime, SpanId, bool)> = Vec::new();
    let mut spans = spans;
    spans.sort_by_key(|(span, _)| (span.start, span.id));
    for (span, link) in spans {
        let parent = parent_of(&link);
        by_start.push((span.start, span.id, parent.is_none()));
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(span.id);
        }
        by_id.insert(span.id, (span, link));
    }
    let mut ordered: Vec<TraceSpan> = Vec::with_capacity(by_id.len());
    let mut placed = BTreeSet::new();
    let roots = by_start.iter().filter(|(.., is_root)| *is_root);
    // After the true roots what is left lies on circles, or below one.
    for (_, root, _) in roots.chain(&by_start) {
        let mut stack = vec![*root];
        while let Some(id) = stack.pop() {
            if !placed.insert(id) {
                continue;
            }
            let Some((span, link)) = by_id.remove(&id) else { continue };
            let link = link.filter(|_| id != *root);
            let parent = parent_of(&link);
            ordered.push(TraceSpan { span, parent, link });
            stack.extend(children.get(&id).into_iter().flatten().rev());
        }
    }
    (id(&ordered), ordered)
}

/// The application's own id, the root's first; else the one derived from the root.
fn id(spans: &[TraceSpan]) -> TraceId {
    let own = spans.iter().find_map(|it| it.span.trace_context);
    let root = spans.first().map(|it| it.span.id).unwrap_or_default();
    own.map_or(TraceId::from_root(root), |context| context.trace)
}
