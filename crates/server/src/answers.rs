//! Questions as they are asked over HTTP or on the command line, and answers as both print them
//! (docs: `/openapi.json`).

use std::collections::BTreeMap;
use std::sync::Arc;

use deeptrace_export::SpanJson;
use deeptrace_http::{ApiError, format_time, parse_duration, parse_time};
use deeptrace_model::{
    Gap, Span, SpanId, SpanKind, Trace, TraceId, TraceSpan, TraceSummary, WallTime,
};
use deeptrace_query::{Assembly, Clock, Clocks, FindError, Limits, Start};
use deeptrace_store::{Cursor, Filter, Store, StoreError, Window};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::View;
use crate::asking::Missing;

/// Rows of one page, at most.
pub const LIMIT_MAX: usize = 1_000;

/// The query of `GET /traces` and `GET /spans/search`; all of it may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// `service.name` of a span of the trace.
    pub service: String,
    /// Name of that span.
    pub operation: String,
    /// Its kind.
    pub kind: String,
    /// It took at least this long, e.g. `100ms`.
    pub min_duration: String,
    /// It took at most this long.
    pub max_duration: String,
    /// Only spans with status error.
    pub errors: bool,
    /// It started at this time or later; RFC 3339 or relative (`-15m`).
    pub start: String,
    /// It started at this time or earlier.
    pub end: String,
    /// Its trace has so many spans or more; of `GET /traces` alone.
    pub min_spans: Option<usize>,
    /// Rows of a page; 20 where left out.
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: String,
}

/// A page of `GET /traces`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traces {
    /// The newest first.
    pub traces: Vec<Summary>,
    /// For the next page; absent at the end.
    pub next_cursor: Option<String>,
    /// Agents that keep their spans and did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

/// A trace in one line of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// 32 hex digits.
    pub trace_id: String,
    /// Service of the root span.
    pub service: String,
    /// Name of the root span.
    pub name: String,
    /// Start of the earliest span.
    pub start_time_unix_nano: u64,
    /// From the earliest start to the latest end.
    pub duration_ns: u64,
    /// Spans.
    pub span_count: u32,
    /// Spans with status error.
    pub error_count: u32,
    /// Each service with its spans, by name.
    pub services: Vec<ServiceCount>,
    /// Whether events are known to be missing in or around it.
    pub incomplete: bool,
}

/// A service in a [`Summary`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceCount {
    /// `service.name`.
    pub name: String,
    /// Its spans in this trace.
    pub span_count: u32,
}

/// `GET /traces/{trace_id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceAnswer {
    /// 32 hex digits.
    pub trace_id: String,
    /// Span JSON, parents before their children.
    pub spans: Vec<Value>,
    /// Times around it in which events are missing.
    pub gaps: Vec<GapAnswer>,
    /// Set when a limit cut it off: how many spans it may have beyond.
    pub cut_at: Option<u32>,
    /// Hosts whose clocks differ from that of the first span's host. Times of spans are as their own
    /// hosts took them; who shows them beside each other takes `ahead_ns` off.
    #[serde(default)]
    pub clocks: Vec<ClockAnswer>,
    /// Agents that keep their spans, may have a part of it, and did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

/// How far a host's clock differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAnswer {
    /// `host.name`.
    pub host_name: String,
    /// By so much it is ahead; negative: behind.
    pub ahead_ns: i64,
    /// The true difference is at most so much less or more.
    pub uncertainty_ns: u64,
    /// Exchanges that say so.
    pub exchange_count: usize,
}

impl From<&Clock> for ClockAnswer {
    fn from(clock: &Clock) -> Self {
        Self {
            host_name: clock.host.to_string(),
            ahead_ns: clock.ahead,
            uncertainty_ns: clock.uncertainty,
            exchange_count: clock.exchanges,
        }
    }
}

/// A time in which events are missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapAnswer {
    /// Since when.
    pub from_unix_nano: u64,
    /// Until when.
    pub to_unix_nano: u64,
    /// Why: `agent_down`, `ring_full`, `paused`, `store_full`, `buffer_full`.
    pub cause: Value,
    /// Events or spans missing, at least; zero where it cannot be counted.
    pub events: u64,
    /// Bytes missed on connections that survived it.
    pub bytes: u64,
}

/// A page of `GET /spans/search`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanPage {
    /// Span JSON, the newest first.
    pub spans: Vec<Value>,
    /// For the next page; absent at the end.
    pub next_cursor: Option<String>,
    /// Agents that keep their spans and did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
}

impl Search {
    /// What it means at `now`.
    pub fn filter(&self, now: WallTime) -> Result<Filter, ApiError> {
        let invalid = |error: deeptrace_http::MomentError| ApiError::invalid(error.to_string());
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let length = |text: &String| {
            given(text).map(|text| parse_duration(&text)).transpose().map_err(invalid)
        };
        Ok(Filter {
            window: window(&self.start, &self.end, now)?,
            service: given(&self.service),
            name: given(&self.operation),
            kind: given(&self.kind).map(|kind| parse_kind(&kind)).transpose()?,
            min_duration: length(&self.min_duration)?,
            max_duration: length(&self.max_duration)?,
            errors_only: self.errors,
        })
    }

    /// Where the page begins.
    pub fn after(&self) -> Result<Option<Cursor>, ApiError> {
        match self.cursor.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                ApiError::invalid("cursor is next_cursor of the page before").with("cursor", text)
            }),
        }
    }

    /// Rows of the page.
    pub fn limit(&self) -> Result<usize, ApiError> {
        limit(self.limit, 20, LIMIT_MAX)
    }
}

/// Rows that were asked for, `otherwise` where nobody said.
pub(crate) fn limit(
    asked: Option<usize>,
    otherwise: usize,
    most: usize,
) -> Result<usize, ApiError> {
    match asked.unwrap_or(otherwise) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => {
            let message = format!("limit is between 1 and {most}");
            Err(ApiError::invalid(message).with("limit", limit))
        }
    }
}

/// Between two times as people type them; open where they are empty.
pub fn window(start: &str, end: &str, now: WallTime) -> Result<Window, ApiError> {
    let moment = |text: &str, otherwise: WallTime| match text {
        "" => Ok(otherwise),
        text => parse_time(text, now).map_err(|error| ApiError::invalid(error.to_string())),
    };
    let window =
        Window { from: moment(start, Window::ALL.from)?, to: moment(end, Window::ALL.to)? };
    if window.from > window.to {
        return Err(ApiError::invalid("start is after end")
            .with("start", format_time(window.from))
            .with("end", format_time(window.to)));
    }
    Ok(window)
}

fn parse_kind(text: &str) -> Result<SpanKind, ApiError> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|_| {
        ApiError::invalid("kind is server, client, producer, consumer or internal")
            .with("kind", text)
    })
}

/// Looks at the store for a page of which not all that is found is shown, at most: a page may be short, or
/// empty, and have a next one.
const LOOKS_MAX: usize = 8;

/// `GET /traces`.
pub fn traces(
    store: &dyn Store,
    search: &Search,
    view: &View,
    limits: Limits,
    now: WallTime,
) -> Result<Traces, ApiError> {
    let (filter, mut next, limit) = (search.filter(now)?, search.after()?, search.limit()?);
    let Some(filter) = view.filter(filter) else { return Ok(Traces::default()) };
    let min_spans = search.min_spans.unwrap_or_default();
    let mut traces = Vec::new();
    for _ in 0..LOOKS_MAX {
        let wanted = limit - traces.len();
        let mut take = |trace: &Trace| {
            let seen = view.reduced(trace, &filter);
            let seen = seen.filter(|seen| seen.spans.len() >= min_spans);
            let before = traces.len();
            traces.extend(seen.map(|seen| Summary::from(deeptrace_query::summary(&seen))));
            Ok::<bool, StoreError>(traces.len() > before)
        };
        next = deeptrace_query::walk(store, &filter, next, wanted, limits, &mut take)
            .map_err(failed)?;
        if next.is_none() || traces.len() >= limit {
            break;
        }
    }
    let next_cursor = next.map(|cursor| cursor.to_string());
    Ok(Traces { traces, next_cursor, missing: Vec::new() })
}

/// The trace of that trace id, or with that span; [`ApiError::not_found`] if there is none.
pub fn find(
    store: &dyn Store,
    id: &str,
    limits: Limits,
) -> Result<deeptrace_model::Trace, ApiError> {
    let found = deeptrace_query::find(store, id, limits).map_err(|error| match error {
        FindError::NoId { .. } => ApiError::invalid(error.to_string()),
        FindError::Store(error) => failed(error),
    })?;
    found.ok_or_else(|| absent(id))
}

fn absent(id: &str) -> ApiError {
    ApiError::not_found("no span of this trace is stored").with("id", id)
}

/// `GET /traces/{trace_id}`.
pub fn trace(
    store: &dyn Store,
    id: &str,
    view: &View,
    limits: Limits,
) -> Result<TraceAnswer, ApiError> {
    let trace = view.trace(find(store, id, limits)?).ok_or_else(|| absent(id))?;
    let spans = trace.spans.iter().map(|span| span_value(trace.id, span, view));
    Ok(TraceAnswer {
        trace_id: trace.id.to_string(),
        spans: spans.collect::<Result<_, _>>()?,
        clocks: Clocks::of(&trace).differing().iter().map(ClockAnswer::from).collect(),
        gaps: trace.gaps.into_iter().map(GapAnswer::from).collect(),
        cut_at: trace.cut_at,
        missing: Vec::new(),
    })
}

/// `GET /spans/search`. Each span comes with its place in its trace, so each trace is assembled,
/// once for the page.
pub fn spans(
    store: &dyn Store,
    search: &Search,
    view: &View,
    limits: Limits,
    now: WallTime,
) -> Result<SpanPage, ApiError> {
    if search.min_spans.is_some() {
        return Err(ApiError::invalid("min_spans is of traces: ask GET /traces"));
    }
    let (filter, after, limit) = (search.filter(now)?, search.after()?, search.limit()?);
    let Some(filter) = view.filter(filter) else { return Ok(SpanPage::default()) };
    let page = store.scan(&filter, after, limit).map_err(failed)?;
    let mut placed: BTreeMap<SpanId, Value> = BTreeMap::new();
    for span in &page.spans {
        if placed.contains_key(&span.id) || !view.sees(&span.service) {
            continue;
        }
        let assembly = Assembly::new(Start::Span(Arc::clone(span)), limits);
        if let Some(trace) = deeptrace_query::run(store, assembly).map_err(failed)? {
            let is_asked_for = |span: &Span| filter.matches(span) && view.sees(&span.service);
            for member in trace.spans.iter().filter(|member| is_asked_for(&member.span)) {
                placed.insert(member.span.id, span_value(trace.id, member, view)?);
            }
        }
    }
    Ok(SpanPage {
        spans: page.spans.iter().filter_map(|span| placed.remove(&span.id)).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
        missing: Vec::new(),
    })
}

/// Span JSON, and how many candidates its parent was chosen from. Without payloads for whom they
/// are not meant.
pub fn span_value(trace: TraceId, span: &TraceSpan, view: &View) -> Result<Value, ApiError> {
    let json = SpanJson::new(trace, span);
    let mut value = serde_json::to_value(json).map_err(ApiError::internal)?;
    if let (false, Some(fields)) = (view.has_payloads(), value.as_object_mut()) {
        fields.remove("request_payload");
        fields.remove("response_payload");
    }
    if let (Some(link), Some(shown)) = (&span.link, value["link"].as_object_mut()) {
        shown.insert("candidates".to_owned(), link.candidates.into());
    }
    Ok(value)
}

/// An error of the store, for whoever asked: 503 where it is worth trying again.
pub fn failed(error: StoreError) -> ApiError {
    match error.fault() {
        deeptrace_store::Fault::Caller => ApiError::invalid(error.to_string()),
        _ if error.retry() => ApiError::unavailable(error.to_string()),
        _ => ApiError::internal(error),
    }
}

impl From<TraceSummary> for Summary {
    fn from(summary: TraceSummary) -> Self {
        let services = summary.services.into_iter();
        Self {
            trace_id: summary.id.to_string(),
            service: summary.service,
            name: summary.name,
            start_time_unix_nano: summary.start.0,
            duration_ns: summary.duration.0,
            span_count: summary.spans,
            error_count: summary.errors,
            services: services
                .map(|(name, span_count)| ServiceCount { name, span_count })
                .collect(),
            incomplete: summary.incomplete,
        }
    }
}

impl From<Gap> for GapAnswer {
    fn from(gap: Gap) -> Self {
        Self {
            from_unix_nano: gap.from.0,
            to_unix_nano: gap.to.0,
            // A unit variant of an enum always becomes a text.
            cause: serde_json::to_value(gap.cause).unwrap_or_default(),
            events: gap.events,
            bytes: gap.bytes,
        }
    }
}
