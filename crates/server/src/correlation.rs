//! The routes of correlation: which algorithms there are, and stored spans correlated again
//! (SURFACE, "HTTP").

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use deeptrace_correlate::{Row, TABLE, algorithm};
use deeptrace_http::{ApiError, Body, Segment};
use serde::{Deserialize, Serialize};

use crate::answers::{failed, window};
use crate::api::{Api, blocking};
use crate::clock;
use crate::jobs::{Job, JobError, Jobs};

/// The algorithm that is in effect; changes while we run.
pub struct Choice(RwLock<&'static Row>);

impl Choice {
    /// This one.
    pub fn new(algorithm: &'static Row) -> Self {
        Self(RwLock::new(algorithm))
    }

    /// The one now.
    pub fn get(&self) -> &'static Row {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// This one from now on.
    pub fn set(&self, algorithm: &'static Row) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = algorithm;
    }
}

/// What the routes work with, beside the store.
#[derive(Clone)]
pub struct Correlation {
    /// Who answers where nobody says.
    pub choice: Arc<Choice>,
    /// Stored spans that are correlated again.
    pub jobs: Arc<Jobs>,
}

/// `GET /correlation/algorithms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Algorithms {
    /// In the order in which they are shown.
    pub algorithms: Vec<Algorithm>,
}

/// An algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Algorithm {
    /// Its name, as in `correlation.default_algorithm`.
    pub name: String,
    /// What it does and where it is published.
    pub title: String,
    /// Whether it is in effect.
    pub is_current: bool,
}

/// The body of `POST /correlation/run`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Calls that start at this time or later; RFC 3339 or relative (`-15m`).
    pub start: String,
    /// Calls that start at this time or earlier.
    pub end: String,
    /// Who answers; the one in effect where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
}

/// The routes.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/correlation/algorithms", get(algorithms))
        .route("/correlation/run", post(run))
        .route("/correlation/jobs/{id}", get(job).delete(cancel))
}

async fn algorithms(State(api): State<Api>) -> Json<Algorithms> {
    Json(list(api.correlation.choice.get()))
}

/// Every algorithm; `current` is in effect.
pub fn list(current: &Row) -> Algorithms {
    let algorithms = TABLE.iter().map(|row| Algorithm {
        name: row.name.to_owned(),
        title: row.title.to_owned(),
        is_current: row == current,
    });
    Algorithms { algorithms: algorithms.collect() }
}

async fn run(
    State(api): State<Api>,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    if wanted.start.is_empty() || wanted.end.is_empty() {
        return Err(ApiError::invalid("give both start and end, e.g. -1h and now"));
    }
    let window = window(&wanted.start, &wanted.end, clock::now())?;
    let algorithm = match &wanted.algorithm {
        Some(name) => named(name)?,
        None => api.correlation.choice.get(),
    };
    let jobs = api.correlation.jobs;
    let job = blocking(move || jobs.begin(window, algorithm).map_err(told)).await?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

/// The algorithm of that name.
pub fn named(name: &str) -> Result<&'static Row, ApiError> {
    algorithm(name).ok_or_else(|| {
        let names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        ApiError::invalid(format!("no algorithm is named `{name}`: {}", names.join(", ")))
            .with("algorithm", name)
    })
}

async fn job(State(api): State<Api>, Segment(id): Segment) -> Result<Json<Job>, ApiError> {
    let jobs = api.correlation.jobs;
    blocking(move || jobs.get(&id).map_err(told)).await.map(Json)
}

async fn cancel(State(api): State<Api>, Segment(id): Segment) -> Result<Json<Job>, ApiError> {
    let jobs = api.correlation.jobs;
    blocking(move || jobs.cancel(&id).map_err(told)).await.map(Json)
}

fn told(error: JobError) -> ApiError {
    match error {
        JobError::Busy => ApiError::conflict(error.to_string()),
        JobError::Unknown => ApiError::not_found(error.to_string()),
        JobError::Contended => ApiError::unavailable(error.to_string()),
        JobError::Thread(_) => ApiError::internal(error),
        JobError::Store(error) => failed(error),
    }
}
