//! Dependencies: which service calls which, counted over the newest traces of the time asked for, at most
//! [`TRACES_MAX`].

use std::collections::BTreeMap;

use deeptrace_http::ApiError;
use deeptrace_model::{Duration, SpanId, Trace, WallTime};
use deeptrace_query::{Limits, walk};
use deeptrace_store::{Filter, Store, StoreError, Window};
use serde_json::{Value, json};

use super::{Pairs, search::invalid};
use crate::answers::failed;

/// Traces that are counted.
const TRACES_MAX: usize = 2_000;
/// How far back where nobody says: a day, as in Jaeger.
const LOOKBACK: Duration = Duration::from_secs(24 * 3600);

/// Caller, called, number of calls.
pub(super) fn links(
    store: &dyn Store,
    query: &Pairs,
    limits: Limits,
    now: WallTime,
) -> Result<Vec<Value>, ApiError> {
    let millis = |name: &str| -> Result<Option<u64>, ApiError> {
        match query.first(name) {
            None => Ok(None),
            Some(text) => {
                let millis: u64 =
                    text.parse().map_err(|_| invalid(name, text, "a number of milliseconds"))?;
                Ok(Some(millis.saturating_mul(1_000_000)))
            }
        }
    };
    let to = millis("endTs")?.map_or(now, WallTime);
    let from = to.minus(millis("lookback")?.map_or(LOOKBACK, Duration));
    let filter = Filter::in_window(Window { from, to });
    let mut calls = BTreeMap::new();
    walk(store, &filter, None, TRACES_MAX, limits, &mut |trace| {
        count(trace, &mut calls);
        Ok::<bool, StoreError>(true)
    })
    .map_err(failed)?;
    let shown = calls.into_iter().map(
        |((parent, child), calls)| json!({"parent": parent, "child": child, "callCount": calls}),
    );
    Ok(shown.collect())
}

/// Spans whose parent is of another service.
fn count(trace: &Trace, calls: &mut BTreeMap<(String, String), u64>) {
    let services: BTreeMap<SpanId, &str> =
        trace.spans.iter().map(|it| (it.span.id, it.span.service.as_str())).collect();
    for it in &trace.spans {
        let parent = it.parent.and_then(|parent| services.get(&parent).copied());
        if let Some(parent) = parent.filter(|parent| *parent != it.span.service) {
            *calls.entry((parent.to_owned(), it.span.service.to_string())).or_default() += 1;
        }
    }
}
