//! What an API asks of the configuration of its process, and the routes for it, which the agent and
//! the server have alike.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ApiError, Body};

/// What a change of the configuration did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Keys with a new value that is in effect now.
    pub applied: Vec<String>,
    /// Keys with a new value that takes effect after a restart.
    pub needs_restart: Vec<String>,
    /// What else there is to say, one line each.
    pub notes: Vec<String>,
}

/// The configuration of a running process.
///
/// A change that is refused MUST leave everything as it was.
pub trait Settings: Send + Sync {
    /// Each key with its value and where that comes from; secrets are left out.
    fn show(&self) -> Value;
    /// Changes keys, given as a JSON object nested like the file.
    fn update(&self, changes: Value) -> Result<Applied, String>;
    /// Reads the file again.
    fn reload(&self) -> Result<Applied, String>;
}

/// `GET /config`, `PUT /config`, `POST /config/reload`.
pub fn config_routes<S: Clone + Send + Sync + 'static>(settings: Arc<dyn Settings>) -> Router<S> {
    Router::new()
        .route("/config", get(show).put(update))
        .route("/config/reload", post(reload))
        .with_state(settings)
}

async fn show(State(settings): State<Arc<dyn Settings>>) -> Json<Value> {
    Json(settings.show())
}

async fn update(
    State(settings): State<Arc<dyn Settings>>,
    Body(changes): Body<Value>,
) -> Result<Json<Applied>, ApiError> {
    blocking(move || settings.update(changes)).await
}

async fn reload(State(settings): State<Arc<dyn Settings>>) -> Result<Json<Applied>, ApiError> {
    blocking(move || settings.reload()).await
}

/// Reading files and waiting for the pipeline is not for the threads that serve.
async fn blocking(
    change: impl FnOnce() -> Result<Applied, String> + Send + 'static,
) -> Result<Json<Applied>, ApiError> {
    let changed = tokio::task::spawn_blocking(change).await.map_err(ApiError::internal)?;
    changed.map(Json).map_err(ApiError::invalid)
}
