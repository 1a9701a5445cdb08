//! What the agent knows of itself, for its API. The pipeline tells; nothing here is asked of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deeptrace_model::{Duration, Span, SpanKind, SpanStatus, Text, WallTime};
use serde::Serialize;

use crate::limits::{Cause, Change, Step};

/// Spans kept for `GET /spans`.
const RECENT_MAX: usize = 1_000;
/// Spans of one batch kept for `GET /spans`: copying all of them would cost more than it shows.
const RECENT_OF_BATCH_MAX: usize = 64;
/// Rows of `GET /spans/stats`; further ones are counted in the row `{other}`.
const ROWS_MAX: usize = 1_000;

/// What the agent knows of itself. Shared by the pipeline, which tells, and the API, which asks.
#[derive(Debug)]
pub struct Status {
    /// When it started.
    pub started: WallTime,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When capture was first on.
    begun: Option<WallTime>,
    /// Since when it is off again.
    stopped: Option<WallTime>,
    hook: String,
    step: Step,
    cause: Option<Cause>,
    cpu_share: f64,
    memory_bytes: u64,
    held: Duration,
    counters: BTreeMap<&'static str, u64>,
    recent: VecDeque<Arc<Span>>,
    rows: BTreeMap<RowKey, Row>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    service: Text,
    protocol: Cow<'static, str>,
    is_server: bool,
}

/// A row of `GET /spans/stats`: spans of one service, protocol and side since the start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `service.name`.
    pub service: String,
    /// Name in the table of protocols.
    pub protocol: String,
    /// Which side.
    pub kind: SpanKind,
    /// Spans.
    pub span_count: u64,
    /// Spans with status error.
    pub error_count: u64,
    /// Sum of their durations.
    pub total_duration_ns: u64,
    /// The longest.
    pub max_duration_ns: u64,
}

/// What `GET /status` says of the running pipeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `capturing` or `stopped`.
    pub state: &'static str,
    /// Where in the kernel calls are seen; empty before it was decided.
    pub hook: String,
    /// How much is done.
    pub step: Step,
    /// What made the last change of the step; absent while there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_cause: Option<Cause>,
    /// Share of all processors, 0 to 1, over the last second.
    pub cpu_share: f64,
    /// Resident memory without what is shared with the kernel.
    pub memory_bytes: u64,
    /// How long finished spans may be held until sampling decides on their trace; zero where every trace is kept.
    pub held_ms: u64,
}

impl Report {
    /// Whether capture is on.
    pub fn is_capturing(&self) -> bool {
        self.state == "capturing"
    }
}

impl Status {
    /// Of an agent that starts now.
    pub fn new(now: WallTime) -> Self {
        Self { started: now, inner: Mutex::default() }
    }

    /// Capture is on or off since `now`; `hook` says where in the kernel calls are seen.
    pub fn capturing(&self, is_on: bool, hook: &str, now: WallTime) {
        let mut inner = self.lock();
        inner.stopped = (!is_on).then_some(now);
        if is_on {
            inner.begun.get_or_insert(now);
        }
        hook.clone_into(&mut inner.hook);
    }

    /// The step changed.
    pub fn stepped(&self, change: Change) {
        let mut inner = self.lock();
        inner.step = change.to;
        inner.cause = Some(change.cause);
    }

    /// What was used over the last second.
    pub fn used(&self, cpu_share: f64, memory_bytes: u64) {
        let mut inner = self.lock();
        inner.cpu_share = cpu_share;
        inner.memory_bytes = memory_bytes;
    }

    /// Finished spans may be held for so long.
    pub fn held(&self, held: Duration) {
        self.lock().held = held;
    }

    /// Replaces the counters with what `collect` gives, about once a second. Two stages that give
    /// the same name are added up.
    pub fn count(&self, collect: impl FnOnce(&mut dyn FnMut(&'static str, u64))) {
        let mut counters = BTreeMap::new();
        collect(&mut |name, value| *counters.entry(name).or_default() += value);
        self.lock().counters = counters;
    }

    /// Spans were finished.
    pub fn spans(&self, spans: &[Span]) {
        let mut inner = self.lock();
        for run in spans.chunk_by(RowKey::is_same) {
            inner.add(run);
        }
        let kept = &spans[spans.len().saturating_sub(RECENT_OF_BATCH_MAX)..];
        let surplus = (inner.recent.len() + kept.len()).saturating_sub(RECENT_MAX);
        inner.recent.drain(..surplus);
        inner.recent.extend(kept.iter().cloned().map(Arc::new));
    }

    /// For `GET /status`.
    pub fn report(&self) -> Report {
        let inner = self.lock();
        Report {
            state: if inner.is_capturing() { "capturing" } else { "stopped" },
            hook: inner.hook.clone(),
            step: inner.step,
            step_cause: inner.cause,
            cpu_share: inner.cpu_share,
            memory_bytes: inner.memory_bytes,
            held_ms: inner.held.0 / 1_000_000,
        }
    }

    /// Whether capture is on.
    pub fn is_capturing(&self) -> bool {
        self.lock().is_capturing()
    }

    /// When capture was first on; `None`: it was not yet.
    pub fn begun(&self) -> Option<WallTime> {
        self.lock().begun
    }

    /// Since when capture is off; `None`: it is on, or was never.
    pub fn stopped(&self) -> Option<WallTime> {
        self.lock().stopped
    }

    /// All counters, by name.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counters.clone()
    }

    /// The latest spans, the latest first: those behind the first `skip`, at most `limit`.
    pub fn recent(&self, skip: usize, limit: usize) -> Vec<Arc<Span>> {
        self.lock().recent.iter().rev().skip(skip).take(limit).cloned().collect()
    }

    /// For `GET /spans/stats`, by service, protocol and side.
    pub fn rows(&self) -> Vec<Row> {
        self.lock().rows.values().cloned().collect()
    }

    /// A thread that panicked while it held the lock left at worst a number that is one short.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_capturing(&self) -> bool {
        self.begun.is_some() && self.stopped.is_none()
    }

    /// Counts spans of one row.
    fn add(&mut self, run: &[Span]) {
        let Some(span) = run.first() else { return };
        let is_server = span.kind.is_receiver();
        let mut key =
            RowKey { service: span.service.clone(), protocol: span.protocol.clone(), is_server };
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&key) {
            key.service = Text::new_static("{other}");
        }
        let row = self.rows.entry(key).or_insert_with_key(|key| Row {
            service: key.service.to_string(),
            protocol: key.protocol.to_string(),
            kind: if is_server { SpanKind::Server } else { SpanKind::Client },
            span_count: 0,
            error_count: 0,
            total_duration_ns: 0,
            max_duration_ns: 0,
        });
        for span in run {
            let Duration(duration) = span.end.since(span.start);
            row.span_count += 1;
            row.error_count += u64::from(span.status == SpanStatus::Error);
            row.total_duration_ns = row.total_duration_ns.saturating_add(duration);
            row.max_duration_ns = row.max_duration_ns.max(duration);
        }
    }
}

impl RowKey {
    /// Whether two spans are of one row.
    fn is_same(one: &Span, other: &Span) -> bool {
        one.kind.is_receiver() == other.kind.is_receiver()
            && one.protocol == other.protocol
            && one.service == other.service
    }
}
