//! Routes of the duties. What takes long is a job: the answer is 202 with its id, and `GET /jobs/{id}` says
//! how far it is.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use deeptrace_erase::Target;
use deeptrace_http::{ApiError, Body, Params, Segment};
use serde::Deserialize;
use serde_json::json;

use super::{Duties, DutyError, Imported, Job, SPANS_MAX, days_ago};
use crate::api::blocking;

/// Bytes of one import call, at most.
const IMPORT_BYTES_MAX: usize = 16 << 20;

/// All of them.
pub fn routes(duties: Arc<Duties>) -> Router {
    Router::new()
        .route("/spans", delete(remove))
        .route("/backup", post(backup))
        .route("/import", post(import).layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX)))
        .route("/jobs/{id}", get(job))
        .with_state(duties)
}

/// The query of `DELETE /spans`: one of the first two.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Removing {
    /// `FIELD=VALUE`.
    r#match: Option<String>,
    /// Spans that ended more days ago.
    days: Option<u64>,
    /// Only says what would be removed.
    dry_run: bool,
}

type Accepted = Result<(StatusCode, Json<Job>), ApiError>;

async fn remove(State(duties): State<Arc<Duties>>, Params(query): Params<Removing>) -> Accepted {
    match (query.r#match, query.days) {
        (Some(text), None) => {
            let target =
                Target::parse(&text).map_err(|error| ApiError::invalid(error.to_string()))?;
            let kind = if query.dry_run { "preview" } else { "erase" };
            begin(duties, kind, move |duties, tell| {
                let progress =
                    &mut |looked_at, found| tell(json!({"looked_at": looked_at, "found": found}));
                Ok(match query.dry_run {
                    true => json!(duties.preview(&target, progress)?),
                    false => json!(duties.erase(&target, progress)?),
                })
            })
            .await
        }
        (None, Some(_)) if query.dry_run => {
            Err(ApiError::invalid("dry_run goes with match; GET /status says what is stored"))
        }
        (None, Some(days)) if days > 0 => {
            begin(duties, "cleanup", move |duties, _| {
                let removed = duties.cleanup(days_ago(days))?;
                Ok(json!({
                    "spans": removed.spans, "links": removed.links, "gaps": removed.gaps,
                }))
            })
            .await
        }
        _ => {
            Err(ApiError::invalid("give match=FIELD=VALUE, or days with at least 1, and not both"))
        }
    }
}

/// The body of `POST /backup`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackingUp {
    /// A folder on the server's host that is not there yet.
    output: PathBuf,
}

async fn backup(State(duties): State<Arc<Duties>>, Body(asked): Body<BackingUp>) -> Accepted {
    begin(duties, "backup", move |duties, tell| {
        let progress = &mut |share| tell(json!({ "share": share }));
        Ok(json!(duties.backup(&asked.output, progress)?))
    })
    .await
}

async fn begin(
    duties: Arc<Duties>,
    kind: &'static str,
    work: impl FnOnce(
        &Duties,
        &mut dyn FnMut(serde_json::Value),
    ) -> Result<serde_json::Value, DutyError>
    + Send
    + 'static,
) -> Accepted {
    let job = blocking(move || duties.begin(kind, work).map_err(failed)).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

async fn job(
    State(duties): State<Arc<Duties>>,
    Segment(id): Segment,
) -> Result<Json<Job>, ApiError> {
    let asked = id.clone();
    let found = blocking(move || duties.job(&asked).map_err(crate::answers::failed)).await?;
    let absent = || ApiError::not_found("no job has this id, or it is long over").with("id", id);
    found.map(Json).ok_or_else(absent)
}

/// Span JSON, one a line.
async fn import(
    State(duties): State<Arc<Duties>>,
    lines: String,
) -> Result<Json<Imported>, ApiError> {
    let imported = blocking(move || {
        let spans = deeptrace_export::read_lines(&lines)
            .map_err(|error| ApiError::invalid(error.to_string()))?;
        if spans.len() > SPANS_MAX {
            return Err(ApiError::invalid("too many spans for one call").with("limit", SPANS_MAX));
        }
        duties.import(spans).map_err(crate::answers::failed)
    });
    imported.await.map(Json)
}

fn failed(error: DutyError) -> ApiError {
    match error {
        DutyError::Busy => ApiError::conflict(error.to_string()),
        DutyError::Relative { .. } => ApiError::invalid(error.to_string()),
        DutyError::Store(error) => crate::answers::failed(error),
        error => ApiError::internal(error),
    }
}
