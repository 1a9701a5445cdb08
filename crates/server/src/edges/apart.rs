//! Apart: sides of exchanges whose other side came to another server over the same store, in which both are found.
//!
//! Of the two servers that look, the one that has the client's side counts the edge; the other counts that it did
//! not. Simplifying assumption: the server's side was written when the client's has waited for it; one that comes
//! later is at an edge of virtual nodes, as where one server is. What a server had when it was killed is counted
//! by none.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use deeptrace_http::{Exposition, Kind};
use deeptrace_model::{Duration, Span};
use deeptrace_store::{SpanKey, SpanLookup, Store, StoreError, Window};

use super::{Edges, Side, Who};

/// Sides that wait to be looked for; of more, the longest waiting is taken to be alone.
const WAITING_MAX: usize = 16_384;
/// Sides that are looked for at once.
pub(crate) const PIECE_LEN: usize = 1_024;
/// Spans that are read for them: an exchange has two, and a few were sent twice.
const FOUND_MAX: usize = 4 * PIECE_LEN;
/// Clocks of hosts may differ so much.
const SLACK: Duration = Duration::from_secs(60);

/// A side with what names its edge.
type Alone = (Who, Side);

/// Sides that found no other here.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    sides: VecDeque<(SpanLookup, Alone)>,
    joined: u64,
    elsewhere: u64,
    shed: u64,
}

/// Where the other side of `span` is found.
pub(super) fn lookup(span: &Span) -> SpanLookup {
    let request = || SpanKey::Request(span.exchange.request_key());
    let key = span.exchange.key().map_or_else(request, SpanKey::Exchange);
    SpanLookup { key, window: Window::around(span, SLACK) }
}

/// What a store has of the exchanges that were looked for: by what both sides have in common, and whether it is
/// the server's side.
pub(crate) type Found = HashMap<(SpanKey, bool), Alone>;

/// Looks for both sides in `store`.
pub(crate) fn find(
    store: &dyn Store,
    lookups: &[SpanLookup],
    now: Instant,
) -> Result<Found, StoreError> {
    let mut found = Found::new();
    for span in store.spans(lookups, FOUND_MAX)? {
        let is_server = span.kind.is_receiver();
        let side = || (Who::of(&span, is_server), Side::of(&span, 0, now));
        for key in SpanKey::all_of(&span) {
            found.entry((key, is_server)).or_insert_with(side);
        }
    }
    Ok(found)
}

impl Apart {
    /// Takes a side that has waited long enough.
    pub(super) fn push(&mut self, lookup: SpanLookup, side: Alone, edges: &mut Edges) {
        self.sides.push_back((lookup, side));
        if self.sides.len() > WAITING_MAX
            && let Some((_, (who, longest))) = self.sides.pop_front()
        {
            self.shed += 1;
            edges.add_alone(&who, &longest);
        }
    }

    /// What is to be looked for next, at most [`PIECE_LEN`].
    pub(crate) fn next(&self) -> Vec<SpanLookup> {
        self.sides.iter().take(PIECE_LEN).map(|(lookup, _)| *lookup).collect()
    }

    /// Takes what was found of `asked`, which came from [`Apart::next`].
    pub(crate) fn take(&mut self, asked: &[SpanLookup], found: &Found, edges: &mut Edges) {
        for lookup in asked {
            // Those before it may have been shed meanwhile, and then it is no more the first.
            if self.sides.front().is_none_or(|(first, _)| first != lookup) {
                continue;
            }
            let Some((_, (who, side))) = self.sides.pop_front() else { return };
            match found.get(&(lookup.key, !who.is_server)) {
                Some(_) if who.is_server => self.elsewhere += 1,
                Some((callee, other)) => {
                    self.joined += 1;
                    edges.add_both((&who, &side), (callee, other));
                }
                None => edges.add_alone(&who, &side),
            }
        }
    }

    /// What was counted since the start.
    pub(super) fn write(&self, out: &mut Exposition) {
        let mut counter = |name: &str, help: &str, value: u64| {
            out.family(name, Kind::Counter, help);
            out.sample(name, &[], value);
        };
        counter(
            "deeptrace_service_graph_apart_requests_total",
            "Requests whose sides came to different servers and were joined here, in the store.",
            self.joined,
        );
        counter(
            "deeptrace_service_graph_elsewhere_requests_total",
            "Requests that are counted by the server that has their client's side.",
            self.elsewhere,
        );
        counter(
            "deeptrace_service_graph_unasked_spans_total",
            "Spans whose other side was not looked for in the store, as too many were waiting.",
            self.shed,
        );
    }
}
