//! Lookup: a key and the time in which to look for it.

use deeptrace_model::{Duration, ExchangeKey, Link, RequestKey, Span, SpanId, TraceId, WallTime};

/// From one moment to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Since when.
    pub from: WallTime,
    /// Until when.
    pub to: WallTime,
}

impl Window {
    /// All time. A lookup in it may have to ask every batch of the store.
    pub const ALL: Self = Self { from: WallTime(0), to: WallTime(u64::MAX) };

    /// From `slack` before `span` starts until `slack` after it ends.
    pub fn around(span: &Span, slack: Duration) -> Self {
        Self { from: span.start.minus(slack), to: span.end.plus(slack) }
    }

    /// From the earlier beginning to the later end.
    pub fn union(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    /// Whether it shares a moment with `from..=to`.
    pub fn overlaps(&self, from: WallTime, to: WallTime) -> bool {
        self.from <= to && from <= self.to
    }

    /// Whether `time` is in it.
    pub fn contains(&self, time: WallTime) -> bool {
        self.from <= time && time <= self.to
    }
}

/// By what a span is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanKey {
    /// Its own id.
    Id(SpanId),
    /// What both sides of its exchange see alike.
    Exchange(ExchangeKey),
    /// The same without the response.
    Request(RequestKey),
    /// The trace id that the application put into its request.
    Application(TraceId),
}

impl SpanKey {
    /// All keys of `span`.
    pub fn all_of(span: &Span) -> impl Iterator<Item = Self> {
        let request = Self::Request(span.exchange.request_key());
        let exchange = span.exchange.key().map(Self::Exchange);
        let application = span.trace_context.map(|context| Self::Application(context.trace));
        [Some(Self::Id(span.id)), Some(request), exchange, application].into_iter().flatten()
    }

    /// Whether `span` has this key.
    pub fn matches(&self, span: &Span) -> bool {
        match *self {
            Self::Id(id) => span.id == id,
            Self::Exchange(key) => span.exchange.key() == Some(key),
            Self::Request(key) => span.exchange.request_key() == key,
            Self::Application(trace) => {
                span.trace_context.is_some_and(|context| { context.trace } == trace)
            }
        }
    }
}

/// Looks for spans with `key` whose time, start to end, overlaps `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLookup {
    /// What they have.
    pub key: SpanKey,
    /// When they were.
    pub window: Window,
}

/// By what a link is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkKey {
    /// The caused span.
    Child(SpanId),
    /// The causing span.
    Parent(SpanId),
}

impl LinkKey {
    /// Whether `link` has this key.
    pub fn matches(&self, link: &Link) -> bool {
        match *self {
            Self::Child(id) => link.child == id,
            Self::Parent(id) => link.parent == Some(id),
        }
    }
}

/// Looks for links with `key` whose child starts in `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkLookup {
    /// What they have.
    pub key: LinkKey,
    /// When their child starts.
    pub window: Window,
}

/// Keys that are wanted, each in a window, to be searched.
pub(crate) struct Wanted<K>(Vec<(K, Window)>);

impl<K: Ord + Copy> Wanted<K> {
    pub(crate) fn new(keys: impl Iterator<Item = (K, Window)>) -> Self {
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        Self(keys)
    }

    /// Whether `key` is wanted in a window that is right for `fits`.
    pub(crate) fn any(&self, key: K, fits: impl Fn(Window) -> bool) -> bool {
        let from = self.0.partition_point(|(wanted, _)| *wanted < key);
        self.0[from..].iter().take_while(|(wanted, _)| *wanted == key).any(|(_, it)| fits(*it))
    }
}

impl Wanted<SpanKey> {
    pub(crate) fn has_span(&self, span: &Span) -> bool {
        let fits = |window: Window| window.overlaps(span.start, span.end);
        SpanKey::all_of(span).any(|key| self.any(key, fits))
    }
}

impl Wanted<LinkKey> {
    pub(crate) fn has_link(&self, link: &Link) -> bool {
        let fits = |window: Window| window.contains(link.child_start);
        self.any(LinkKey::Child(link.child), fits)
            || link.parent.is_some_and(|parent| self.any(LinkKey::Parent(parent), fits))
    }
}
