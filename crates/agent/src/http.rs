//! The agent's HTTP API (SURFACE, "HTTP"): what it sees, and what can be changed while it runs.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use deeptrace_export::SpanJson;
use deeptrace_http::{
    ApiError, Body, Exposition, Kind, Params, Segment, Settings, config_routes, process_metrics,
};
use deeptrace_model::{Pid, Span, TraceId, TraceSpan};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::control::{Answer, Ask, Control, ControlError, Program};
use crate::status::{Report, Status};

/// What the routes work with.
#[derive(Clone)]
pub struct Api {
    /// What the pipeline tells.
    pub status: Arc<Status>,
    /// What the pipeline can be asked.
    pub control: Control,
    /// Turns true when the process is to end.
    pub stop: Arc<watch::Sender<bool>>,
    /// Version of the program.
    pub version: &'static str,
}

/// All routes of the agent.
pub fn routes(api: Api, settings: Arc<dyn Settings>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/processes", get(processes).post(watch_process))
        .route("/processes/{pid}", delete(unwatch_process))
        .route("/spans", get(spans))
        .route("/spans/stats", get(span_stats))
        .route("/ebpf/programs", get(programs))
        .route("/ebpf/maps", get(maps))
        .route("/start", post(start_capture))
        .route("/stop", post(stop_capture))
        .route("/shutdown", post(shutdown))
        .with_state(api)
        .merge(config_routes(settings))
}

/// A page of a listing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    #[serde(default = "default_limit")]
    limit: usize,
    #[serde(default)]
    cursor: Option<u32>,
}

const LIMIT_MAX: usize = 1_000;

fn default_limit() -> usize {
    100
}

impl PageQuery {
    fn checked(self) -> Result<(usize, u32), ApiError> {
        match self.limit {
            1..=LIMIT_MAX => Ok((self.limit, self.cursor.unwrap_or(0))),
            _ => Err(ApiError::invalid("limit is between 1 and 1000").with("limit", self.limit)),
        }
    }
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// `GET /status`.
#[derive(Serialize)]
struct StatusAnswer {
    version: &'static str,
    pid: u32,
    started_unix_nano: u64,
    #[serde(flatten)]
    report: Report,
    counters: std::collections::BTreeMap<&'static str, u64>,
}

async fn status(State(api): State<Api>) -> Json<impl Serialize> {
    Json(StatusAnswer {
        version: api.version,
        pid: std::process::id(),
        started_unix_nano: api.status.started.0,
        report: api.status.report(),
        counters: api.status.counters(),
    })
}

/// Its own health. Of requests and their durations the server tells, which sees the spans of all.
async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Exposition {
    let mut out = Exposition::accepted_by(&headers);
    out.counters(api.status.counters());
    let report = api.status.report();
    let gauges = [
        ("deeptrace_agent_step_level", "How far it has stepped down.", report.step.level().into()),
        ("deeptrace_agent_cpu_ratio", "Share of all processors, last second.", report.cpu_share),
        ("deeptrace_agent_memory_bytes", "Own memory.", report.memory_bytes as f64),
        ("deeptrace_agent_capturing", "1 while it captures.", f64::from(report.is_capturing())),
    ];
    for (name, help, value) in gauges {
        out.family(name, Kind::Gauge, help);
        out.sample(name, &[], value);
    }
    // An agent whose pipeline does not answer still has the rest to tell.
    if let Ok(Answer::Programs(programs)) = api.control.ask(Ask::Programs).await {
        kernel(&mut out, &programs);
    }
    if let Ok(Answer::Maps(maps)) = api.control.ask(Ask::Maps).await {
        let name = "deeptrace_ebpf_map_memory_bytes";
        out.family(name, Kind::Gauge, "Kernel memory of a map.");
        for map in maps {
            out.sample(name, &[("map", &map.name), ("id", &map.id.to_string())], map.memory_bytes);
        }
    }
    process_metrics(&mut out);
    out
}

/// Time of each kernel program; zero where `kernel.bpf_stats_enabled` is off.
fn kernel(out: &mut Exposition, programs: &[Program]) {
    let labels = |program: &Program| (program.name.clone(), program.id.to_string());
    let name = "deeptrace_ebpf_program_runs_total";
    out.family(name, Kind::Counter, "Runs of a kernel program.");
    for program in programs {
        let (program_name, id) = labels(program);
        out.sample(name, &[("program", &program_name), ("id", &id)], program.runs);
    }
    let name = "deeptrace_ebpf_program_seconds_total";
    out.family(name, Kind::Counter, "Time spent in a kernel program.");
    for program in programs {
        let (program_name, id) = labels(program);
        let seconds = program.run_time_ns as f64 / 1e9;
        out.sample(name, &[("program", &program_name), ("id", &id)], seconds);
    }
}

/// `GET /processes`: those that are watched; with `all=true` the others as well.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessQuery {
    #[serde(default = "default_limit")]
    limit: usize,
    #[serde(default)]
    cursor: Option<u32>,
    #[serde(default)]
    all: bool,
}

/// The cursor is the last pid.
async fn processes(
    State(api): State<Api>,
    Params(query): Params<ProcessQuery>,
) -> Result<Json<Value>, ApiError> {
    let ProcessQuery { limit, cursor, all } = query;
    let (limit, after) = PageQuery { limit, cursor }.checked()?;
    let Answer::Processes(mut found) = ask(&api, Ask::Processes).await? else {
        return Err(ApiError::internal("the pipeline answered another question"));
    };
    found.retain(|process| process.pid > after && (all || process.watched));
    let next = (found.len() > limit).then(|| found[limit - 1].pid.to_string());
    found.truncate(limit);
    Ok(Json(json!({"processes": found, "next_cursor": next})))
}

/// The cursor is how many to skip, so spans that come meanwhile move the pages.
async fn spans(
    State(api): State<Api>,
    Params(page): Params<PageQuery>,
) -> Result<Json<Value>, ApiError> {
    let (limit, skip) = page.checked()?;
    let found = api.status.recent(skip as usize, limit);
    let next = (found.len() == limit).then(|| (skip as usize + limit).to_string());
    let spans = found.iter().map(|span| span_json(span)).collect::<Result<Vec<_>, _>>();
    Ok(Json(json!({"spans": spans.map_err(ApiError::internal)?, "next_cursor": next})))
}

/// A trace id that finds the trace at the server; its parent is not known here.
fn span_json(span: &Span) -> Result<Value, serde_json::Error> {
    let placed = TraceSpan { span: Arc::new(span.clone()), parent: None, link: None };
    serde_json::to_value(SpanJson::new(TraceId::from_root(span.id), &placed))
}

async fn span_stats(State(api): State<Api>) -> Json<Value> {
    Json(json!({"stats": api.status.rows()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchBody {
    pid: u32,
}

async fn watch_process(
    State(api): State<Api>,
    Body(body): Body<WatchBody>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    ask(&api, Ask::Watch(Pid(body.pid))).await?;
    Ok((StatusCode::CREATED, Json(json!({"pid": body.pid}))))
}

async fn unwatch_process(
    State(api): State<Api>,
    Segment(pid): Segment,
) -> Result<Json<Value>, ApiError> {
    let wrong = |_| ApiError::invalid("the process id is a number").with("pid", pid.as_str());
    let number: u32 = pid.parse().map_err(wrong)?;
    ask(&api, Ask::Unwatch(Pid(number))).await?;
    Ok(Json(json!({"pid": number})))
}

async fn programs(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    match ask(&api, Ask::Programs).await? {
        Answer::Programs(programs) => Ok(Json(json!({"programs": programs}))),
        _ => Err(ApiError::internal("the pipeline answered another question")),
    }
}

async fn maps(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    match ask(&api, Ask::Maps).await? {
        Answer::Maps(maps) => Ok(Json(json!({"maps": maps}))),
        _ => Err(ApiError::internal("the pipeline answered another question")),
    }
}

async fn start_capture(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    ask(&api, Ask::Capture(true)).await?;
    Ok(Json(json!({"state": "capturing"})))
}

async fn stop_capture(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    ask(&api, Ask::Capture(false)).await?;
    Ok(Json(json!({"state": "stopped"})))
}

/// Ends the process, as `deeptrace agent stop` asks. The answer goes out first: the listener lets
/// open answers end.
async fn shutdown(State(api): State<Api>, _request: Request) -> (StatusCode, Json<Value>) {
    api.stop.send_replace(true);
    (StatusCode::ACCEPTED, Json(json!({"status": "stopping", "pid": std::process::id()})))
}

async fn ask(api: &Api, question: Ask) -> Result<Answer, ApiError> {
    api.control.ask(question).await.map_err(|error| match error {
        ControlError::NotFound(message) => ApiError::not_found(message),
        ControlError::Refused(message) => ApiError::internal(message),
        ControlError::Busy => ApiError::unavailable(error.to_string()),
    })
}
