//! Fragment: all that one store knows around what is looked up, in one answer: what is linked to it, and
//! the other sides of its exchanges. So a server that walks from agent to agent asks each agent once for
//! what happened there, and not once for every depth.

use std::collections::BTreeSet;
use std::sync::Arc;

use deeptrace_model::{Link, Span, SpanId};
use deeptrace_store::{LinkKey, LinkLookup, SpanKey, SpanLookup, Store, StoreError, Window};

use crate::assembly::{FOLLOWS_WITHIN, SLACK, before};
use crate::{Answers, Lookups, join};

/// Depths that are followed, at most.
const DEPTH_MAX: usize = 256;

/// What `lookups` ask and everything around it, and around `begun`. The second is whether that is all:
/// not, where there are more spans or links than `lookups.limit`. Gaps are left to the caller.
pub fn fragment(
    store: &dyn Store,
    lookups: &Lookups,
    begun: &[Arc<Span>],
) -> Result<(Answers, bool), StoreError> {
    let mut walk = Walk::default();
    let limit = lookups.limit;
    lookups.spans.iter().for_each(|it| walk.ask_span(it.key, it.window));
    lookups.links.iter().for_each(|it| walk.ask_link(it.key, it.window));
    begun.iter().for_each(|span| walk.take_span(span));
    for _ in 0..DEPTH_MAX {
        let (spans, links) = (std::mem::take(&mut walk.spans), std::mem::take(&mut walk.links));
        if spans.is_empty() && links.is_empty() {
            return Ok((walk.found, true));
        }
        if !spans.is_empty() {
            store.spans(&spans, limit)?.iter().for_each(|span| walk.take_span(span));
        }
        if !links.is_empty() {
            store.links(&links, limit)?.iter().for_each(|link| walk.take_link(link));
        }
        if walk.found.spans.len() >= limit || walk.found.links.len() >= limit {
            break;
        }
    }
    Ok((walk.found, false))
}

#[derive(Default)]
struct Walk {
    found: Answers,
    known: BTreeSet<SpanId>,
    /// Child, parent, generation and place in the order of methods tell links apart.
    known_links: BTreeSet<(SpanId, Option<SpanId>, u32, u8)>,
    asked_spans: BTreeSet<SpanKey>,
    asked_links: BTreeSet<LinkKey>,
    /// To be asked next.
    spans: Vec<SpanLookup>,
    links: Vec<LinkLookup>,
}

impl Walk {
    fn ask_span(&mut self, key: SpanKey, window: Window) {
        if self.asked_spans.insert(key) {
            self.spans.push(SpanLookup { key, window });
        }
    }

    fn ask_link(&mut self, key: LinkKey, window: Window) {
        if self.asked_links.insert(key) {
            self.links.push(LinkLookup { key, window });
        }
    }

    /// The windows are those of an assembly, so that it finds here what it would find in the store.
    fn take_span(&mut self, span: &Arc<Span>) {
        if !self.known.insert(span.id) {
            return;
        }
        let at = Window { from: span.start.minus(SLACK), to: span.start.plus(SLACK) };
        let after = Window { from: span.start.minus(SLACK), to: span.end.plus(FOLLOWS_WITHIN) };
        self.ask_link(LinkKey::Child(span.id), at);
        self.ask_link(LinkKey::Parent(span.id), after);
        for lookup in [join::exchange(span), join::request(span)].into_iter().flatten() {
            self.ask_span(lookup.key, lookup.window);
        }
        self.found.spans.push(Arc::clone(span));
    }

    fn take_link(&mut self, link: &Link) {
        let Link { child, parent, generation, method, .. } = *link;
        if !self.known_links.insert((child, parent, generation, method as u8)) {
            return;
        }
        let at = Window { from: link.child_start.minus(SLACK), to: link.child_start.plus(SLACK) };
        self.ask_span(SpanKey::Id(child), at);
        self.ask_link(LinkKey::Child(child), at);
        if let Some(parent) = parent {
            self.ask_span(SpanKey::Id(parent), before(link));
        }
        self.found.links.push(link.clone());
    }
}
