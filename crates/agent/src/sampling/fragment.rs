//! Fragment: what this host has of one trace, as far as its parts were found to belong together.

use deeptrace_model::{
    BootTime, ConnectionId, ExchangeKind, Link, Span, SpanId, SpanKind, TraceContext, WallTime,
    hash64,
};
use rustc_hash::FxHashMap;

/// A part of a trace on this host.
#[derive(Debug)]
pub(super) struct Fragment {
    /// Tells it from others that had its place before.
    pub number: u64,
    /// All that leads to it.
    pub keys: Vec<u64>,
    /// So many of them were looked up among what was dropped.
    pub checked: usize,
    /// Places of the spans that wait.
    pub spans: Vec<usize>,
    /// Links of them that wait.
    pub links: Vec<Link>,
    /// Its spans without a parent on this host.
    pub entries: Vec<Entry>,
    /// Keys by which other hosts know it, not published yet.
    pub doors: Vec<u64>,
    pub is_kept: bool,
    /// Whether only others can still keep it.
    pub is_refused: bool,
    /// When it began, and when something was last added.
    pub first: BootTime,
    pub last: BootTime,
    /// When it is looked at next.
    pub due: BootTime,
}

/// A span without a parent on this host: where the trace entered it, or began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub id: SpanId,
    pub keys: [u64; 2],
    /// Whether its caller may be on another host.
    pub is_receiver: bool,
    /// Its socket.
    pub connection: ConnectionId,
    /// Of a call: whether it is known that no request made it.
    pub is_root: bool,
    /// Whether another agent was heard to see its caller.
    pub is_claimed: bool,
    /// Whether the trace is kept if this is where it began.
    pub is_drawn: bool,
    pub start: WallTime,
    pub arrived: BootTime,
}

/// What a span has in common with others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub id: u64,
    /// Of its exchange: whole, and its request. Twice the same where it was not answered; zero where the other
    /// side cannot have it.
    pub exchange: [u64; 2],
    /// Whether the other side may be on another host.
    pub is_remote: bool,
    /// Of the application's own trace id; zero: none.
    pub trace: u64,
}

/// Hashed with what is no exchange, so that the kinds never meet.
const TRACE: u64 = 0x7472_6163_6569_6400;
const CLAIM: u64 = 0x636c_6169_6d65_6400;

/// What is published of a call that is seen on the side of its caller: whoever sees the other side learns that the
/// verdict does not begin there.
pub(super) fn claim(key: u64) -> u64 {
    hash64(&[CLAIM, key])
}

impl Names {
    pub(super) fn of(span: &Span) -> Self {
        let exchange = &span.exchange;
        let is_known = exchange.confidence > 0.0 && span.kind != SpanKind::Internal;
        let request = exchange.request_key().0;
        let whole = exchange.key().map_or(request, |key| key.0);
        Self {
            id: span.id.0,
            exchange: if is_known { [whole, request] } else { [0; 2] },
            is_remote: is_known && exchange.kind != ExchangeKind::Unix,
            trace: span.trace_context.map_or(0, trace),
        }
    }

    /// All that lead to the span.
    pub(super) fn all(&self) -> impl Iterator<Item = u64> {
        let [whole, request] = self.exchange;
        let request = if request == whole { 0 } else { request };
        [self.id, whole, request, self.trace].into_iter().filter(|key| *key != 0)
    }
}

fn trace(context: TraceContext) -> u64 {
    let id = context.trace.0;
    if id == 0 { 0 } else { hash64(&[TRACE, (id >> 64) as u64, id as u64]) }
}

impl Fragment {
    pub(super) fn new(number: u64, now: BootTime) -> Self {
        Self {
            number,
            keys: Vec::new(),
            checked: 0,
            spans: Vec::new(),
            links: Vec::new(),
            entries: Vec::new(),
            doors: Vec::new(),
            is_kept: false,
            is_refused: false,
            first: now,
            last: now,
            due: BootTime(u64::MAX),
        }
    }

    /// Takes all that `other` has.
    pub(super) fn absorb(&mut self, other: Self) {
        // Of two that were kept all was looked up; else it is done again for both.
        self.checked = if self.is_kept { self.checked } else { 0 };
        self.keys.extend(other.keys);
        self.spans.extend(other.spans);
        self.links.extend(other.links);
        self.entries.extend(other.entries);
        self.doors.extend(other.doors);
        self.is_kept |= other.is_kept;
        self.is_refused &= other.is_refused;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }

    /// Where the trace came to this host first.
    pub(super) fn entry(&self) -> Option<&Entry> {
        self.entries.iter().min_by_key(|entry| (entry.start, entry.id))
    }

    /// The entry at this span, if it is one.
    pub(super) fn entry_of(&mut self, id: SpanId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// `id` has a parent on this host.
    pub(super) fn has_parent(&mut self, id: SpanId) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// Keys of the parents that its links name, some of which may be still to come.
    pub(super) fn parents(&self) -> Vec<u64> {
        let mut best: FxHashMap<SpanId, &Link> = FxHashMap::default();
        for link in &self.links {
            let known = best.entry(link.child).or_insert(link);
            if link.beats(known) {
                *known = link;
            }
        }
        best.into_values().filter_map(|link| Some(link.parent?.0)).collect()
    }

    /// Both sides of an exchange are on this host.
    pub(super) fn joined(&mut self, exchange: [u64; 2]) {
        self.entries.retain(|entry| {
            !(entry.is_receiver && entry.keys.iter().any(|key| exchange.contains(key)))
        });
        self.doors.retain(|door| !exchange.contains(door));
    }
}
