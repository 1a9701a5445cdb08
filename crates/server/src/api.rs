//! The server's HTTP API (SURFACE, "HTTP"): what it is and does, its page, and what can be asked of
//! the store. Who may call which route is said in `access/table.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use deeptrace_http::{ApiError, Params, Segment, Settings, config_routes};
use deeptrace_model::WallTime;
use deeptrace_query::Limits;
use deeptrace_store::Store;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::access::{self, Access, View};
use crate::alerts::Alerts;
use crate::answers::{self, Search};
use crate::asking::Asking;
use crate::correlation::{self, Correlation};
use crate::duties::{self, Duties};
use crate::orders::Orders;
use crate::otlp::Otlp;
use crate::pipeline::Ingest;
use crate::push::Push;
use crate::{
    agents, alerts, analytics, audit, clock, jaeger, live, metrics, orders, page, spans as ingest,
};

/// What the routes work with.
#[derive(Clone)]
pub struct Api {
    /// Spans at rest.
    pub store: Arc<dyn Store>,
    /// Who may do what.
    pub access: Arc<Access>,
    /// What is done with the data.
    pub duties: Arc<Duties>,
    /// Spans that come in.
    pub ingest: Ingest,
    /// What agents are to do.
    pub orders: Arc<Orders>,
    /// Rules, and who is told when they fire; change while we run.
    pub alerts: Arc<Alerts>,
    /// Spans that SDKs report.
    pub otlp: Otlp,
    /// Traces that are pushed.
    pub push: Push,
    /// Links below it are not used; changes while we run.
    pub threshold: Arc<Threshold>,
    /// Who infers, and stored spans that are correlated again.
    pub correlation: Correlation,
    /// When the process started.
    pub started: WallTime,
    /// Turns true when the process is to end.
    pub stop: watch::Receiver<bool>,
    /// Version of the program.
    pub version: &'static str,
}

/// A probability that changes while others read it.
#[derive(Debug)]
pub struct Threshold(AtomicU32);

impl Threshold {
    /// With this value.
    pub fn new(value: f32) -> Self {
        Self(AtomicU32::new(value.to_bits()))
    }

    /// The value now.
    pub fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }

    /// This value from now on.
    pub fn set(&self, value: f32) {
        self.0.store(value.to_bits(), Relaxed);
    }
}

/// All routes of the server, behind the gate.
pub fn routes(api: Api, settings: Arc<dyn Settings>) -> Router {
    let (access, store) = (Arc::clone(&api.access), Arc::clone(&api.store));
    let (duties, otlp) = (duties::routes(Arc::clone(&api.duties)), api.otlp.clone());
    let routes = Router::new()
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/traces", get(traces))
        .route("/traces/{trace_id}", get(trace))
        .route("/spans/search", get(spans))
        .route("/analytics/services", get(services))
        .route("/analytics/operations", get(operations))
        .route("/openapi.json", get(openapi))
        .merge(correlation::routes())
        .merge(jaeger::routes())
        .merge(live::routes())
        .merge(analytics::routes::routes())
        .merge(alerts::routes::routes())
        .merge(metrics::routes())
        .merge(page::routes())
        .merge(ingest::routes())
        .merge(agents::routes())
        .merge(orders::routes())
        .with_state(api)
        .merge(config_routes(settings))
        .merge(duties)
        .merge(access::routes(Arc::clone(&access)))
        .merge(audit::routes(store))
        .merge(otlp.routes());
    behind_the_gate(routes, access)
}

fn behind_the_gate(routes: Router, access: Arc<Access>) -> Router {
    // Quickly: most of the gain is had at the first level, and the next question waits.
    let packed = routes.layer(CompressionLayer::new().quality(CompressionLevel::Fastest));
    let gated = packed.layer(middleware::from_fn_with_state(Arc::clone(&access), Access::check));
    match access.auditor() {
        // Around the gate, because who was refused is in the log as well.
        Some(auditor) => {
            gated.layer(middleware::from_fn_with_state(Arc::clone(auditor), audit::record))
        }
        None => gated,
    }
}

/// Only what takes spans of SDKs, for ports of its own; behind the gate as well.
pub fn otlp_routes(api: &Api) -> Router {
    behind_the_gate(api.otlp.clone().routes(), Arc::clone(&api.access))
}

/// Answers although the store refuses: that is for `/status` to say, and no reason to be restarted.
async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn status(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let counters = api.counters();
    let (version, started) = (api.version, api.started);
    let refused = api.ingest.error();
    // A store that cannot be reached is part of the answer.
    let asked =
        blocking(move || Ok(api.store.stats().and_then(|stats| Ok((stats, api.store.health()?)))));
    let (held, failed) = match asked.await? {
        Ok(held) => (Some(held), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let store_error = refused.or(failed);
    Ok(Json(json!({
        "version": version,
        "pid": std::process::id(),
        "started_unix_nano": started.0,
        "uptime_ns": clock::now().since(started).0,
        "state": if store_error.is_some() { "store_refuses" } else { "ok" },
        "store_error": store_error,
        "store": held.map(|(stats, cluster)| json!({
            "span_count": stats.spans,
            "link_count": stats.links,
            "gap_count": stats.gaps,
            "bytes": stats.bytes,
            "oldest_unix_nano": stats.oldest.map(|time| time.0),
            "newest_unix_nano": stats.newest.map(|time| time.0),
            "cluster": cluster.map(|cluster| json!({
                "name": cluster.name,
                "status": cluster.status,
                "nodes": cluster.nodes,
                "unassigned_shards": cluster.unassigned_shards,
            })),
        })),
        "counters": counters,
    })))
}

async fn traces(
    State(api): State<Api>,
    view: View,
    Params(search): Params<Search>,
) -> Result<Json<answers::Traces>, ApiError> {
    let limits = api.limits();
    blocking(move || {
        let asking = api.asking();
        let found = answers::traces(&asking, &search, &view, limits, clock::now())?;
        Ok(Json(answers::Traces { missing: asking.missing(), ..found }))
    })
    .await
}

/// The query of `GET /traces/{trace_id}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Shown {
    /// `raw`: spans of SDKs and ours side by side; else one for both.
    view: Option<ViewName>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ViewName {
    Merged,
    Raw,
}

async fn trace(
    State(api): State<Api>,
    view: View,
    Segment(id): Segment,
    Params(shown): Params<Shown>,
) -> Result<Json<answers::TraceAnswer>, ApiError> {
    let mut limits = api.limits();
    if let Some(ViewName::Raw) = shown.view {
        limits.view = deeptrace_query::View::Raw;
    }
    blocking(move || {
        let asking = api.asking();
        match answers::trace(&asking, &id, &view, limits) {
            Ok(found) => Ok(Json(answers::TraceAnswer { missing: asking.missing(), ..found })),
            // Perhaps it is with somebody who did not answer.
            Err(error) => match serde_json::to_value(asking.missing()) {
                Ok(Value::Array(missing)) if !missing.is_empty() => {
                    Err(error.with("missing", missing))
                }
                _ => Err(error),
            },
        }
    })
    .await
}

async fn spans(
    State(api): State<Api>,
    view: View,
    Params(search): Params<Search>,
) -> Result<Json<answers::SpanPage>, ApiError> {
    // What is stored is searched, so that is what is shown.
    let limits = Limits { view: deeptrace_query::View::Raw, ..api.limits() };
    blocking(move || {
        let asking = api.asking();
        let found = answers::spans(&asking, &search, &view, limits, clock::now())?;
        Ok(Json(answers::SpanPage { missing: asking.missing(), ..found }))
    })
    .await
}

async fn services(
    State(api): State<Api>,
    view: View,
    Params(query): Params<analytics::Query>,
) -> Result<Json<analytics::Services>, ApiError> {
    let ask = move || analytics::services(&api.asking(), &query, clock::now());
    let mut found = blocking(ask).await?;
    found.services.retain(|row| view.sees(&row.name));
    Ok(Json(found))
}

async fn operations(
    State(api): State<Api>,
    view: View,
    Params(query): Params<analytics::Query>,
) -> Result<Json<analytics::Operations>, ApiError> {
    let ask = move || analytics::operations(&api.asking(), &query, clock::now());
    let mut found = blocking(ask).await?;
    found.operations.retain(|row| view.sees(&row.service));
    Ok(Json(found))
}

async fn openapi() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], OPENAPI).into_response()
}

/// Kept by `tests/openapi.rs`: every route of it answers, and every route of the router is in it.
const OPENAPI: &str = include_str!("openapi.json");

impl Api {
    /// What is stored and what agents keep, for one question.
    pub(crate) fn asking(&self) -> Asking {
        Asking::new(Arc::clone(&self.store), Arc::clone(&self.orders))
    }

    /// What an assembly may do, and what it believes now.
    pub(crate) fn limits(&self) -> Limits {
        Limits { similarity_threshold: self.threshold.get(), ..Limits::default() }
    }

    pub(crate) fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut counters = BTreeMap::new();
        let mut add = |name, value| *counters.entry(name).or_default() += value;
        self.ingest.counters(&mut add);
        self.otlp.counters(&mut add);
        self.orders.counters(&mut add);
        self.push.counters(&mut add);
        self.store.counters(&mut add);
        self.access.auditor().into_iter().for_each(|auditor| auditor.counters(&mut add));
        self.duties.counters(&mut add);
        counters
    }
}

/// Asking the store is not for the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(ask).await.map_err(ApiError::internal)?
}
