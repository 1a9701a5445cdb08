//! WebSockets of the live list: `/ws/spans` sends Span JSON as it is written, `/ws/traces` a trace
//! in one line as soon as it is settled. A listener that is too slow loses some and is told so; the writer
//! never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use deeptrace_http::ApiError;
use deeptrace_model::{Span, SpanId, Trace, TraceId, TraceSpan};
use deeptrace_query::{Assembly, Start};
use deeptrace_store::{Batch, Filter, Window};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::access::View;
use crate::answers::{Summary, span_value};
use crate::api::{Api, blocking};
use crate::settling::Settling;

/// Listeners at once.
const LISTENERS_MAX: usize = 16;
/// Traces sent to one listener a second, at most: more than anybody reads.
const TRACES_PER_S: u32 = 50;
/// Spans sent to one listener of each batch, at most.
const SPANS_OF_BATCH_MAX: usize = 200;

/// Listeners now.
static LISTENERS: AtomicUsize = AtomicUsize::new(0);

/// A place among the listeners, given back when it is dropped.
struct Place;

impl Place {
    fn take() -> Result<Self, ApiError> {
        let place = Self;
        if LISTENERS.fetch_add(1, Relaxed) >= LISTENERS_MAX {
            return Err(ApiError::unavailable("too many listen already; close a page")
                .with("limit", LISTENERS_MAX));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Relaxed);
    }
}

/// `/ws/spans` and `/ws/traces`.
pub fn routes() -> Router<Api> {
    Router::new().route("/ws/spans", get(spans)).route("/ws/traces", get(traces))
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

fn upgrade(upgrade: Upgrade) -> Result<(WebSocketUpgrade, Place), ApiError> {
    let upgrade =
        upgrade.map_err(|error| ApiError::of_status(error.status(), error.body_text()))?;
    // Nothing is expected from the listener but pings.
    Ok((upgrade.max_message_size(64 << 10), Place::take()?))
}

async fn spans(State(api): State<Api>, view: View, given: Upgrade) -> Result<Response, ApiError> {
    let (upgrade, place) = upgrade(given)?;
    Ok(upgrade.on_upgrade(move |socket| send_spans(api, view, socket, place)))
}

async fn traces(State(api): State<Api>, view: View, given: Upgrade) -> Result<Response, ApiError> {
    let (upgrade, place) = upgrade(given)?;
    Ok(upgrade.on_upgrade(move |socket| send_traces(api, view, socket, place)))
}

async fn send_spans(api: Api, view: View, mut socket: WebSocket, _place: Place) {
    let mut live = api.ingest.live();
    let mut stop = api.stop.clone();
    loop {
        tokio::select! {
            batch = live.recv() => match batch {
                Ok(batch) => {
                    let (texts, left_out) = span_texts(&batch, &view);
                    if left_out > 0 && tell_skipped(&mut socket, 0, left_out).await.is_err() {
                        return;
                    }
                    for text in texts {
                        if socket.send(Message::Text(text.into())).await.is_err() {
                            return;
                        }
                    }
                }
                Err(RecvError::Lagged(batches)) => {
                    if tell_skipped(&mut socket, batches, 0).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Closed) => return,
            },
            () = closed(&mut socket) => return,
            () = ended(&mut stop) => return,
        }
    }
}

/// What a listener does not get: it was too slow, or it would be more than anybody reads.
async fn tell_skipped(
    socket: &mut WebSocket,
    batches: u64,
    spans: usize,
) -> Result<(), axum::Error> {
    let text = json!({"skipped": {"batches": batches, "spans": spans}}).to_string();
    socket.send(Message::Text(text.into())).await
}

/// The latest spans that `view` sees, and how many it sees beside.
fn span_texts(batch: &Batch, view: &View) -> (Vec<String>, usize) {
    let seen: Vec<&Span> = batch.spans.iter().filter(|span| view.sees(&span.service)).collect();
    let left_out = seen.len().saturating_sub(SPANS_OF_BATCH_MAX);
    let texts = seen[left_out..].iter().filter_map(|span| span_text(span, view));
    (texts.collect(), left_out)
}

/// Span JSON of a span that has just been written. Its trace is not assembled yet: the trace id is one that
/// finds it, the parent is not known.
pub fn span_text(span: &Span, view: &View) -> Option<String> {
    let trace = TraceId::from_root(span.id);
    let placed = TraceSpan { span: Arc::new(span.clone()), parent: None, link: None };
    span_value(trace, &placed, view).ok().map(|value| value.to_string())
}

async fn send_traces(api: Api, view: View, mut socket: WebSocket, _place: Place) {
    let mut live = api.ingest.live();
    let mut stop = api.stop.clone();
    let mut settling = Settling::for_live();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / TRACES_PER_S);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            batch = live.recv() => match batch {
                Ok(batch) => {
                    settling.add(&batch, Instant::now());
                }
                Err(RecvError::Lagged(batches)) => {
                    if tell_skipped(&mut socket, batches, 0).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Closed) => return,
            },
            _ = pace.tick() => {
                let Some(key) = settling.due(Instant::now()) else { continue };
                let trace = assemble(&api, key.1).await;
                let new = settling.look(key, trace.as_ref(), Instant::now());
                let shown = trace.as_ref().map_or(0, |trace| trace.spans.len());
                // A trace of which a part was shown already is not shown again.
                if new.is_some_and(|new| new.len() == shown && shown > 0)
                    && let Some(text) = trace.as_ref().and_then(|trace| summary_text(trace, &view))
                    && socket.send(Message::Text(text.into())).await.is_err()
                {
                    return;
                }
            }
            () = closed(&mut socket) => return,
            () = ended(&mut stop) => return,
        }
    }
}

/// The trace that has this span; `None` where it is gone, or cannot be read.
pub(crate) async fn assemble(api: &Api, span: SpanId) -> Option<Trace> {
    let (asking, limits) = (api.asking(), api.limits());
    let assembled = blocking(move || {
        let assembly = Assembly::new(Start::Id(span), limits);
        deeptrace_query::run(&asking, assembly).map_err(crate::answers::failed)
    });
    assembled.await.ok().flatten()
}

fn summary_text(trace: &Trace, view: &View) -> Option<String> {
    let seen = view.reduced(trace, &Filter::in_window(Window::ALL))?;
    serde_json::to_string(&Summary::from(deeptrace_query::summary(&seen))).ok()
}

/// Returns when the process is to end.
pub(crate) async fn ended(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Returns when the listener has gone; what it says is not listened to.
async fn closed(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Close(_)) {
            return;
        }
    }
}
