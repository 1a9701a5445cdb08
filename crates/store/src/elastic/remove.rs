//! Remove: spans with their links by queries, and the bytes of what was removed.

use std::{thread, time::Duration};

use deeptrace_model::SpanId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{Client, Request},
    schema::{Indices, moment},
    search::{Question, Searcher, all, id_of},
};
use crate::{Removal, Removed, StoreError};

/// Spans removed in one go.
const PIECE_LEN: usize = 1000;
/// How often servers are asked to let go of what was removed: for half a minute they keep it for copies
/// that may have missed it.
const PURGES: u32 = 60;
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

/// Removes what a query finds; returns how many.
pub(super) fn delete(client: &Client, indices: &str, query: Value) -> Result<u64, StoreError> {
    #[derive(Deserialize)]
    struct Deleted {
        deleted: u64,
        #[serde(default)]
        failures: Vec<Value>,
    }
    let body = json!({"query": query}).to_string();
    // A conflict: somebody else has removed it just now.
    let path = format!(
        "/{indices}/_delete_by_query?conflicts=proceed&refresh=true\
         &ignore_unavailable=true&allow_no_indices=true"
    );
    let request = Request::new("POST", path, "to remove");
    let done: Deleted = client.ask(&Request { body: body.as_bytes(), ..request })?.read()?;
    match done.failures.first() {
        None => Ok(done.deleted),
        Some(failure) => {
            Err(StoreError::Busy { place: client.place(), reason: failure.to_string() })
        }
    }
}

/// Has the servers write anew what holds removed records, until they count none.
pub(super) fn purge(client: &Client, indices: &Indices) -> Result<(), StoreError> {
    let all = indices.all();
    let post =
        |path: String| client.ask(&Request::new("POST", path, "to write anew"))?.done().map(drop);
    for _ in 0..PURGES {
        // What was removed leaves the log with the flush, and the segments with the merge.
        post(format!("/{all}/_flush?wait_if_ongoing=true"))?;
        post(format!("/{all}/_forcemerge?only_expunge_deletes=true"))?;
        post(format!("/{all}/_flush?wait_if_ongoing=true&force=true"))?;
        if removed_records(client, &all)? == 0 {
            return Ok(());
        }
        thread::sleep(PURGE_PAUSE);
    }
    let reason = "records that were removed are still kept for copies".to_owned();
    Err(StoreError::Busy { place: client.place(), reason })
}

/// Records that are removed and still in a segment.
fn removed_records(client: &Client, indices: &str) -> Result<u64, StoreError> {
    let path = format!("/{indices}/_stats/docs?filter_path=_all.total.docs.deleted");
    let stats: Value = client.ask(&Request::new("GET", path, "to count"))?.read()?;
    Ok(stats["_all"]["total"]["docs"]["deleted"].as_u64().unwrap_or_default())
}
