//! Joining: the two sides of an exchange become a call from one service to another while they are
//! written, so that nobody has to look for the other side of every span later.
//!
//! A side waits for the other for ten seconds of the spans' own time, among a bounded number of others;
//! then it counts as a call to a peer, or from a caller, that is not watched. Two sides that come further
//! apart are counted as two calls for that reason. Where several servers write, sides are joined when somebody
//! asks, so that it does not matter who wrote them.

use std::collections::BTreeSet;

use deeptrace_bounded::{Added, Pairs};
use deeptrace_model::{Duration, Span, SpanKind, SpanStatus, Text, Value, WallTime};

use crate::{Callee, EdgeKey};

/// How long one side waits.
const WAIT: Duration = Duration::from_secs(10);
/// Sides that wait, at most; about 5 MiB.
const WAITING_MAX: usize = 32_768;

/// A call, both sides of it or the only one that was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) start: WallTime,
    pub(crate) edge: EdgeKey,
    pub(crate) duration: Duration,
    pub(crate) is_error: bool,
}

/// Sides that wait for the other.
#[derive(Default)]
pub(crate) struct Joining {
    waiting: Pairs<Side>,
    /// The latest end of a span.
    newest: WallTime,
    pub(crate) joined: u64,
    pub(crate) alone: u64,
}

struct Side {
    is_caller: bool,
    service: Text,
    protocol: Text,
    /// Where a caller's call went: address and port.
    peer: Option<(Text, Option<i64>)>,
    start: WallTime,
    end: WallTime,
    is_error: bool,
}

impl Joining {
    /// Takes a span; tells the calls of which more will not be known.
    pub(crate) fn feed(&mut self, span: &Span, out: &mut impl FnMut(Call)) {
        if span.kind == SpanKind::Internal {
            return;
        }
        let is_caller = !span.kind.is_receiver();
        if span.is_reported() {
            // It has no other side to wait for, and its times are what an application says: others must not be
            // given up because of them.
            self.alone += 1;
            return out(alone(Side::of(span, is_caller)));
        }
        let exchange = &span.exchange;
        let key = exchange.key().map_or_else(|| exchange.request_key().0, |key| key.0);
        if let Added::Pair(one, other) = self.waiting.add(key, is_caller, Side::of(span, is_caller))
        {
            self.joined += 1;
            out(joined(one, other));
        }
        self.newest = self.newest.max(span.end);
        self.tick(self.newest, out);
    }

    /// Tells the calls that have waited long enough at `now`.
    pub(crate) fn tick(&mut self, now: WallTime, out: &mut impl FnMut(Call)) {
        while let Some(oldest) = self.waiting.oldest() {
            if now.since(oldest.end) <= WAIT && self.waiting.span() <= WAITING_MAX {
                break;
            }
            if let Some(side) = self.waiting.pop() {
                self.alone += 1;
                out(alone(side));
            }
        }
    }

    /// Nothing of these services waits any more.
    pub(crate) fn forget(&mut self, services: &BTreeSet<Text>) {
        self.waiting.retain(|side| !services.contains(&side.service));
    }

    /// Tells all that wait.
    pub(crate) fn finish(&mut self, out: &mut impl FnMut(Call)) {
        self.tick(WallTime(u64::MAX), out);
    }
}

impl Side {
    fn of(span: &Span, is_caller: bool) -> Self {
        Self {
            is_caller,
            service: span.service.clone(),
            protocol: match &span.protocol {
                std::borrow::Cow::Borrowed(name) => Text::new_static(name),
                std::borrow::Cow::Owned(name) => Text::new(name),
            },
            peer: is_caller.then(|| peer(span)).flatten(),
            start: span.start,
            end: span.end,
            is_error: span.status == SpanStatus::Error,
        }
    }
}

/// Where a call went, as its attributes say.
fn peer(span: &Span) -> Option<(Text, Option<i64>)> {
    let names = [("server.address", "server.port"), ("network.peer.address", "network.peer.port")];
    names.into_iter().find_map(|(address, port)| {
        let Some(Value::Text(address)) = span.attributes.get(address) else { return None };
        Some((address.clone(), span.attributes.get(port).and_then(Value::as_int)))
    })
}

fn joined(one: Side, other: Side) -> Call {
    let (caller, callee) = if one.is_caller { (one, other) } else { (other, one) };
    Call {
        start: caller.start,
        edge: EdgeKey {
            caller: Some(caller.service),
            callee: Callee::Service(callee.service),
            protocol: caller.protocol,
        },
        duration: caller.end.since(caller.start),
        is_error: caller.is_error || callee.is_error,
    }
}

fn alone(side: Side) -> Call {
    let (caller, callee) = match side.is_caller {
        false => (None, Callee::Service(side.service)),
        true => {
            let peer = match side.peer {
                Some((address, Some(port))) => Text::from(format!("{address}:{port}")),
                Some((address, None)) => address,
                None => Text::default(),
            };
            (Some(side.service), Callee::Peer(peer))
        }
    };
    Call {
        start: side.start,
        edge: EdgeKey { caller, callee, protocol: side.protocol },
        duration: side.end.since(side.start),
        is_error: side.is_error,
    }
}
