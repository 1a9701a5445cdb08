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

/// How far apart the two sides may be: more than clocks differ and transfers take.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// Which side of an exchange a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Sender,
    Receiver,
}

/// The side of `span`; `None` inside a process.
pub(crate) fn side(span: &Span) -> Option<Side> {
    match span.kind {
        SpanKind::Client | SpanKind::Producer => Some(Side::Sender),
        SpanKind::Server | SpanKind::Consumer => Some(Side::Receiver),
        SpanKind::Internal => None,
    }
}

/// What must be known to find the other side of `span`.
pub(crate) fn lookups(span: &Span) -> impl Iterator<Item = SpanLookup> {
    let window = Window::around(span, WITHIN);
    let exchange = span.exchange.key().map(SpanKey::Exchange);
    let request = SpanKey::Request(span.exchange.request_key());
    let keys = side(span).map(|_| exchange.into_iter().chain([request]));
    keys.into_iter().flatten().map(move |key| SpanLookup { key, window })
}

/// Spans by id, and by what the other side of their exchange sees alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    spans: BTreeMap<SpanId, Arc<Span>>,
    by_exchange: BTreeMap<ExchangeKey, Vec<SpanId>>,
    by_request: BTreeMap<RequestKey, Vec<SpanId>>,
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
    pub(crate) fn spans(&self) -> impl Iterator<Item = &Arc<Span>> {
        self.spans.values()
    }

    /// The other side of `span`, once all is here that its [`lookups`] found.
    pub(crate) fn partner(&self, span: &Span) -> Option<SpanId> {
        side(span)?;
        let near = |id: &SpanId| {
            let other = self.spans.get(id)?.as_ref();
            let is_near = Window::around(span, WITHIN).overlaps(other.start, other.end);
            (is_near && side(other).is_some()).then_some(other)
        };
        let exchange = span.exchange.key().and_then(|key| self.by_exchange.get(&key));
        let same = exchange.into_iter().flatten().filter_map(near);
        if let Some(pair) = pair(same) {
            return other_of(pair, span.id);
        }
        // Where one side saw no answer only the request is alike. Those that are joined by the
        // whole exchange are out of the question.
        let requests = self.by_request.get(&span.exchange.request_key());
        let requests: Vec<&Span> = requests.into_iter().flatten().filter_map(near).collect();
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
