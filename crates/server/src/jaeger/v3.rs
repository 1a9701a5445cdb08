//! Version 3 of Jaeger's query API over HTTP (`api_v3/query_service.proto`): the same questions, answered
//! in OTLP/JSON.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use deeptrace_export::otlp::resources;
use deeptrace_http::{ApiError, Segment, parse_time};
use deeptrace_model::{Trace, WallTime};
use deeptrace_store::{Filter, Window};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use serde_json::{Value, json};

use super::search::{LIMIT, Search, length};
use super::{NOT_FOUND, Pairs, find, operations_of};
use crate::answers::failed;
use crate::api::{Api, blocking};
use crate::clock;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v3/services", get(services))
        .route("/api/v3/operations", get(operations))
        .route("/api/v3/traces", get(traces))
        .route("/api/v3/traces/{trace_id}", get(trace))
}

/// An error in the shape of this API.
struct Wrong(ApiError);

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let shown = json!({"httpCode": error.status.as_u16(), "message": error.message});
        (error.status, Json(json!({"error": shown}))).into_response()
    }
}

async fn answer(
    ask: impl FnOnce() -> Result<Value, ApiError> + Send + 'static,
) -> Result<Json<Value>, Wrong> {
    blocking(ask).await.map(Json).map_err(Wrong)
}

async fn services(State(api): State<Api>) -> Result<Json<Value>, Wrong> {
    answer(move || {
        let services = deeptrace_query::services(&api.asking(), Window::ALL).map_err(failed)?;
        let names: Vec<String> = services.into_iter().map(|service| service.name).collect();
        Ok(json!({"services": names}))
    })
    .await
}

async fn operations(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Wrong> {
    answer(move || {
        let query = Pairs::read(query.as_deref());
        let service = query.first("service").ok_or_else(|| missing("service"))?;
        let kind = query.first("span_kind").unwrap_or_default();
        let operations = operations_of(&api.asking(), service, kind)?.into_iter();
        let shown = operations.map(|it| json!({"name": it.name, "spanKind": it.kind}));
        Ok(json!({"operations": shown.collect::<Vec<_>>()}))
    })
    .await
}

async fn traces(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Json<Value>, Wrong> {
    let limits = api.limits();
    answer(move || {
        let search = search(&Pairs::read(query.as_deref()), clock::now())?;
        let mut all = Vec::new();
        search.each(&api.asking(), limits, &mut |trace| all.extend(spans(trace)))?;
        result(all)
    })
    .await
}

async fn trace(State(api): State<Api>, Segment(id): Segment) -> Result<Json<Value>, Wrong> {
    let limits = api.limits();
    answer(move || {
        let trace = find(&api.asking(), &id, limits)?;
        result(spans(&trace.ok_or_else(|| ApiError::not_found(NOT_FOUND))?))
    })
    .await
}

fn spans(trace: &Trace) -> Vec<ResourceSpans> {
    resources(trace.id, &trace.spans)
}

fn result(spans: Vec<ResourceSpans>) -> Result<Value, ApiError> {
    if spans.is_empty() {
        return Err(ApiError::not_found("No traces found"));
    }
    let spans = serde_json::to_value(spans).map_err(ApiError::internal)?;
    Ok(json!({"result": {"resourceSpans": spans}}))
}

fn missing(name: &str) -> ApiError {
    ApiError::invalid(format!("malformed parameter {name}: it is required"))
}

/// `TraceQueryParameters`; times are RFC 3339.
fn search(query: &Pairs, now: WallTime) -> Result<Search, ApiError> {
    let moment = |name: &str| {
        let text = query.first(name).ok_or_else(|| missing(name))?;
        let time = parse_time(text, now);
        time.map_err(|error| ApiError::invalid(format!("malformed parameter {name}: {error}")))
    };
    let from = moment("query.start_time_min")?;
    let to = moment("query.start_time_max")?;
    let mut filter = Filter::in_window(Window { from, to });
    filter.service = query.first("query.service_name").map(str::to_owned);
    filter.name = query.first("query.operation_name").map(str::to_owned);
    filter.min_duration = length(query, "query.duration_min")?;
    filter.max_duration = length(query, "query.duration_max")?;
    let limit = ["query.num_traces", "query.search_depth"];
    let limit = limit.iter().find_map(|name| Some((*name, query.first(name)?)));
    let limit = match limit {
        None => LIMIT,
        Some((name, text)) => text.parse().map_err(|_| {
            ApiError::invalid(format!("malformed parameter {name}: `{text}` is no number"))
        })?,
    };
    let tags = match query.first("query.attributes") {
        None => Default::default(),
        Some(text) => serde_json::from_str(text).map_err(|_| {
            ApiError::invalid("malformed parameter query.attributes: give a JSON object of texts")
        })?,
    };
    Ok(Search::new(filter, tags, limit))
}
