//! `GET /analytics/errors`: errors in groups of one kind, those with the most first. Counts of services are
//! of everything stored; groups are made of the newest errors, at most [`SAMPLE_MAX`], and the answer says
//! whether that were all.

use std::collections::BTreeMap;
use std::sync::Arc;

use deeptrace_http::ApiError;
use deeptrace_model::{Span, SpanKind, TraceId, Value, WallTime};
use deeptrace_query::shape;
use deeptrace_store::{Filter, Step, Store, Window};
use serde::{Deserialize, Serialize};

use super::Period;
use crate::answers::{failed, limit};

/// Errors that are looked at.
const SAMPLE_MAX: usize = 10_000;
/// Groups of an answer, at most.
const GROUPS_MAX: usize = 1_000;

/// The query; the last hour where no time is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorsQuery {
    /// Only this service.
    pub service: String,
    /// Only this operation.
    pub operation: String,
    /// Since when.
    pub start: String,
    /// Until when.
    pub end: String,
    /// Groups at most; 100 where it is left out.
    pub limit: Option<usize>,
}

/// Errors in groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// What was asked about.
    #[serde(flatten)]
    pub period: Period,
    /// Errors in all, of this service or of all.
    pub error_count: u64,
    /// Those of them that were put into groups.
    pub sampled: usize,
    /// Those with the most errors first.
    pub groups: Vec<Group>,
    /// Whether there are more errors than were looked at, or more groups than are answered.
    pub is_cut: bool,
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `service.name`.
    pub service: String,
    /// Name of the spans.
    pub operation: String,
    /// Their kind.
    pub kind: SpanKind,
    /// Their `error.type`; absent where they have none.
    pub error_type: Option<String>,
    /// Their status message without numbers, ids and what is in quotes.
    pub message: Option<String>,
    /// Spans.
    pub count: u64,
    /// End of the earliest.
    pub first_unix_nano: u64,
    /// End of the latest.
    pub last_unix_nano: u64,
    /// An id that finds the trace of the latest.
    pub last_trace_id: String,
    /// Status message of the latest, as it is.
    pub last_message: Option<String>,
}

/// What errors of one kind have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub(crate) service: String,
    pub(crate) operation: String,
    kind: u8,
    pub(crate) error_type: Option<String>,
    pub(crate) message: Option<String>,
}

impl GroupKey {
    /// Of a span with an error.
    pub(crate) fn of(span: &Span) -> Self {
        let error_type = span.attributes.get("error.type").and_then(Value::as_text);
        Self {
            service: span.service.to_string(),
            operation: span.name.to_string(),
            kind: span.kind as u8,
            error_type: error_type.map(str::to_owned),
            message: span.status_message.as_deref().map(shape),
        }
    }
}

/// Answers.
pub fn errors(store: &dyn Store, query: &ErrorsQuery, now: WallTime) -> Result<Errors, ApiError> {
    let period = Period::new(&query.start, &query.end, now)?;
    let limit = limit(query.limit, 100, GROUPS_MAX)?;
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let (service, name) = (given(&query.service), given(&query.operation));
    let error_count = count(store, period.window(), service.as_deref(), name.as_deref())?;
    let filter = Filter { service, name, errors_only: true, ..Filter::in_window(period.window()) };
    let (spans, is_sampled) = newest(store, &filter)?;
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    for span in &spans {
        let key = GroupKey::of(span);
        let group = groups.entry(key).or_insert_with_key(|key| Group {
            service: key.service.clone(),
            operation: key.operation.clone(),
            kind: span.kind,
            error_type: key.error_type.clone(),
            message: key.message.clone(),
            count: 0,
            first_unix_nano: span.end.0,
            last_unix_nano: span.end.0,
            last_trace_id: TraceId::from_root(span.id).to_string(),
            last_message: span.status_message.clone(),
        });
        group.count += 1;
        group.first_unix_nano = group.first_unix_nano.min(span.end.0);
        group.last_unix_nano = group.last_unix_nano.max(span.end.0);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.last_unix_nano)));
    let is_cut = is_sampled || groups.len() > limit;
    groups.truncate(limit);
    Ok(Errors { period, error_count, sampled: spans.len(), groups, is_cut })
}

/// The newest spans that pass, and whether there are more of them. A page may be short and yet have a next.
fn newest(store: &dyn Store, filter: &Filter) -> Result<(Vec<Arc<Span>>, bool), ApiError> {
    let (mut spans, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(filter, after, SAMPLE_MAX - spans.len()).map_err(failed)?;
        spans.extend(page.spans);
        after = page.next;
        if after.is_none() || spans.len() >= SAMPLE_MAX {
            return Ok((spans, after.is_some()));
        }
    }
}

fn count(
    store: &dyn Store,
    window: Window,
    service: Option<&str>,
    name: Option<&str>,
) -> Result<u64, ApiError> {
    let rollups = store.rollups(window, Step::Whole, service).map_err(failed)?;
    let rows = rollups.operations.iter();
    let rows = rows.filter(|row| name.is_none_or(|name| row.operation.name == name));
    Ok(rows.map(|row| row.tally.errors).sum())
}
