//! Maintain: retention by whole indices, which costs nothing. A day is removed when all of it lies before
//! the retention, or, the earliest first, while there is more than may be held; the latest day stays.

use deeptrace_model::{Duration, WallTime};
use serde_json::json;

use super::{
    client::{Client, Request},
    count::{Held, held},
    remove::delete,
    schema::{Indices, Kind, moment},
};
use crate::{Maintained, Options, StoreError};

/// Between two looks: days do not end more often.
pub(super) const PERIOD: Duration = Duration::from_secs(60);
/// Indices removed in one go.
const REMOVED_MAX: usize = 8;

/// One piece of work at `now`.
pub(super) fn maintain(
    client: &Client,
    indices: &Indices,
    options: &Options,
    now: WallTime,
) -> Result<Maintained, StoreError> {
    let mut done = Maintained::default();
    let all = held(client, &indices.all())?;
    let mut bytes: u64 = all.iter().map(|index| index.bytes).sum();
    let day = |index: Held| {
        let end = |kind| indices.end_of(kind, &index.name).map(|end| (end, kind));
        let (end, kind) = end(Kind::Spans).or_else(|| end(Kind::Links))?;
        Some((end, kind, index))
    };
    let mut days: Vec<(WallTime, Kind, Held)> = all.into_iter().filter_map(day).collect();
    days.sort_by_key(|(end, kind, _)| (*end, *kind));
    let limit = now.minus(options.retention);
    let latest = days.last().map(|(end, ..)| *end);
    for (removed, (end, kind, index)) in days.into_iter().enumerate() {
        let is_old = end <= limit;
        let is_too_much = bytes > options.max_bytes && Some(end) != latest;
        if !is_old && !is_too_much {
            break;
        }
        if removed == REMOVED_MAX {
            done.more = true;
            break;
        }
        bytes = bytes.saturating_sub(index.bytes);
        // Another server may have been faster.
        let is_ours = remove(client, &index.name)?;
        let spans = if kind == Kind::Spans && is_ours { index.count } else { 0 };
        *(if is_old { &mut done.expired } else { &mut done.evicted }) += spans;
    }
    forget(client, indices, limit)?;
    Ok(done)
}

/// Removes an index; false: it was gone.
fn remove(client: &Client, index: &str) -> Result<bool, StoreError> {
    let request = Request::new("DELETE", format!("/{index}"), "to remove an index");
    let answer = client.ask(&request)?;
    if answer.status == 404 {
        return Ok(false);
    }
    answer.done().map(|_| true)
}

/// Removes gaps and heartbeats from before `limit`.
fn forget(client: &Client, indices: &Indices, limit: WallTime) -> Result<(), StoreError> {
    let before = |field: &str| json!({"range": {field: {"lt": moment(limit)}}});
    let query = json!({"bool": {"should": [before("to"), before("alive")]}});
    delete(client, &indices.gaps, query).map(drop)
}
