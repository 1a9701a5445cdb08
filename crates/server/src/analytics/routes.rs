//! The routes of `/analytics/…` that answer from the store's sums and from samples of traces.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use deeptrace_http::{ApiError, Params};

use super::{
    CriticalPathQuery, Errors, ErrorsQuery, Latencies, LatencyQuery, Query, Topology, Waits,
};
use crate::api::{Api, blocking};
use crate::clock;

/// `/analytics/topology`, `latency`, `errors` and `critical-path`.
pub fn routes() -> Router<Api> {
    Router::new()
        .route("/analytics/topology", get(topology))
        .route("/analytics/latency", get(latency))
        .route("/analytics/errors", get(errors))
        .route("/analytics/critical-path", get(critical_path))
}

async fn topology(
    State(api): State<Api>,
    Params(query): Params<Query>,
) -> Result<Json<Topology>, ApiError> {
    blocking(move || super::topology(&*api.store, &query, clock::now())).await.map(Json)
}

async fn latency(
    State(api): State<Api>,
    Params(query): Params<LatencyQuery>,
) -> Result<Json<Latencies>, ApiError> {
    blocking(move || super::latency(&api.asking(), &query, clock::now())).await.map(Json)
}

async fn errors(
    State(api): State<Api>,
    Params(query): Params<ErrorsQuery>,
) -> Result<Json<Errors>, ApiError> {
    blocking(move || super::errors(&api.asking(), &query, clock::now())).await.map(Json)
}

async fn critical_path(
    State(api): State<Api>,
    Params(query): Params<CriticalPathQuery>,
) -> Result<Json<Waits>, ApiError> {
    let limits = api.limits();
    blocking(move || super::critical_path(&api.asking(), &query, limits, clock::now()))
        .await
        .map(Json)
}
