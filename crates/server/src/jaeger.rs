//! The query API of Jaeger under `/api/…`, as its page, Grafana's data source and scripts use it
//! (`cmd/query/app/http_handler.go` and `query_parser.go` of Jaeger 1.76): answers and errors have
//! Jaeger's shape, not ours. Version 3 is in `v3.rs`.

mod dependencies;
mod search;
mod v3;

use std::collections::BTreeSet;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use deeptrace_export::jaeger::whole;
use deeptrace_http::{ApiError, Segment};
use deeptrace_model::{SpanId, Trace, TraceId};
use deeptrace_query::{Assembly, Limits, Start};
use deeptrace_store::{Operation, Store, Window};
use serde_json::{Value, json};

use crate::answers::failed;
use crate::api::{Api, blocking};
use crate::clock;
use search::Search;

/// Traces that are asked for by their ids at once.
const IDS_MAX: usize = 100;

/// All routes.
pub fn routes() -> Router<Api> {
    Router::new()
        .route("/api/services", get(services))
        .route("/api/services/{service}/operations", get(operation_names))
        .route("/api/operations", get(operations))
        .route("/api/traces", get(traces))
        .route("/api/traces/{trace_id}", get(trace))
        .route("/api/dependencies", get(dependencies))
        .merge(v3::routes())
}

/// Data with what Jaeger puts around it.
struct Answer {
    status: StatusCode,
    data: Value,
    total: usize,
    errors: Vec<Value>,
}

impl Answer {
    /// Of a list, which says how long it is.
    fn list(data: Vec<Value>) -> Self {
        Self { total: data.len(), ..Self::of(Value::Array(data)) }
    }

    fn of(data: Value) -> Self {
        Self { status: StatusCode::OK, data, total: 0, errors: Vec::new() }
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        let shown = json!({"code": error.status.as_u16(), "msg": error.message});
        Self { status: error.status, errors: vec![shown], ..Self::of(Value::Null) }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { status, data, total, errors } = self;
        let errors = if errors.is_empty() { Value::Null } else { Value::Array(errors) };
        let body = json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": errors});
        (status, Json(body)).into_response()
    }
}

/// Asks the store, and puts what comes of it into Jaeger's shape.
async fn answer(
    ask: impl FnOnce() -> Result<Answer, ApiError> + Send + 'static,
) -> Result<Answer, Answer> {
    blocking(ask).await.map_err(Answer::from)
}

async fn services(State(api): State<Api>) -> Result<Answer, Answer> {
    answer(move || {
        let services = deeptrace_query::services(&api.asking(), Window::ALL).map_err(failed)?;
        Ok(Answer::list(services.into_iter().map(|service| service.name.into()).collect()))
    })
    .await
}

async fn operation_names(
    State(api): State<Api>,
    Segment(service): Segment,
) -> Result<Answer, Answer> {
    answer(move || {
        let operations = operations_of(&api.asking(), &service, "")?;
        let names: BTreeSet<String> = operations.into_iter().map(|it| it.name).collect();
        Ok(Answer::list(names.into_iter().map(Value::from).collect()))
    })
    .await
}

async fn operations(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Answer, Answer> {
    answer(move || {
        let query = Pairs::read(query.as_deref());
        let service = query.first("service").unwrap_or_default();
        if service.is_empty() {
            return Err(ApiError::invalid("parameter 'service' is required"));
        }
        let kind = query.first("spanKind").unwrap_or_default();
        let operations = operations_of(&api.asking(), service, kind)?.into_iter();
        let shown = operations.map(|it| json!({"name": it.name, "spanKind": it.kind}));
        Ok(Answer::list(shown.collect()))
    })
    .await
}

/// Operations of a service, of one kind where one is given.
fn operations_of(store: &dyn Store, service: &str, kind: &str) -> Result<Vec<Operation>, ApiError> {
    let mut operations = store.operations(Window::ALL, Some(service)).map_err(failed)?;
    operations.retain(|it| kind.is_empty() || json!(it.kind) == kind);
    Ok(operations)
}

async fn traces(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Answer, Answer> {
    let limits = api.limits();
    answer(move || {
        let query = Pairs::read(query.as_deref());
        let ids: Vec<&str> = query.all("traceID").collect();
        if ids.is_empty() {
            let search = Search::read(&query, clock::now())?;
            return Ok(Answer::of(Value::Array(search.run(&api.asking(), limits)?)));
        }
        if ids.len() > IDS_MAX {
            return Err(ApiError::invalid("ask for at most 100 traces by id at once"));
        }
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for id in ids {
            match find(&api.asking(), id, limits)? {
                Some(trace) => found.push(shown(&trace)?),
                None => errors.push(json!({"code": 404, "msg": NOT_FOUND, "traceID": id})),
            }
        }
        Ok(Answer { errors, ..Answer::of(Value::Array(found)) })
    })
    .await
}

const NOT_FOUND: &str = "trace not found";

async fn trace(State(api): State<Api>, Segment(id): Segment) -> Result<Answer, Answer> {
    let limits = api.limits();
    answer(move || {
        let trace = find(&api.asking(), &id, limits)?;
        let trace = trace.ok_or_else(|| ApiError::not_found(NOT_FOUND))?;
        Ok(Answer::of(Value::Array(vec![shown(&trace)?])))
    })
    .await
}

/// The trace of an id as Jaeger takes it: leading zeros may be missing. One of 16 digits or less may be of
/// a span as well.
fn find(store: &dyn Store, text: &str, limits: Limits) -> Result<Option<Trace>, ApiError> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex && text.len() <= 32);
    let number = number.ok_or_else(|| ApiError::invalid("malformed trace ID").with("id", text))?;
    let run = |start| deeptrace_query::run(store, Assembly::new(start, limits)).map_err(failed);
    match (run(Start::Trace(TraceId(number)))?, u64::try_from(number)) {
        (None, Ok(number)) => run(Start::Id(SpanId(number))),
        (found, _) => Ok(found),
    }
}

fn shown(trace: &Trace) -> Result<Value, ApiError> {
    serde_json::to_value(whole(trace.id, &trace.spans)).map_err(ApiError::internal)
}

async fn dependencies(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Answer, Answer> {
    let limits = api.limits();
    answer(move || {
        let query = Pairs::read(query.as_deref());
        let links = dependencies::links(&api.asking(), &query, limits, clock::now())?;
        Ok(Answer::of(Value::Array(links)))
    })
    .await
}

/// A query of which a name may be there several times.
struct Pairs(Vec<(String, String)>);

impl Pairs {
    fn read(query: Option<&str>) -> Self {
        let query = query.unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// What is not empty under a name.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(key, value)| key == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    fn first<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }
}
