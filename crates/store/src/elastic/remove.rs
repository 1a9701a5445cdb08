//! Remove: spans with their links by queries, and the bytes of what was removed.

use std::{collections::BTreeMap, thread, time::Duration};

use deeptrace_model::SpanId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{Client, Request},
    count::held,
    schema::{Indices, moment},
    search::{Question, Searcher, all, id_of},
};
use crate::{Removal, Removed, StoreError};

/// Spans removed in one go.
const PIECE_LEN: usize = 1000;
/// Records that one query removes, at most; what is left is removed by the next.
const DELETED_MAX: u64 = 10_000;
/// How often servers are asked to let go of what was removed while nothing goes forward: for half a minute they
/// keep it for copies that may have missed it.
const IDLE_MAX: u32 = 60;
/// How often they are asked in all, an hour's time: where much is written they merge without an end.
const ROUNDS_MAX: u32 = 1800;
const PURGE_PAUSE: Duration = Duration::from_secs(2);

/// Removes what `removal` names, in pieces, links before the spans by which they are found again.
pub(super) fn remove(
    searcher: &Searcher<'_>,
    removal: Removal<'_>,
    removed: &mut Removed,
) -> Result<(), StoreError> {
    match removal {
        Removal::Spans(lookups) => {
            let (ids, unreadable) = searcher.ids(lookups)?;
            removed.unreadable = unreadable;
            let ids: Vec<SpanId> = ids.into_iter().collect();
            ids.chunks(PIECE_LEN)
                .try_for_each(|piece| remove_piece(searcher, piece, &["child", "parent"], removed))
        }
        Removal::Before(limit) => {
            let before = |field: &str| json!({"range": {field: {"lt": moment(limit)}}});
            let question = Question {
                indices: &searcher.indices.spans,
                query: all(vec![before("end")]),
                sort: json!([{"start": "asc"}, {"id": "asc"}]),
                after: None,
            };
            let mut piece = Vec::new();
            searcher.each(question, PIECE_LEN, &mut |hit| {
                piece.extend(id_of(hit));
                if piece.len() == PIECE_LEN {
                    remove_piece(searcher, &piece, &["child"], removed)?;
                    piece.clear();
                }
                Ok(true)
            })?;
            remove_piece(searcher, &piece, &["child"], removed)?;
            removed.gaps = delete(searcher.client, &searcher.indices.gaps, before("to"))?;
            Ok(())
        }
    }
}

/// Removes the links that have one of the spans in one of `fields`, and then the spans.
fn remove_piece(
    searcher: &Searcher<'_>,
    spans: &[SpanId],
    fields: &[&str],
    removed: &mut Removed,
) -> Result<(), StoreError> {
    if spans.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = spans.iter().map(SpanId::to_string).collect();
    let terms = |field: &str| json!({"terms": {field: ids}});
    let Searcher { client, indices, .. } = searcher;
    let links: Vec<Value> = fields.iter().map(|field| terms(field)).collect();
    removed.links += delete(client, &indices.links, json!({"bool": {"should": links}}))?;
    removed.spans += delete(client, &indices.spans, terms("id"))?;
    Ok(())
}

/// Removes what a query finds, in pieces; returns how many. After an error a part is removed, and the same call
/// removes the rest.
pub(super) fn delete(client: &Client, indices: &str, query: Value) -> Result<u64, StoreError> {
    #[derive(Deserialize)]
    struct Deleted {
        /// Found, also those that somebody else has removed just now.
        total: u64,
        deleted: u64,
        #[serde(default)]
        failures: Vec<Value>,
    }
    let body = json!({"query": query}).to_string();
    // A conflict: somebody else has removed it just now.
    let path = format!(
        "/{indices}/_delete_by_query?conflicts=proceed&refresh=true&max_docs={DELETED_MAX}\
         &ignore_unavailable=true&allow_no_indices=true"
    );
    let mut count = 0;
    loop {
        let request = Request::new("POST", path.clone(), "to remove");
        let done: Deleted = client.ask(&Request { body: body.as_bytes(), ..request })?.read()?;
        count += done.deleted;
        let is_stuck = done.total > 0 && done.deleted == 0;
        match done.failures.first() {
            None if done.total < DELETED_MAX || is_stuck => return Ok(count),
            None => {}
            Some(failure) => {
                let reason = failure.to_string();
                return Err(StoreError::Busy { place: client.place(), reason });
            }
        }
    }
}

/// Has the servers write anew what holds removed records, one index after the other, until they count none. They
/// go on with an index when nobody waits; asked again, what is done is not done again.
pub(super) fn purge(client: &Client, indices: &Indices) -> Result<(), StoreError> {
    let all = indices.all();
    // What was removed leaves the log with the flush, and the segments with the merge.
    for index in held(client, &all)? {
        flush(client, &index.name)?;
    }
    let (mut idle, mut before) = (0, u64::MAX);
    for _ in 0..ROUNDS_MAX {
        let left = unmerged(client, &all)?;
        if left.is_empty() {
            return Ok(());
        }
        let (count, is_merging) = left.values().fold((0, false), |(count, is_merging), it| {
            (count + it.removed, is_merging || it.is_merging)
        });
        let goes_forward = is_merging || count < before;
        (idle, before) = (if goes_forward { 0 } else { idle + 1 }, count);
        if idle == IDLE_MAX {
            break;
        }
        for index in left.keys() {
            let path = format!("/{index}/_forcemerge?only_expunge_deletes=true");
            client.begin(&Request::new("POST", path, "to write anew"))?;
            flush(client, index)?;
        }
        thread::sleep(PURGE_PAUSE);
    }
    let reason = "records that were removed are still kept for copies".to_owned();
    Err(StoreError::Busy { place: client.place(), reason })
}

/// Has an index written to the disk as it is, without its log and what was merged.
fn flush(client: &Client, index: &str) -> Result<(), StoreError> {
    let path = format!("/{index}/_flush?wait_if_ongoing=true&force=true");
    let answer = client.ask(&Request::new("POST", path, "to write anew"))?;
    // Retention may have been faster.
    if answer.status == 404 { Ok(()) } else { answer.done().map(drop) }
}

/// An index with removed records that are still in a segment.
struct Unmerged {
    removed: u64,
    is_merging: bool,
}

/// Those of them that have some, by name.
fn unmerged(client: &Client, indices: &str) -> Result<BTreeMap<String, Unmerged>, StoreError> {
    let filter = "indices.*.total.docs.deleted,indices.*.total.merges.current";
    let path = format!("/{indices}/_stats/docs,merge?filter_path={filter}");
    let stats: Value = client.ask(&Request::new("GET", path, "to count"))?.read()?;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let indices = stats["indices"].as_object().into_iter().flatten();
    let all = indices.map(|(name, stats)| {
        let removed = number(&stats["total"]["docs"]["deleted"]);
        let is_merging = number(&stats["total"]["merges"]["current"]) > 0;
        (name.clone(), Unmerged { removed, is_merging })
    });
    Ok(all.filter(|(_, it)| it.removed > 0).collect())
}
