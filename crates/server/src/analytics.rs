//! Statistics of services and operations. Counts are of everything stored; percentiles are exact
//! over the newest spans of the time asked for, at most [`SAMPLE_MAX`], and each row says how many.

mod critical_path;
mod errors;
mod latency;
mod period;
pub(crate) mod routes;
mod tally;
mod topology;

use std::collections::BTreeMap;

use deeptrace_http::ApiError;
use deeptrace_model::{SpanKind, WallTime};
use deeptrace_store::{Filter, Store, Window};
use serde::{Deserialize, Serialize};

use crate::answers::{failed, window};

pub use critical_path::{CriticalPathQuery, Waited, Waits, critical_path};
pub(crate) use errors::GroupKey;
pub use errors::{Errors, ErrorsQuery, Group, errors};
pub use latency::{Latencies, LatencyQuery, Point, Series, latency};
pub use period::Period;
pub use tally::Sums;
pub use topology::{Edge, Node, Topology, topology};

/// Spans from which percentiles are taken.
const SAMPLE_MAX: usize = 10_000;

/// The query of all that need no more. The window of services and operations is open where a time is
/// left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Only this service.
    pub service: String,
    /// Since when.
    pub start: String,
    /// Until when.
    pub end: String,
}

/// `GET /analytics/services`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// By name.
    pub services: Vec<Service>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `service.name`.
    pub name: String,
    /// Its spans.
    pub span_count: u64,
    /// Requests that it answered with an error.
    pub error_count: u64,
    /// Durations of the requests that it served; of its calls where it serves none.
    #[serde(flatten)]
    pub latency: Latency,
}

/// `GET /analytics/operations`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operations {
    /// By service, name and kind.
    pub operations: Vec<Operation>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// `service.name`.
    pub service: String,
    /// Name of its spans.
    pub name: String,
    /// Kind of its spans.
    pub kind: SpanKind,
    /// Protocol of its newest span; absent where that was not looked at.
    pub protocol: Option<String>,
    /// Its spans.
    pub span_count: u64,
    /// Those with status error.
    pub error_count: u64,
    /// Their durations.
    #[serde(flatten)]
    pub latency: Latency,
}

/// Percentiles, nanoseconds; absent where nothing was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took at most this long.
    pub p50_ns: Option<u64>,
    /// 95 % of them.
    pub p95_ns: Option<u64>,
    /// 99 % of them.
    pub p99_ns: Option<u64>,
    /// How many were looked at.
    pub sampled: usize,
}

impl Latency {
    /// Nearest rank: the smallest value that at least that share does not exceed.
    fn of(mut durations: Vec<u64>) -> Self {
        durations.sort_unstable();
        let rank = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100);
            durations.get(rank.saturating_sub(1)).copied()
        };
        Self { p50_ns: rank(50), p95_ns: rank(95), p99_ns: rank(99), sampled: durations.len() }
    }
}

/// Durations of the sampled spans of one operation, and its protocol.
#[derive(Default)]
struct Sampled {
    durations: Vec<u64>,
    protocol: Option<String>,
}

/// Operations by service, name, and kind as a number that orders it.
type Sample = BTreeMap<(String, String, u8), Sampled>;

fn sample(store: &dyn Store, window: Window, service: &str) -> Result<Sample, ApiError> {
    let mut filter = Filter::in_window(window);
    filter.service = (!service.is_empty()).then(|| service.to_owned());
    let page = store.scan(&filter, None, SAMPLE_MAX).map_err(failed)?;
    let mut sample = Sample::new();
    for span in page.spans {
        let key = (span.service.to_string(), span.name.to_string(), span.kind as u8);
        let row = sample.entry(key).or_default();
        row.durations.push(span.end.since(span.start).0);
        row.protocol.get_or_insert_with(|| span.protocol.clone().into_owned());
    }
    Ok(sample)
}

/// `GET /analytics/operations`.
pub fn operations(store: &dyn Store, query: &Query, now: WallTime) -> Result<Operations, ApiError> {
    let window = window(&query.start, &query.end, now)?;
    let service = (!query.service.is_empty()).then_some(query.service.as_str());
    let found = store.operations(window, service).map_err(failed)?;
    let mut sample = sample(store, window, &query.service)?;
    let operations = found.into_iter().map(|operation| {
        let key = (operation.service.clone(), operation.name.clone(), operation.kind as u8);
        let sampled = sample.remove(&key).unwrap_or_default();
        Operation {
            service: operation.service,
            name: operation.name,
            kind: operation.kind,
            protocol: sampled.protocol,
            span_count: operation.spans,
            error_count: operation.errors,
            latency: Latency::of(sampled.durations),
        }
    });
    Ok(Operations { operations: operations.collect() })
}

/// `GET /analytics/services`.
pub fn services(store: &dyn Store, query: &Query, now: WallTime) -> Result<Services, ApiError> {
    let window = window(&query.start, &query.end, now)?;
    let found = deeptrace_query::services(store, window).map_err(failed)?;
    let sample = sample(store, window, &query.service)?;
    let mut served: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut called: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for ((service, _, kind), sampled) in &sample {
        let side = if *kind == SpanKind::Server as u8 { &mut served } else { &mut called };
        side.entry(service).or_default().extend(&sampled.durations);
    }
    let services = found
        .into_iter()
        .filter(|service| query.service.is_empty() || service.name == query.service)
        .map(|service| {
            let name = service.name.as_str();
            let durations = served.remove(name).or_else(|| called.remove(name)).unwrap_or_default();
            Service {
                span_count: service.spans,
                error_count: service.errors,
                latency: Latency::of(durations),
                name: service.name,
            }
        });
    Ok(Services { services: services.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred = Latency::of((1..=100).rev().collect());
        assert_eq!(
            (hundred.p50_ns, hundred.p95_ns, hundred.p99_ns),
            (Some(50), Some(95), Some(99))
        );
        let one = Latency::of(vec![7]);
        assert_eq!((one.p50_ns, one.p99_ns, one.sampled), (Some(7), Some(7), 1));
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
