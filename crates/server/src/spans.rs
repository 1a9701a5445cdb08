//! `POST /spans`: batches from agents. A batch is acknowledged when it is
//! committed to the store; until then whoever sent it keeps it. Ids of spans follow from what was
//! seen, so one that comes twice is there once.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use deeptrace_http::ApiError;
use deeptrace_store::Batch;
use deeptrace_wire::WireError;
use serde::{Deserialize, Serialize};

use crate::api::{Api, blocking};
use crate::pipeline::NotTaken;

/// Seconds after which to try again.
const RETRY_S: u64 = 1;

/// What was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Spans.
    pub span_count: usize,
    /// Links.
    pub link_count: usize,
    /// Records that this version does not understand; they are not in the store.
    pub omitted_count: usize,
}

/// The route.
pub fn routes() -> Router<Api> {
    Router::new().route("/spans", post(take))
}

async fn take(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
    let body = body.map_err(|error| ApiError::of_status(error.status(), error.body_text()));
    let committed = match body {
        Ok(body) => commit(&api, &kind, body).await,
        Err(error) => Err(error),
    };
    match committed {
        Ok(committed) => Json(committed).into_response(),
        Err(error) if is_temporary(error.status) => {
            ([(RETRY_AFTER, RETRY_S)], error).into_response()
        }
        Err(error) => error.into_response(),
    }
}

async fn commit(api: &Api, kind: &str, body: Bytes) -> Result<Committed, ApiError> {
    let (batch, omitted_count) = match kind {
        // Unpacking takes milliseconds, which is too long for the threads that serve.
        deeptrace_wire::MEDIA_TYPE => blocking(move || decode(&body)).await?,
        _ => {
            let message = format!("send {}", deeptrace_wire::MEDIA_TYPE);
            let error = ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            return Err(error.with("content_type", kind));
        }
    };
    let (span_count, link_count) = (batch.spans.len(), batch.links.len());
    api.ingest.commit(batch).await.map_err(|error| match error {
        NotTaken::Busy => ApiError::too_many(error.to_string(), RETRY_S),
        NotTaken::Refused(_) => ApiError::unavailable(error.to_string()),
        // Not to be sent again, as a body that cannot be read is not.
        NotTaken::Never(_) => ApiError::invalid(error.to_string()),
    })?;
    Ok(Committed { span_count, link_count, omitted_count })
}

fn decode(body: &[u8]) -> Result<(Batch, usize), ApiError> {
    let decoded = deeptrace_wire::decode(body).map_err(|error| match error {
        WireError::TooLarge(_) => {
            ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
        _ => ApiError::invalid(error.to_string()),
    })?;
    let deeptrace_wire::Decoded { spans, links, gaps, omitted } = decoded;
    if omitted > 0 {
        tracing::debug!(omitted, "records of another version were left out");
    }
    Ok((Batch { spans, links, gaps }, omitted))
}

fn is_temporary(status: StatusCode) -> bool {
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status)
}
