//! OTLP in: what SDKs and collectors report by the OpenTelemetry protocol 1.x, over HTTP (`POST
//! /v1/traces`, protobuf or JSON) and gRPC (`TraceService/Export`), each plain or with gzip. What cannot
//! be taken now is refused with the time after which to try again; nothing of it is kept then.

mod grpc;
mod http;
mod sighting;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use deeptrace_export::otlp::reported;
use deeptrace_store::{Batch, Store};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;

use crate::pipeline::Ingest;
use sighting::Sighting;

/// Bytes of one report, unpacked.
const REPORT_MAX: usize = 16 << 20;
/// When to try again while the store refuses or the queue is full.
const RETRY: Duration = Duration::from_secs(2);

/// Where reports come in. Cloned, it is the same.
#[derive(Clone)]
pub struct Otlp(Arc<Shared>);

struct Shared {
    ingest: Ingest,
    pace: Pace,
    sighting: Sighting,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    reports: AtomicU64,
    spans: AtomicU64,
    rejected: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
}

/// What was not valid in a report that was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Partial {
    rejected: u64,
    reason: &'static str,
}

impl Partial {
    /// As the protocol says it, in either encoding.
    fn answer(self) -> ExportTraceServiceResponse {
        let partial_success = (self.rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(self.rejected).unwrap_or(i64::MAX),
            error_message: self.reason.to_owned(),
        });
        ExportTraceServiceResponse { partial_success }
    }
}

/// Why a report is not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    reason: &'static str,
    /// Whether the caller sends too much; else we cannot keep up.
    is_rate: bool,
    retry_after: Duration,
}

impl Otlp {
    /// Takes at most `spans_per_second` into `ingest`, and looks in `store` for what was seen of them.
    /// Starts the thread that looks.
    pub fn start(
        ingest: Ingest,
        store: Arc<dyn Store>,
        spans_per_second: u32,
    ) -> std::io::Result<Self> {
        let sighting = Sighting::start(ingest.clone(), store)?;
        let (pace, counts) = (Pace::new(spans_per_second), Counts::default());
        Ok(Self(Arc::new(Shared { ingest, pace, sighting, counts })))
    }

    /// `POST /v1/traces`, and `TraceService/Export` of gRPC.
    pub fn routes(self) -> Router {
        http::routes(self.clone()).merge(grpc::routes(self))
    }

    /// What was counted since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let counts = &self.0.counts;
        out("otlp_reports_total", counts.reports.load(Relaxed));
        out("otlp_spans_total", counts.spans.load(Relaxed));
        out("otlp_rejected_spans_total", counts.rejected.load(Relaxed));
        out("otlp_refused_spans_total", counts.refused.load(Relaxed));
        out("otlp_malformed_reports_total", counts.malformed.load(Relaxed));
        self.0.sighting.counters(out);
    }

    fn malformed(&self) {
        self.0.counts.malformed.fetch_add(1, Relaxed);
    }

    /// Takes all of a report that is valid, or nothing.
    fn take(&self, resources: Vec<ResourceSpans>) -> Result<Partial, Refused> {
        let Shared { ingest, pace, sighting, counts } = &*self.0;
        counts.reports.fetch_add(1, Relaxed);
        let reported = reported(resources);
        let count = reported.spans.len() as u64;
        let refused = |reason, is_rate, retry_after| {
            counts.refused.fetch_add(count, Relaxed);
            Err(Refused { reason, is_rate, retry_after })
        };
        if let Err(wait) = pace.take(count, Instant::now()) {
            return refused("more spans than server.otlp.spans_per_second", true, wait);
        }
        let unseen = sighting.wanted(&reported.spans);
        let batch = Batch { spans: reported.spans, links: reported.links, gaps: Vec::new() };
        if ingest.offer(batch).is_err() {
            return refused("the store does not take spans fast enough", false, RETRY);
        }
        sighting.look_for(unseen);
        counts.spans.fetch_add(count, Relaxed);
        counts.rejected.fetch_add(reported.rejected, Relaxed);
        Ok(Partial { rejected: reported.rejected, reason: reported.reason })
    }
}

/// So many a second, with a second's worth at once. What is taken may exceed that; the next waits longer
/// then, so that no report is too large to be ever taken.
struct Pace {
    per_second: f64,
    /// What may be taken, and since when.
    state: Mutex<(f64, Instant)>,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, state: Mutex::new((per_second, Instant::now())) }
    }

    fn take(&self, count: u64, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, since) = *state;
        let gained = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
        let left = (left + gained).min(self.per_second);
        if count > 0 && left <= 0.0 {
            *state = (left, now);
            return Err(Duration::from_secs_f64((1.0 - left) / self.per_second));
        }
        *state = (left - count as f64, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_lets_large_ones_pass_and_makes_the_next_wait() {
        let (pace, begun) = (Pace::new(100), Instant::now());
        assert_eq!(pace.take(300, begun), Ok(()));
        let wait = pace.take(1, begun).unwrap_err();
        assert!((2.0..2.1).contains(&wait.as_secs_f64()), "{wait:?}");
        assert_eq!(pace.take(0, begun), Ok(()));
        assert_eq!(pace.take(1, begun + wait), Ok(()));
    }
}
