//! Join: the two sides of one exchange, found by what both see alike.
//!
//! Exact or not at all: one sender and one receiver of the same key within [`WITHIN`]. Two of a
//! side are no join, as positions of a connection may come again after hours, and a mistake
//! would be worse than a missing edge.

use std::{collections::BTreeMap, sync::Arc};

use deeptrace_model::{
    Duration, ExchangeKey, Link, Method, Relation, RequestKey, Span, SpanId, SpanKind,
};
use deeptrace_store::{SpanKey, SpanLookup, Window};
use rustc_hash::FxHashMap;

/// How far apart the two sides may be: more than clocks differ and transfers take.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// Which side of an exchange a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Sender,
    Receiver,
}

/// The side of `span`; `None` inside a process, and where it was not seen on a socket.
pub(crate) fn side(span: &Span) -> Option<Side> {
    of_kind(span.kind).filter(|_| !span.is_reported())
}

/// The side that spans of this kind are on.
pub(crate) fn of_kind(kind: SpanKind) -> Option<Side> {
    match kind {
        SpanKind::Client | SpanKind::Producer => Some(Side::Sender),
        SpanKind::Server | SpanKind::Consumer => Some(Side::Receiver),
        SpanKind::Internal => None,
    }
}

/// What finds spans with the whole exchange of `span`; `None` if it saw no answer, or is no side.
pub(crate) fn exchange(span: &Span) -> Option<SpanLookup> {
    let key = side(span).and(span.exchange.key()).map(SpanKey::Exchange)?;
    Some(SpanLookup { key, window: Window::around(span, WITHIN) })
}

/// What finds spans with the request of `span`; `None` if it is no side.
pub(crate) fn request(span: &Span) -> Option<SpanLookup> {
    let key = side(span).map(|_| SpanKey::Request(span.exchange.request_key()))?;
    Some(SpanLookup { key, window: Window::around(span, WITHIN) })
}

/// Spans by id, and by what the other side of their exchange sees alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    spans: BTreeMap<SpanId, Arc<Span>>,
    by_exchange: FxHashMap<ExchangeKey, Vec<SpanId>>,
    by_request: FxHashMap<RequestKey, Vec<SpanId>>,
}

impl Known {
    /// Adds a span that was not there.
    pub(crate) fn insert(&mut self, span: Arc<Span>) {
        let id = span.id;
        let (exchange, request) = (span.exchange.key(), span.exchange.request_key());
        if self.spans.insert(id, span).is_none() {
            exchange.into_iter().for_each(|key| self.by_exchange.entry(key).or_default().push(id));
            self.by_request.entry(request).or_default().push(id);
        }
    }

    pub(crate) fn contains(&self, id: SpanId) -> bool {
        self.spans.contains_key(&id)
    }

    pub(crate) fn get(&self, id: SpanId) -> Option<&Arc<Span>> {
        self.spans.get(&id)
    }

    /// All spans, by id.
    pub(crate) fn spans(&self) -> impl ExactSizeIterator<Item = &Arc<Span>> {
        self.spans.values()
    }

    /// The other side of `span` by the whole exchange, once all is here that [`exchange`] found.
    pub(crate) fn exchange_partner(&self, span: &Span) -> Option<SpanId> {
        side(span)?;
        let same = self.by_exchange.get(&span.exchange.key()?)?;
        other_of(pair(same.iter().filter_map(|id| self.near(span, *id)))?, span.id)
    }

    /// Another side of an exchange that is near enough to `span`.
    fn near(&self, span: &Span, id: SpanId) -> Option<&Span> {
        let other = self.spans.get(&id)?.as_ref();
        let is_near = Window::around(span, WITHIN).overlaps(other.start, other.end);
        (is_near && side(other).is_some()).then_some(other)
    }

    /// The other side of `span`, once all is here that [`exchange`] and, where that gives no
    /// pair, [`request`] found.
    pub(crate) fn partner(&self, span: &Span) -> Option<SpanId> {
        side(span)?;
        let whole = self.exchange_partner(span);
        if whole.is_some() {
            return whole;
        }
        // Where one side saw no answer only the request is alike. Those that are joined by the
        // whole exchange are out of the question.
        let requests = self.by_request.get(&span.exchange.request_key());
        let requests: Vec<&Span> =
            requests.into_iter().flatten().filter_map(|id| self.near(span, *id)).collect();
        let is_joined = |it: &Span| {
            let key = it.exchange.key();
            let same = requests.iter().copied().filter(|other| other.exchange.key() == key);
            key.is_some() && pair(same).is_some()
        };
        let open: Vec<&Span> = requests.iter().copied().filter(|it| !is_joined(it)).collect();
        if open.iter().all(|it| it.exchange.response.is_some()) {
            return None;
        }
        other_of(pair(open.into_iter())?, span.id)
    }
}

fn other_of((sender, receiver): (SpanId, SpanId), id: SpanId) -> Option<SpanId> {
    match id {
        _ if id == sender => Some(receiver),
        _ if id == receiver => Some(sender),
        _ => None,
    }
}

/// Sender and receiver, if there is one of each.
fn pair<'a>(spans: impl Iterator<Item = &'a Span>) -> Option<(SpanId, SpanId)> {
    let (mut sender, mut receiver) = (None, None);
    for span in spans {
        let place = match side(span)? {
            Side::Sender => &mut sender,
            Side::Receiver => &mut receiver,
        };
        if place.replace(span.id).is_some_and(|before| before != span.id) {
            return None;
        }
    }
    sender.zip(receiver)
}

/// The edge from `receiver` to its `sender`, as a link.
pub(crate) fn link(receiver: &Span, sender: &Span) -> Link {
    let relation = match receiver.kind {
        SpanKind::Consumer => Relation::Follows,
        _ => Relation::Child,
    };
    Link {
        child: receiver.id,
        parent: Some(sender.id),
        child_start: receiver.start,
        method: Method::Connection,
        relation,
        confidence: receiver.exchange.confidence.min(sender.exchange.confidence),
        algorithm: "exchange".into(),
        candidates: 1,
        generation: 0,
        is_final: true,
    }
}
