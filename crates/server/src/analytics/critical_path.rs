//! `GET /analytics/critical-path`: which operations the newest traces waited for. A path needs whole traces,
//! so it is of a sample, and the answer says of how many.

use deeptrace_http::ApiError;
use deeptrace_model::{SpanKind, Trace, WallTime};
use deeptrace_query::{CriticalPaths, Limits, walk};
use deeptrace_store::{Filter, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::{Period, tally::share};
use crate::answers::{Search, failed, limit};

/// Traces of a sample, at most.
const TRACES_MAX: usize = 1_000;
/// Operations of an answer, at most; those that were longest on a path.
const OPERATIONS_MAX: usize = 1_000;

/// The query; the last hour where no time is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CriticalPathQuery {
    /// Traces with a span of this service.
    pub service: String,
    /// Of this name.
    pub operation: String,
    /// That took at least this long, e.g. `100ms`.
    pub min_duration: String,
    /// Only traces with such a span that is an error.
    pub errors: bool,
    /// Since when.
    pub start: String,
    /// Until when.
    pub end: String,
    /// Traces at most, the newest; 100 where it is left out.
    pub limit: Option<usize>,
}

/// What traces waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// What was asked about.
    #[serde(flatten)]
    pub period: Period,
    /// Traces that were looked at, the newest.
    pub trace_count: u64,
    /// Sum of the lengths of their paths.
    pub total_ns: u64,
    /// Those first that were longest on a path.
    pub operations: Vec<Waited>,
    /// Whether there are more traces than were looked at.
    pub is_cut: bool,
}

/// An operation on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waited {
    /// `service.name`.
    pub service: String,
    /// Name of the spans.
    pub operation: String,
    /// Their kind.
    pub kind: SpanKind,
    /// Traces on whose path it is.
    pub trace_count: u64,
    /// Its spans in all the traces.
    pub span_count: u64,
    /// How long it was on a path.
    pub critical_ns: u64,
    /// Share of all paths, 0 to 1.
    pub critical_share: f64,
    /// How long it worked while no child that it waited for did, on a path or not.
    pub self_ns: u64,
}

/// Answers.
pub fn critical_path(
    store: &dyn Store,
    query: &CriticalPathQuery,
    limits: Limits,
    now: WallTime,
) -> Result<Waits, ApiError> {
    let period = Period::new(&query.start, &query.end, now)?;
    let limit = limit(query.limit, 100, TRACES_MAX)?;
    let search = Search {
        service: query.service.clone(),
        operation: query.operation.clone(),
        min_duration: query.min_duration.clone(),
        errors: query.errors,
        ..Search::default()
    };
    let filter = Filter { window: period.window(), ..search.filter(now)? };
    let mut paths = CriticalPaths::default();
    let mut take = |trace: &Trace| {
        paths.add(trace);
        Ok::<bool, StoreError>(true)
    };
    let next = walk(store, &filter, None, limit, limits, &mut take).map_err(failed)?;
    let (trace_count, total) = (paths.traces, paths.total.0);
    let operations = paths.rows().into_iter().take(OPERATIONS_MAX).map(|row| Waited {
        service: row.service,
        operation: row.name,
        kind: row.kind,
        trace_count: row.traces,
        span_count: row.spans,
        critical_ns: row.critical.0,
        critical_share: share(row.critical.0, total),
        self_ns: row.self_time.0,
    });
    let operations = operations.collect();
    Ok(Waits { period, trace_count, total_ns: total, operations, is_cut: next.is_some() })
}
