//! Rollup: what is known of all spans of a minute or an hour without reading them, by operation and by
//! calls between services.

use std::{cmp::Ordering, collections::BTreeMap};

use deeptrace_model::{Duration, SpanKind, Text, WallTime};
use serde::{Deserialize, Serialize};

use crate::Durations;

/// How finely time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into minutes since the epoch.
    Minute,
    /// Into hours since the epoch.
    Hour,
    /// Not at all: one sum over the window.
    Whole,
}

/// Sums over spans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Spans.
    pub spans: u64,
    /// Those with status error; of calls, those where either side says so.
    pub errors: u64,
    /// Sum of their durations.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
    /// All of them, in buckets.
    pub durations: Durations,
}

impl Tally {
    /// Counts a span in.
    pub fn add(&mut self, duration: Duration, is_error: bool) {
        self.spans = self.spans.saturating_add(1);
        self.errors = self.errors.saturating_add(is_error.into());
        self.total = Duration(self.total.0.saturating_add(duration.0));
        self.longest = self.longest.max(duration);
        self.durations.add(duration);
    }

    /// Counts all of `other` in.
    pub fn merge(&mut self, other: &Self) {
        self.spans = self.spans.saturating_add(other.spans);
        self.errors = self.errors.saturating_add(other.errors);
        self.total = Duration(self.total.0.saturating_add(other.total.0));
        self.longest = self.longest.max(other.longest);
        self.durations.merge(&other.durations);
    }

    /// See [`Durations::quantile`]; never more than the longest.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        self.durations.quantile(quantile).map(|duration| duration.min(self.longest))
    }
}

/// Spans of one operation in one step of time, in which they start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRollup {
    /// When the step begins.
    pub start: WallTime,
    /// Which operation.
    pub operation: OperationKey,
    /// Its spans.
    pub tally: Tally,
}

/// Calls from one service to another in one step of time, in which the calls start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeRollup {
    /// When the step begins.
    pub start: WallTime,
    /// From where to where.
    pub edge: EdgeKey,
    /// The calls, as the caller saw them; as the callee did where the caller is not known.
    pub tally: Tally,
}

/// An operation of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperationKey {
    /// `service.name`.
    pub service: Text,
    /// Name of its spans; [`OTHER`] for those beyond [`KEYS_MAX`].
    pub name: Text,
    /// Kind of its spans.
    pub kind: SpanKind,
}

impl Ord for OperationKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |key: &Self| key.kind as u8;
        (&self.service, &self.name, order(self)).cmp(&(&other.service, &other.name, order(other)))
    }
}

impl PartialOrd for OperationKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeKey {
    /// `service.name` of the caller; `None`: its side was not seen, the call came from outside.
    pub caller: Option<Text>,
    /// Who is called.
    pub callee: Callee,
    /// Name of the protocol, in the table of protocols.
    pub protocol: Text,
}

/// Who is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Callee {
    /// A service whose side was seen: its `service.name`.
    Service(Text),
    /// One whose side was not seen: `server.address` with its port, else the peer's address with its
    /// port; [`OTHER`] for those beyond [`KEYS_MAX`].
    Peer(Text),
}

/// The name for operations and peers of which there are too many to be told apart.
pub const OTHER: &str = "{other}";
/// Operations, and edges, that are told apart in one step of time. From then on those of one service
/// are one, and from twice as many on those of all services.
pub const KEYS_MAX: usize = 4096;

/// Sums of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollups {
    /// By start of the step, then service, name and kind.
    pub operations: Vec<OperationRollup>,
    /// By start of the step, then caller, callee and protocol.
    pub edges: Vec<EdgeRollup>,
    /// Whether there were more sums than are answered at once; then the latest are here.
    pub is_cut: bool,
}

/// Sums of one step of time, by what they are of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    pub(crate) operations: BTreeMap<OperationKey, Tally>,
    pub(crate) edges: BTreeMap<EdgeKey, Tally>,
}

impl Sums {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.operations.len() + self.edges.len()
    }

    /// The sum of an operation, or of the other ones; see [`KEYS_MAX`].
    pub(crate) fn operation(&mut self, key: OperationKey) -> &mut Tally {
        let other = || Text::new_static(OTHER);
        let of_service = |key: OperationKey| OperationKey { name: other(), ..key };
        let of_all = |key| OperationKey { service: other(), ..key };
        self.operations.entry(room(key, &self.operations, of_service, of_all)).or_default()
    }

    /// The sum of an edge, or of the other ones; see [`KEYS_MAX`].
    pub(crate) fn edge(&mut self, key: EdgeKey) -> &mut Tally {
        let other = || Text::new_static(OTHER);
        let of_service = |key: EdgeKey| EdgeKey { callee: Callee::Peer(other()), ..key };
        let of_all = |key: EdgeKey| EdgeKey {
            caller: key.caller.is_some().then(other),
            protocol: other(),
            ..key
        };
        self.edges.entry(room(key, &self.edges, of_service, of_all)).or_default()
    }

    /// Counts all of `other` in.
    pub(crate) fn merge(&mut self, other: Self) {
        for (key, tally) in other.operations {
            self.operation(key).merge(&tally);
        }
        for (key, tally) in other.edges {
            self.edge(key).merge(&tally);
        }
    }

    /// Leaves only what concerns `service`: its operations, calls from it and calls to it.
    pub(crate) fn keep(&mut self, service: &str) {
        self.operations.retain(|key, _| key.service == service);
        self.edges.retain(|key, _| {
            key.caller.as_ref().is_some_and(|caller| caller == service)
                || matches!(&key.callee, Callee::Service(callee) if callee == service)
        });
    }
}

/// The key itself while there is room for it, else a wider one.
fn room<K: Ord>(
    key: K,
    known: &BTreeMap<K, Tally>,
    of_service: impl Fn(K) -> K,
    of_all: impl Fn(K) -> K,
) -> K {
    if known.len() < KEYS_MAX || known.contains_key(&key) {
        return key;
    }
    let key = of_service(key);
    if known.len() < 2 * KEYS_MAX || known.contains_key(&key) { key } else { of_all(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_operations_and_edges_are_summed_together() {
        let mut sums = Sums::default();
        let text = |number: usize| Text::from(number.to_string());
        let all = 3 * KEYS_MAX;
        for number in 0..all {
            let (service, name) = (text(number), text(number));
            let key = OperationKey { service, name, kind: SpanKind::Server };
            sums.operation(key).add(Duration(1), false);
            let (caller, callee) = (Some(text(number)), Callee::Service(text(number)));
            let key = EdgeKey { caller, callee, protocol: "http".into() };
            sums.edge(key).add(Duration(1), true);
        }
        assert_eq!((sums.operations.len(), sums.edges.len()), (2 * KEYS_MAX + 1, 2 * KEYS_MAX + 1));
        assert_eq!(sums.operations.values().map(|it| it.spans).sum::<u64>(), all as u64);
        assert_eq!(sums.edges.values().map(|it| it.errors).sum::<u64>(), all as u64);
    }
}
