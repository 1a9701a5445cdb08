//! Joining: the two sides of an exchange become a call from one service to another while they are
//! written, so that nobody has to look for the other side of every span later.
//!
//! A side waits for the other for ten seconds of the spans' own time, among a bounded number of others;
//! then it counts as a call to a peer, or from a caller, that is not watched. Two sides that come further
//! apart are counted as two calls for that reason. Where several servers write, sides are joined when somebody
//! asks, so that it does not matter who wrote them.

use std::collections::BTreeSet;

use deeptrace_bounded::{Added, Numbered, Pairs};
use deeptrace_model::{Duration, Span, SpanKind, SpanStatus, Text, Value, WallTime};

use crate::{Callee, EdgeKey};

/// How long one side waits.
const WAIT: Duration = Duration::from_secs(10);
/// Sides that wait, at most; about 2 MiB.
const WAITING_MAX: usize = 32_768;
/// Kinds of them, at most. Beyond, all that wait are told, and their kinds forgotten.
const WHO_MAX: usize = 4_096;

/// A call, both sides of it or the only one that was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) start: WallTime,
    pub(crate) edge: EdgeKey,
    pub(crate) duration: Duration,
    pub(crate) is_error: bool,
}

/// Sides that wait for the other.
pub(crate) struct Joining {
    waiting: Pairs<Side>,
    who: Numbered<Who>,
    /// The latest end of a span.
    newest: WallTime,
    pub(crate) joined: u64,
    pub(crate) alone: u64,
}

/// What many sides share.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Who {
    is_caller: bool,
    service: Text,
    protocol: Text,
    /// Where a caller's call went: address and port.
    peer: Option<(Text, Option<i64>)>,
}

/// What is its own.
struct Side {
    /// Number in [`Joining::who`].
    who: u32,
    is_error: bool,
    start: WallTime,
    end: WallTime,
}

impl Default for Joining {
    fn default() -> Self {
        let (waiting, who) = (Pairs::default(), Numbered::new(WHO_MAX));
        Self { waiting, who, newest: WallTime(0), joined: 0, alone: 0 }
    }
}

impl Joining {
    /// Takes a span; tells the calls of which more will not be known.
    pub(crate) fn feed(&mut self, span: &Span, out: &mut impl FnMut(Call)) {
        if span.kind == SpanKind::Internal {
            return;
        }
        let is_caller = !span.kind.is_receiver();
        let who = Who::of(span, is_caller);
        if span.is_reported() {
            // It has no other side to wait for, and its times are what an application says: others must not be
            // given up because of them.
            self.alone += 1;
            return out(who.alone(span.start, span.end, span.status == SpanStatus::Error));
        }
        let who = match self.who.number(who) {
            Ok(number) => number,
            Err(who) => {
                self.finish(out);
                self.who.clear();
                // There is room for it now.
                self.who.number(who).unwrap_or_default()
            }
        };
        let is_error = span.status == SpanStatus::Error;
        let side = Side { who, is_error, start: span.start, end: span.end };
        let key = span.exchange.key_or_request();
        if let Added::Pair(one, other) = self.waiting.add(key, is_caller, side) {
            let (caller, callee) = if is_caller { (other, one) } else { (one, other) };
            self.joined += 1;
            if let (Some(from), Some(to)) = (self.who.get(caller.who), self.who.get(callee.who)) {
                out(Call {
                    start: caller.start,
                    edge: EdgeKey {
                        caller: Some(from.service.clone()),
                        callee: Callee::Service(to.service.clone()),
                        protocol: from.protocol.clone(),
                    },
                    duration: caller.end.since(caller.start),
                    is_error: caller.is_error || callee.is_error,
                });
            }
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
            let Some(side) = self.waiting.pop() else { return };
            self.alone += 1;
            if let Some(who) = self.who.get(side.who) {
                out(who.alone(side.start, side.end, side.is_error));
            }
        }
    }

    /// Nothing of these services waits any more.
    pub(crate) fn forget(&mut self, services: &BTreeSet<Text>) {
        let who = &self.who;
        let is_gone = |who: &Who| services.contains(&who.service);
        self.waiting.retain(|side| !who.get(side.who).is_some_and(is_gone));
        if self.waiting.is_empty() {
            self.who.clear();
        }
    }

    /// Tells all that wait.
    pub(crate) fn finish(&mut self, out: &mut impl FnMut(Call)) {
        self.tick(WallTime(u64::MAX), out);
    }
}

impl Who {
    fn of(span: &Span, is_caller: bool) -> Self {
        let protocol = match &span.protocol {
            std::borrow::Cow::Borrowed(name) => Text::new_static(name),
            std::borrow::Cow::Owned(name) => Text::new(name),
        };
        let peer = is_caller.then(|| peer(span)).flatten();
        Self { is_caller, service: span.service.clone(), protocol, peer }
    }

    /// The call of a side that stayed alone.
    fn alone(&self, start: WallTime, end: WallTime, is_error: bool) -> Call {
        let service = self.service.clone();
        let (caller, callee) = match self.is_caller {
            false => (None, Callee::Service(service)),
            true => {
                let peer = match &self.peer {
                    Some((address, Some(port))) => Text::from(format!("{address}:{port}")),
                    Some((address, None)) => address.clone(),
                    None => Text::default(),
                };
                (Some(service), Callee::Peer(peer))
            }
        };
        let edge = EdgeKey { caller, callee, protocol: self.protocol.clone() };
        Call { start, edge, duration: end.since(start), is_error }
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
