//! `GET /metrics`: requests, errors and durations of what is traced, who calls whom, and the server's own
//! health. Counted by the thread that writes to the store, as batches are written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use deeptrace_http::{Exposition, Kind, process_metrics};
use deeptrace_store::{Batch, Store, StoreError};
use tokio::sync::watch;

use crate::api::{Api, blocking};
use crate::edges::apart::{self, Apart};
use crate::edges::{Edges, Waiting};
use crate::pipeline::Ingest;
use crate::red::Red;

/// After which the store is asked again for sides that came to other servers.
const SEEK_EACH: Duration = Duration::from_millis(500);

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

    /// Other servers write to the same store: from now on a side of an exchange that stays alone waits until
    /// it was looked for there.
    pub fn share(&self) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.waiting.apart.get_or_insert_default();
    }

    /// Looks in `store` for the other sides of those that have waited longest, a bounded number; returns of how
    /// many. After an error they go on waiting.
    pub fn seek(&self, store: &dyn Store, now: Instant) -> Result<usize, StoreError> {
        let asked = {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Inner { edges, waiting, .. } = &mut *inner;
            waiting.tick(now, edges);
            waiting.apart.as_ref().map(Apart::next).unwrap_or_default()
        };
        if asked.is_empty() {
            return Ok(0);
        }
        // Nobody waits for the store meanwhile.
        let found = apart::find(store, &asked, now)?;
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { edges, waiting, .. } = &mut *inner;
        if let Some(apart) = &mut waiting.apart {
            apart.take(&asked, &found, edges);
        }
        Ok(asked.len())
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

/// Other servers write to `store` as well: looks there, until `stop` turns true, for sides of exchanges that came
/// to them.
pub fn start_seeking(
    ingest: Ingest,
    store: Arc<dyn Store>,
    stop: watch::Receiver<bool>,
) -> std::io::Result<JoinHandle<()>> {
    ingest.metrics().share();
    let work = move || {
        while !*stop.borrow() {
            match ingest.metrics().seek(&*store, Instant::now()) {
                Ok(sought) if sought == apart::PIECE_LEN => {}
                Ok(_) => std::thread::sleep(SEEK_EACH),
                Err(error) => {
                    tracing::debug!(%error, "the other sides of exchanges cannot be read now");
                    std::thread::sleep(SEEK_EACH);
                }
            }
        }
    };
    std::thread::Builder::new().name("deeptrace-edges".to_owned()).spawn(work)
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
