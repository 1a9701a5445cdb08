//! `GET /audit`: the lines, chain by chain, the oldest first.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use deeptrace_http::{ApiError, Params};
use deeptrace_store::Store;
use serde::{Deserialize, Serialize};

use super::chain::{GROUPS, LINES};
use super::line::Line;
use crate::answers::{LIMIT_MAX, failed, limit, window};
use crate::api::blocking;
use crate::clock;

/// Groups looked at for one page, at most; a page may be short of its limit and have a next one.
const LOOKS_MAX: usize = 64;

/// The query of `GET /audit`; all of it may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// Lines of this caller, as lines name them.
    pub who: String,
    /// At this time or later; RFC 3339 or relative.
    pub start: String,
    /// At this time or earlier.
    pub end: String,
    /// Rows of a page; 100 where left out.
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: String,
}

/// A page of `GET /audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// By writer, then by their place.
    pub lines: Vec<Line>,
    /// For the next page; absent at the end.
    pub next_cursor: Option<String>,
}

/// `/audit`.
pub fn routes<S: Clone + Send + Sync + 'static>(store: Arc<dyn Store>) -> Router<S> {
    Router::new().route("/audit", get(page)).with_state(store)
}

async fn page(
    State(store): State<Arc<dyn Store>>,
    Params(query): Params<Query>,
) -> Result<Json<Lines>, ApiError> {
    blocking(move || lines(&*store, &query)).await.map(Json)
}

/// A page of lines.
pub fn lines(store: &dyn Store, query: &Query) -> Result<Lines, ApiError> {
    let window = window(&query.start, &query.end, clock::now())?;
    let limit = limit(query.limit, 100, LIMIT_MAX)?;
    let is_asked_for = |line: &Line| {
        let time = line.draft.time_unix_nano;
        (query.who.is_empty() || query.who == line.draft.who)
            && (window.from.0..=window.to.0).contains(&time)
    };
    // The cursor names a group and how many of its lines were on pages before.
    let (mut after, mut skip) = match query.cursor.as_str() {
        "" => (None, 0),
        text => {
            let wrong = || ApiError::invalid("cursor is next_cursor of the page before");
            let (group, skip) = text.rsplit_once(':').ok_or_else(wrong)?;
            (Some(group.to_owned()), skip.parse::<usize>().map_err(|_| wrong())?)
        }
    };
    let mut found = Vec::new();
    // The group of the cursor itself is looked at again where lines of it are left.
    let mut again = match (&after, skip) {
        (Some(group), 1..) => store.document(&format!("{LINES}{group}")).map_err(failed)?,
        _ => None,
    };
    for _ in 0..LOOKS_MAX.div_ceil(GROUPS) {
        let name = after.as_ref().map(|group| format!("{LINES}{group}"));
        let mut groups = store.documents(LINES, name.as_deref(), GROUPS).map_err(failed)?;
        let is_end = groups.len() < GROUPS;
        groups.splice(0..0, again.take());
        for group in &groups {
            let text = String::from_utf8_lossy(&group.body);
            let group = group.name[LINES.len()..].to_owned();
            for (at, line) in text.lines().enumerate().skip(std::mem::take(&mut skip)) {
                let line = Line::read(line).map(|(_, _, line)| line);
                if let Some(line) = line.filter(is_asked_for) {
                    if found.len() == limit {
                        let next_cursor = Some(format!("{group}:{at}"));
                        return Ok(Lines { lines: found, next_cursor });
                    }
                    found.push(line);
                }
            }
            after = Some(group);
        }
        if is_end {
            return Ok(Lines { lines: found, next_cursor: None });
        }
    }
    let next_cursor = after.map(|group| format!("{group}:0"));
    Ok(Lines { lines: found, next_cursor })
}
