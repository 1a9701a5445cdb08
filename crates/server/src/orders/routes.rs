//! `GET /agents/{agent_id}/orders`, the long poll of an agent; `POST /agents/{agent_id}/answers`, what it
//! says to that; `GET` and `PUT /agents/config`, the configuration of agents that accept one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use deeptrace_http::{ApiError, Body, Params, Segment};
use deeptrace_model::WallTime;
use deeptrace_store::Expected;
use deeptrace_wire::{ANSWERS_MEDIA_TYPE, Answer, Key, ORDERS_MEDIA_TYPE, Order, Place};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{CONFIG, Orders, Stored, To};
use crate::answers::failed;
use crate::api::{Api, blocking};
use crate::{agents, live};

/// How long a poll waits for something to answer.
const POLL: Duration = Duration::from_secs(20);
/// Bytes of the configuration of agents, at most.
const CONFIG_MAX: usize = 64 << 10;

/// The routes.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/agents/{agent_id}/orders", get(poll))
        .route("/agents/{agent_id}/answers", post(answers))
        .route("/agents/config", get(configuration).put(configure))
}

/// Where an agent goes on.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Poll {
    /// Epoch of the server that it polled last.
    epoch: u64,
    /// Orders until here it has taken.
    after: u64,
    /// Start of the oldest span that it has.
    oldest_unix_nano: Option<u64>,
    /// How long to wait for something to answer, at most 20 s. An agent that was not answered lately does not
    /// wait: it wants to know whether it is heard.
    wait_ms: Option<u64>,
}

async fn poll(
    State(api): State<Api>,
    Segment(agent): Segment,
    Params(poll): Params<Poll>,
) -> Result<Response, ApiError> {
    agents::check_id(&agent)?;
    let orders = Arc::clone(&api.orders);
    let Some((queue, is_new)) = orders.queue(&agent) else {
        return Err(ApiError::too_many("this server has as many agents as it can have", 60));
    };
    let is_first = is_new || poll.epoch != orders.epoch;
    // Numbers of another server, or of a queue that is gone, say nothing.
    let after = if is_first { 0 } else { poll.after };
    queue.polled(after);
    if is_first {
        let (orders, queue) = (Arc::clone(&orders), Arc::clone(&queue));
        let oldest = poll.oldest_unix_nano.map(WallTime);
        blocking(move || orders.greet(&queue, oldest).map_err(failed)).await?;
    }
    let mut stop = api.stop.clone();
    let end = Instant::now() + poll.wait_ms.map_or(POLL, Duration::from_millis).min(POLL);
    let taken = loop {
        if let Some(taken) = queue.take() {
            break Some(taken);
        }
        tokio::select! {
            changed = timeout_at(end, queue.changed()) => if changed.is_err() { break None },
            () = live::ended(&mut stop) => break None,
        }
    };
    let (last, records) = taken.map_or((after, Vec::new()), |it| (it.last, it.records));
    orders.counts.sent.fetch_add(records.len() as u64, Relaxed);
    let place = Place { epoch: orders.epoch, last };
    let body = deeptrace_wire::encode_orders(place, records.iter().map(|it| &**it));
    Ok(([(CONTENT_TYPE, ORDERS_MEDIA_TYPE)], body).into_response())
}

async fn answers(
    State(api): State<Api>,
    Segment(agent): Segment,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, ApiError> {
    agents::check_id(&agent)?;
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind != ANSWERS_MEDIA_TYPE {
        let message = format!("send {ANSWERS_MEDIA_TYPE}");
        let error = ApiError::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
        return Err(error.with("content_type", kind));
    }
    let body = body.map_err(|error| ApiError::of_status(error.status(), error.body_text()))?;
    let answers = deeptrace_wire::decode_answers(&body);
    let answers = answers.map_err(|error| ApiError::invalid(error.to_string()))?;
    api.orders.counts.omitted.fetch_add(answers.omitted as u64, Relaxed);
    for answer in answers.answers {
        let (orders, agent) = (Arc::clone(&api.orders), agent.clone());
        match answer {
            Answer::Kept(keys) => orders.kept(&agent, keys),
            Answer::Summary(summary) => orders.told(&agent, summary),
            Answer::Found(found) => {
                let answered = move || orders.answered(&agent, found).map_err(failed);
                blocking(answered).await?;
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Orders {
    /// An agent keeps the traces with these keys.
    fn kept(&self, agent: &str, keys: Vec<Key>) {
        self.counts.kept.fetch_add(keys.len() as u64, Relaxed);
        self.post(To::AllBut(agent), &Order::Keep(keys));
    }
}

async fn configuration(State(api): State<Api>) -> Result<Json<Stored>, ApiError> {
    let stored = blocking(move || api.orders.configuration().map_err(failed)).await?;
    Ok(Json(stored.map(|(_, stored)| stored).unwrap_or_default()))
}

/// Replaces the configuration of agents. Each one checks it, and tells in its heartbeat what came of it.
async fn configure(
    State(api): State<Api>,
    Body(config): Body<Value>,
) -> Result<Json<Stored>, ApiError> {
    if !config.is_object() {
        return Err(ApiError::invalid("give an object that is nested like deeptrace.toml"));
    }
    if config.to_string().len() > CONFIG_MAX {
        return Err(ApiError::invalid("this is too much").with("limit_bytes", CONFIG_MAX));
    }
    blocking(move || {
        let before = api.orders.configuration().map_err(failed)?;
        let generation = before.as_ref().map_or(0, |(_, it)| it.generation) + 1;
        let expected = before.map_or(Expected::Absent, |(version, _)| Expected::Version(version));
        let stored = Stored { generation, config };
        let body = serde_json::to_vec(&stored).map_err(ApiError::internal)?;
        let put = api.store.put_document(CONFIG, Some(&body), expected);
        match put.map_err(failed)? {
            Some(_) => Ok(Json(stored)),
            None => Err(ApiError::conflict("somebody else changed it at the same time; try again")),
        }
    })
    .await
}
