//! Search as Jaeger has it: traces with a span that passes all that is asked for, the newest first. Tags
//! are looked for in what the filter of the store leaves, at most [`LOOKED_MAX`] traces.

use std::collections::BTreeMap;

use deeptrace_http::{ApiError, parse_duration};
use deeptrace_model::{Duration, Span, SpanStatus, Trace, Value, WallTime};
use deeptrace_query::{Limits, walk};
use deeptrace_store::{Filter, Store, StoreError, Window};

use super::{Pairs, shown};
use crate::answers::failed;

/// Traces of one answer: what Jaeger gives where nobody says, and at most.
pub(super) const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_500;
/// Traces that are looked through for tags.
const LOOKED_MAX: usize = 5_000;
/// How far back where nobody says: two days, as in Jaeger.
const LOOKBACK: Duration = Duration::from_secs(48 * 3600);

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Search {
    pub(super) filter: Filter,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) limit: usize,
}

impl Search {
    /// The query of `GET /api/traces`.
    pub(super) fn read(query: &Pairs, now: WallTime) -> Result<Self, ApiError> {
        let service = query.first("service");
        if service.is_none() {
            return Err(ApiError::invalid("parameter 'service' is required"));
        }
        let mut filter = Filter::in_window(window(query, now)?);
        filter.service = service.map(str::to_owned);
        filter.name = query.first("operation").map(str::to_owned);
        filter.min_duration = length(query, "minDuration")?;
        filter.max_duration = length(query, "maxDuration")?;
        if filter.min_duration.zip(filter.max_duration).is_some_and(|(min, max)| min > max) {
            return Err(ApiError::invalid("'maxDuration' should be greater than 'minDuration'"));
        }
        let limit = match query.first("limit") {
            None => LIMIT,
            Some(text) => text.parse().map_err(|_| invalid("limit", text, "a number"))?,
        };
        Ok(Self::new(filter, tags(query)?, limit))
    }

    /// With what the store can filter by itself.
    pub(super) fn new(filter: Filter, tags: BTreeMap<String, String>, limit: usize) -> Self {
        let mut search = Self { filter, tags, limit: limit.min(LIMIT_MAX) };
        if search.tags.get("error").is_some_and(|value| value == "true") {
            search.tags.remove("error");
            search.filter.errors_only = true;
        }
        search
    }

    /// The traces, in Jaeger's shape.
    pub(super) fn run(
        &self,
        store: &dyn Store,
        limits: Limits,
    ) -> Result<Vec<serde_json::Value>, ApiError> {
        let mut found = Vec::new();
        self.each(store, limits, &mut |trace| {
            found.push(shown(trace));
        })?;
        found.into_iter().collect()
    }

    /// Tells each of the traces to `take`.
    pub(super) fn each(
        &self,
        store: &dyn Store,
        limits: Limits,
        take: &mut dyn FnMut(&Trace),
    ) -> Result<(), ApiError> {
        let (mut after, mut looked, mut taken) = (None, 0, 0);
        loop {
            let page = match self.tags.is_empty() {
                true => self.limit - taken,
                false => (LOOKED_MAX - looked).min(self.limit.max(100)),
            };
            if page == 0 || taken >= self.limit {
                return Ok(());
            }
            let next = walk(store, &self.filter, after, page, limits, &mut |trace| {
                looked += 1;
                if taken < self.limit && self.passes(trace) {
                    taken += 1;
                    take(trace);
                }
                Ok::<bool, StoreError>(true)
            });
            after = next.map_err(failed)?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Whether one span passes all of it.
    fn passes(&self, trace: &Trace) -> bool {
        self.tags.is_empty()
            || trace.spans.iter().any(|it| {
                self.filter.matches(&it.span)
                    && self.tags.iter().all(|(name, value)| has(&it.span, name, value))
            })
    }
}

/// Whether a span has a tag under which Jaeger shows what it has.
fn has(span: &Span, name: &str, wanted: &str) -> bool {
    match name {
        "span.kind" => serde_json::json!(span.kind) == wanted,
        "error" => (span.status == SpanStatus::Error) == (wanted == "true"),
        "otel.status_code" if wanted == "ERROR" => span.status == SpanStatus::Error,
        "deeptrace.protocol" => span.protocol == wanted,
        _ => span.all_attributes().get(name).is_some_and(|value| is(value, wanted)),
    }
}

fn is(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Text(text) => text == wanted,
        Value::Int(number) => number.to_string() == wanted,
        Value::Float(number) => wanted.parse() == Ok(*number),
        Value::Bool(yes) => yes.to_string() == wanted,
        Value::Texts(texts) => {
            serde_json::from_str(wanted).is_ok_and(|it: Vec<String>| it == *texts)
        }
    }
}

/// `start` and `end` in microseconds since the epoch; else `lookback`, else two days.
fn window(query: &Pairs, now: WallTime) -> Result<Window, ApiError> {
    let moment = |name: &str| -> Result<Option<WallTime>, ApiError> {
        let Some(text) = query.first(name) else { return Ok(None) };
        let micros: u64 =
            text.parse().map_err(|_| invalid(name, text, "microseconds since the epoch"))?;
        Ok(Some(WallTime(micros.saturating_mul(1000))))
    };
    let lookback = length(query, "lookback").unwrap_or(None).unwrap_or(LOOKBACK);
    let to = moment("end")?.unwrap_or(now);
    let from = moment("start")?.unwrap_or_else(|| to.minus(lookback));
    Ok(Window { from, to })
}

/// A length of time as Go writes it, which is as we do but for units in a row (`1m30s`).
pub(super) fn length(query: &Pairs, name: &str) -> Result<Option<Duration>, ApiError> {
    let Some(text) = query.first(name) else { return Ok(None) };
    parse_duration(text).map(Some).map_err(|_| invalid(name, text, "a duration like 1.2s or 100ms"))
}

/// `tag=NAME:VALUE`, any number of times, and `tags`, a JSON object of texts.
fn tags(query: &Pairs) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for text in query.all("tag") {
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| invalid("tag", text, "a name and a value, with a colon between"))?;
        tags.insert(name.to_owned(), value.to_owned());
    }
    for text in query.all("tags") {
        let more: BTreeMap<String, String> = serde_json::from_str(text)
            .map_err(|_| invalid("tags", text, "a JSON object of texts"))?;
        tags.extend(more);
    }
    Ok(tags)
}

pub(super) fn invalid(name: &str, text: &str, wanted: &str) -> ApiError {
    ApiError::invalid(format!("parameter '{name}' is `{text}`; give {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_jaeger_reads_it() {
        let now = WallTime(1_700_000_000_000_000_000);
        let read = |query: &str| Search::read(&Pairs::read(Some(query)), now);
        let search = read(
            "service=a&operation=GET+%2F&minDuration=1.5ms&limit=7&start=1699999999000000\
             &tags=%7B%22http.response.status_code%22%3A%22500%22%2C%22error%22%3A%22true%22%7D&tag=a:b:c",
        )
        .unwrap();
        assert_eq!(search.filter.name.as_deref(), Some("GET /"));
        assert_eq!(search.filter.window.from, WallTime(1_699_999_999_000_000_000));
        assert_eq!(search.filter.window.to, now);
        assert_eq!(search.filter.min_duration, Some(Duration(1_500_000)));
        assert!(search.filter.errors_only);
        let tags: Vec<_> = search.tags.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(tags, [("a", "b:c"), ("http.response.status_code", "500")]);
        assert_eq!(search.limit, 7);
        let hour = read("service=a&lookback=1h").unwrap().filter.window.from;
        assert_eq!(now.since(hour), Duration::from_secs(3600));
        for wrong in [
            "",
            "service=a&start=x",
            "service=a&minDuration=1",
            "service=a&tags=x",
            "service=a&tag=x",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
