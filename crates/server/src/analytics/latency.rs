//! `GET /analytics/latency`: percentiles over time, of services or of the operations of one. Of everything
//! stored, from the store's sums; no span is read.

use std::collections::BTreeMap;

use deeptrace_http::ApiError;
use deeptrace_model::{Duration, SpanKind, WallTime};
use deeptrace_store::{Step, Store, Tally};
use serde::{Deserialize, Serialize};

use super::{Period, Sums};
use crate::answers::{failed, limit};

/// Series of an answer, at most.
const SERIES_MAX: usize = 100;
/// Longer periods are told by the hour where nobody says.
const BY_MINUTE_MAX: Duration = Duration::from_secs(6 * 3600);

/// The query; the last hour where no time is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LatencyQuery {
    /// Operations of this service; of all services one series each, where it is left out.
    pub service: String,
    /// Only this operation.
    pub operation: String,
    /// Since when.
    pub start: String,
    /// Until when.
    pub end: String,
    /// `minute` or `hour`; minutes for up to six hours where it is left out.
    pub step: String,
    /// Series at most, those with the most spans; 20 where it is left out.
    pub limit: Option<usize>,
}

/// Percentiles over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// What was asked about.
    #[serde(flatten)]
    pub period: Period,
    /// Length of a step.
    pub step_ns: u64,
    /// Those with the most spans first.
    pub series: Vec<Series>,
    /// Whether there was more than is answered at once.
    pub is_cut: bool,
}

/// A service, or an operation of it, over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// `service.name`.
    pub service: String,
    /// Name of the spans; absent: all requests that the service served, or its calls if it served none.
    pub operation: Option<String>,
    /// Kind of the spans.
    pub kind: SpanKind,
    /// Over the whole period.
    #[serde(flatten)]
    pub whole: Sums,
    /// Steps in which there were any, by time.
    pub points: Vec<Point>,
}

/// A step of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it begins.
    pub start_unix_nano: u64,
    /// The spans that start in it.
    #[serde(flatten)]
    pub sums: Sums,
}

type Key = (String, Option<String>, u8);

/// Answers.
pub fn latency(
    store: &dyn Store,
    query: &LatencyQuery,
    now: WallTime,
) -> Result<Latencies, ApiError> {
    let period = Period::new(&query.start, &query.end, now)?;
    let (step, step_length) = step(&query.step, &period)?;
    let limit = limit(query.limit, 20, SERIES_MAX)?;
    let service = (!query.service.is_empty()).then_some(query.service.as_str());
    let rollups = store.rollups(period.window(), step, service).map_err(failed)?;
    let by_operation = service.is_some() || !query.operation.is_empty();
    let mut series: BTreeMap<Key, (SpanKind, Tally, BTreeMap<WallTime, Tally>)> = BTreeMap::new();
    for row in rollups.operations {
        let operation = row.operation;
        if !query.operation.is_empty() && operation.name != query.operation {
            continue;
        }
        let kind = if by_operation { operation.kind } else { side(operation.kind) };
        let name = by_operation.then(|| operation.name.to_string());
        let key = (operation.service.to_string(), name, kind as u8);
        let entry = series.entry(key).or_insert((kind, Tally::default(), BTreeMap::new()));
        entry.1.merge(&row.tally);
        entry.2.entry(row.start).or_default().merge(&row.tally);
    }
    if !by_operation {
        // A service is as slow as its answers; its calls say that only where it serves nobody.
        let serving: Vec<String> = (series.keys())
            .filter(|key| key.2 == SpanKind::Server as u8)
            .map(|key| key.0.clone())
            .collect();
        series.retain(|key, _| key.2 == SpanKind::Server as u8 || !serving.contains(&key.0));
    }
    let step_period = Period { start_unix_nano: 0, end_unix_nano: step_length.0 };
    let mut series: Vec<Series> = series
        .into_iter()
        .map(|((service, operation, _), (kind, whole, points))| Series {
            service,
            operation,
            kind,
            whole: Sums::of(&whole, &period),
            points: points
                .iter()
                .map(|(start, tally)| Point {
                    start_unix_nano: start.0,
                    sums: Sums::of(tally, &step_period),
                })
                .collect(),
        })
        .collect();
    series.sort_by_key(|series| std::cmp::Reverse(series.whole.span_count));
    let is_cut = rollups.is_cut || series.len() > limit;
    series.truncate(limit);
    Ok(Latencies { period, step_ns: step_length.0, series, is_cut })
}

fn step(text: &str, period: &Period) -> Result<(Step, Duration), ApiError> {
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    match text {
        "minute" => Ok((Step::Minute, minute)),
        "hour" => Ok((Step::Hour, hour)),
        "" if period.length() <= BY_MINUTE_MAX => Ok((Step::Minute, minute)),
        "" => Ok((Step::Hour, hour)),
        _ => Err(ApiError::invalid("step is minute or hour").with("step", text)),
    }
}

/// Whether a service served or called.
fn side(kind: SpanKind) -> SpanKind {
    match kind {
        SpanKind::Server | SpanKind::Consumer => SpanKind::Server,
        _ => SpanKind::Client,
    }
}
