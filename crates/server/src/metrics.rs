//! `GET /metrics`: requests, errors and durations of what is traced, who calls whom, and the server's own
//! health. Counted by the thread that writes to the store, as batches are written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use deeptrace_http::{Exposition, Kind, process_metrics};
use deeptrace_store::Batch;

use crate::api::{Api, blocking};
use crate::edges::{Edges, Waiting};
use crate::red::Red;

/// What was counted of the spans that were written since the start.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    red: Red,
    edges: Edges,
    waiting: Waiting,
}

impl Metrics {
    /// Counts the spans of a batch.
    pub fn add(&self, batch: &Batch, now: Instant) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { red, edges, waiting } = &mut *inner;
        for span in &batch.spans {
            red.add(span);
            waiting.add(span, now, edges);
        }
        waiting.tick(now, edges);
    }

    /// All series as they are now.
    pub fn write(&self, out: &mut Exposition, now: Instant) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { red, edges, waiting } = &mut *inner;
        waiting.tick(now, edges);
        waiting.write(out);
        // The writer must not wait until thousands of lines are made.
        let (red, edges) = (red.clone(), edges.clone());
        drop(inner);
        red.write(out);
        edges.write(out);
    }
}

/// `/metrics`.
pub fn routes() -> Router<Api> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Exposition, deeptrace_http::ApiError> {
    blocking(move || {
        let mut out = Exposition::accepted_by(&headers);
        out.counters(api.counters());
        store(&mut out, &api);
        api.ingest.metrics().write(&mut out, Instant::now());
        process_metrics(&mut out);
        Ok(out)
    })
    .await
}

/// What is stored; nothing while the store does not say.
fn store(out: &mut Exposition, api: &Api) {
    let works = api.ingest.error().is_none();
    let mut gauges = BTreeMap::from([(
        "deeptrace_store_works",
        ("1 while the store takes spans.", u64::from(works)),
    )]);
    if let Ok(stats) = api.store.stats() {
        gauges.insert("deeptrace_store_spans", ("Spans stored.", stats.spans));
        gauges.insert("deeptrace_store_bytes", ("Bytes in use on disk.", stats.bytes));
    }
    for (name, (help, value)) in gauges {
        out.family(name, Kind::Gauge, help);
        out.sample(name, &[], value);
    }
}
