//! Clocks: how far the clocks of a trace's hosts are apart, for display; joins never need it.
//!
//! As NTP does it (RFC 5905 §8): what a host receives it receives after it was sent, and what it answers
//! arrives after that, so each exchange between two hosts bounds the difference of their clocks from both
//! sides. All exchanges of the trace between the same two hosts bound it together.
//!
//! A difference of zero that all bounds allow is taken to be zero: nothing is moved without a reason. Where
//! bounds contradict each other, a clock was set meanwhile, and the tightest exchange counts.

use std::collections::BTreeMap;

use deeptrace_model::{Span, SpanId, Text, Trace, TraceSpan, Value};

use crate::join::{Side, side};

/// Stamps are taken at the end of calls, so that an answer may seem to be sent this much after it came.
const SLACK: i64 = 1_000_000;

/// A clock that differs from that of the trace's first span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// `host.name`.
    pub host: Text,
    /// Nanoseconds by which it is ahead; negative where it is behind.
    pub ahead: i64,
    /// The true difference is at most this many nanoseconds less or more.
    pub uncertainty: u64,
    /// Exchanges with hosts nearer to the root that say so.
    pub exchanges: usize,
}

/// The clocks of a trace's hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clocks(Vec<Clock>);

/// What the exchanges between two hosts allow, as nanoseconds by which the callee's clock is ahead.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    least: i64,
    most: i64,
    /// The tightest exchange.
    tightest: (i64, i64),
    exchanges: usize,
}

impl Clocks {
    /// Those of a trace, as its exchanges show them.
    pub fn of(trace: &Trace) -> Self {
        let Some(root) = trace.spans.first() else { return Self::default() };
        if trace.spans.iter().all(|it| host(&it.span) == host(&root.span)) {
            // Most traces that are listed; nothing is to be compared.
            return Self::default();
        }
        let mut known = BTreeMap::from([(host(&root.span), (0i64, 0u64, 0usize))]);
        let mut pairs = pairs(&trace.spans);
        // From the root outwards; of several ways the surest.
        while let Some((host, found, pair)) = nearest(&pairs, &known) {
            pairs.remove(&pair);
            known.insert(host, found);
        }
        let differs = known.into_iter().filter(|(_, (ahead, ..))| *ahead != 0);
        let clock = |(host, (ahead, uncertainty, exchanges)): (&str, _)| Clock {
            host: host.into(),
            ahead,
            uncertainty,
            exchanges,
        };
        Self(differs.map(clock).collect())
    }

    /// Those that differ, by name of the host.
    pub fn differing(&self) -> &[Clock] {
        &self.0
    }

    /// Start and end of a span on the clock of the trace's first span, nanoseconds since the Unix epoch.
    pub fn stamps(&self, span: &Span) -> (u64, u64) {
        let own = self.0.iter().find(|it| it.host.as_str() == host(span));
        let behind = own.map_or(0, |clock| clock.ahead.saturating_neg());
        let at = |time: u64| time.saturating_add_signed(behind);
        (at(span.start.0), at(span.end.0))
    }
}

type Pair<'a> = (&'a str, &'a str);

/// Bounds by caller's and callee's host.
fn pairs(spans: &[TraceSpan]) -> BTreeMap<Pair<'_>, Bounds> {
    let by_id: BTreeMap<SpanId, &Span> = spans.iter().map(|it| (it.span.id, &*it.span)).collect();
    let mut pairs: BTreeMap<Pair<'_>, Bounds> = BTreeMap::new();
    for TraceSpan { span: callee, parent, .. } in spans {
        let Some(caller) = parent.and_then(|id| by_id.get(&id).copied()) else { continue };
        let are_sides = side(caller) == Some(Side::Sender) && side(callee) == Some(Side::Receiver);
        // Without an answer on both sides there is no upper bound, or no lower one.
        let is_whole =
            caller.exchange.key().is_some() && caller.exchange.key() == callee.exchange.key();
        let names = (host(caller), host(callee));
        if are_sides && is_whole && names.0 != names.1 {
            let bounds = Bounds::of(caller, callee);
            pairs.entry(names).and_modify(|all| all.narrow(bounds)).or_insert(bounds);
        }
    }
    pairs
}

/// Of the hosts that are one exchange away from a known one the one whose clock is known best.
fn nearest<'a>(
    pairs: &BTreeMap<Pair<'a>, Bounds>,
    known: &BTreeMap<&'a str, (i64, u64, usize)>,
) -> Option<(&'a str, (i64, u64, usize), Pair<'a>)> {
    let found = pairs.iter().filter_map(|(pair, bounds)| {
        let (ahead, uncertainty) = bounds.ahead();
        let (from, to, ahead) = match (known.get(pair.0), known.get(pair.1)) {
            (Some(from), None) => (from, pair.1, ahead),
            (None, Some(from)) => (from, pair.0, -ahead),
            _ => return None,
        };
        let clock = (from.0.saturating_add(ahead), from.1.saturating_add(uncertainty));
        Some((to, (clock.0, clock.1, bounds.exchanges), *pair))
    });
    found.min_by_key(|(_, (_, uncertainty, _), _)| *uncertainty)
}

impl Bounds {
    fn of(caller: &Span, callee: &Span) -> Self {
        let ahead = |of: u64, than: u64| {
            let difference = i128::from(of) - i128::from(than);
            // Further apart than anybody joins.
            difference.clamp(i128::from(i64::MIN / 4), i128::from(i64::MAX / 4)) as i64
        };
        let most = ahead(callee.start.0, caller.start.0) + SLACK;
        let least = ahead(callee.end.0, caller.end.0) - SLACK;
        Self { least, most, tightest: (least, most), exchanges: 1 }
    }

    fn narrow(&mut self, other: Self) {
        self.least = self.least.max(other.least);
        self.most = self.most.min(other.most);
        let width = |(least, most): (i64, i64)| most.saturating_sub(least);
        if width(other.tightest) < width(self.tightest) {
            self.tightest = other.tightest;
        }
        self.exchanges += other.exchanges;
    }

    /// The difference, and how far it may be off.
    fn ahead(&self) -> (i64, u64) {
        let agree = self.least <= self.most;
        let (least, most) = if agree { (self.least, self.most) } else { self.tightest };
        let uncertainty = (most - least).unsigned_abs().div_ceil(2);
        if least <= 0 && 0 <= most {
            (0, uncertainty)
        } else {
            (least + (most - least) / 2, uncertainty)
        }
    }
}

fn host(span: &Span) -> &str {
    span.attributes.get("host.name").and_then(Value::as_text).unwrap_or_default()
}
