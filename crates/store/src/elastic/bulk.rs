//! Bulk: records on their way into their indices ("Bulk API" in both references). Each is created under
//! an id that follows from it, so that one that was sent before is there already, which is as good.
//! Every record has an answer of its own: those that were turned away for now are sent again.

use std::{collections::BTreeSet, mem, sync::atomic::Ordering, thread, time::Duration};

use serde::Deserialize;
use serde_json::json;

use super::{
    Counters,
    client::{Client, Request, is_full},
};
use crate::StoreError;

/// Bytes after which a request is sent: many records in one, and far below what servers take.
const REQUEST_BYTES: usize = 4 << 20;
/// How often records are sent that are turned away for now, and the first pause, which doubles.
const ROUNDS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);
/// Indices that are named in one address.
const NAMED_MAX: usize = 50;

/// Records that are not sent yet.
pub(super) struct Bulk<'a> {
    client: &'a Client,
    counters: &'a Counters,
    lines: Vec<u8>,
    /// Where each record ends in `lines`.
    ends: Vec<usize>,
    /// Indices that were written to.
    touched: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Said {
    errors: bool,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    reason: String,
}

impl<'a> Bulk<'a> {
    pub(super) fn new(client: &'a Client, counters: &'a Counters) -> Self {
        let (lines, ends) = (Vec::new(), Vec::new());
        Self { client, counters, lines, ends, touched: BTreeSet::new() }
    }

    /// Adds a record, a line of JSON, and sends what has come together once it is enough.
    pub(super) fn push(&mut self, index: &str, id: &str, record: &[u8]) -> Result<(), StoreError> {
        if !self.lines.is_empty() && self.lines.len() + record.len() > REQUEST_BYTES {
            self.send()?;
        }
        if !self.touched.contains(index) {
            self.touched.insert(index.to_owned());
        }
        // Neither has a character that JSON would escape.
        let action = format!("{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{id}\"}}}}\n");
        self.lines.extend_from_slice(action.as_bytes());
        self.lines.extend_from_slice(record);
        self.ends.push(self.lines.len());
        Ok(())
    }

    /// Sends the rest, and has the indices show what was written to whoever asks from now on.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.send()?;
        let touched: Vec<&str> = self.touched.iter().map(String::as_str).collect();
        for names in touched.chunks(NAMED_MAX) {
            refresh(self.client, &names.join(","))?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), StoreError> {
        let mut lines = mem::take(&mut self.lines);
        let mut ends = mem::take(&mut self.ends);
        let mut pause = PAUSE;
        for round in 1.. {
            if ends.is_empty() {
                break;
            }
            let later = self.send_once(&lines, &ends)?;
            let Some((_, reason)) = later.first() else { break };
            if round == ROUNDS {
                let (place, reason) = (self.client.place(), reason.clone());
                return Err(StoreError::Busy { place, reason });
            }
            self.counters.records_repeated.fetch_add(later.len() as u64, Ordering::Relaxed);
            let (mut again, mut again_ends) = (Vec::new(), Vec::new());
            for (place, _) in &later {
                let from = place.checked_sub(1).map_or(0, |before| ends[before]);
                again.extend_from_slice(&lines[from..ends[*place]]);
                again_ends.push(again.len());
            }
            (lines, ends) = (again, again_ends);
            thread::sleep(pause);
            pause *= 2;
        }
        lines.clear();
        self.lines = lines;
        Ok(())
    }

    /// Sends records; returns the places of those that were turned away for now, with the reason.
    fn send_once(&self, lines: &[u8], ends: &[usize]) -> Result<Vec<(usize, String)>, StoreError> {
        const PATH: &str = "/_bulk?filter_path=errors,items.*.status,items.*.error.type,\
                            items.*.error.reason";
        let request = Request::new("POST", PATH.to_owned(), "to write");
        let answer: Said = self.client.ask(&Request { body: lines, ..request })?.read()?;
        if !answer.errors {
            return Ok(Vec::new());
        }
        if answer.items.len() != ends.len() {
            let (wanted, told) = (ends.len(), answer.items.len());
            return Err(StoreError::Refused {
                place: self.client.place(),
                action: "to write".to_owned(),
                reason: format!("of {wanted} records it tells of {told}"),
            });
        }
        let mut later = Vec::new();
        for (place, Item { create: Outcome { status, error } }) in
            answer.items.into_iter().enumerate()
        {
            let (kind, reason) = error.map_or_else(Default::default, |it| (it.kind, it.reason));
            match status {
                200..300 => {}
                // It is there already.
                409 => {
                    self.counters.records_present.fetch_add(1, Ordering::Relaxed);
                }
                _ if is_full(&kind, &reason) => {
                    return Err(StoreError::Full { place: self.client.place() });
                }
                // An index that was removed in this moment is made again by the next attempt; a cluster
                // that holds as many shards as it may, which is not the record's fault, may lose some.
                404 | 429 | 500.. => later.push((place, said(status, &kind, &reason))),
                _ if kind == "validation_exception" => {
                    later.push((place, said(status, &kind, &reason)))
                }
                _ => {
                    return Err(StoreError::Unfit {
                        place: self.client.place(),
                        reason: said(status, &kind, &reason),
                    });
                }
            }
        }
        Ok(later)
    }
}

fn said(status: u16, kind: &str, reason: &str) -> String {
    format!("{status} {kind}: {reason}")
}

/// Has indices show everything that was written to them.
pub(super) fn refresh(client: &Client, indices: &str) -> Result<(), StoreError> {
    let path = format!("/{indices}/_refresh?ignore_unavailable=true");
    #[derive(Deserialize)]
    struct Refreshed {
        #[serde(rename = "_shards")]
        shards: Shards,
    }
    #[derive(Deserialize)]
    struct Shards {
        failed: u64,
    }
    let refreshed: Refreshed = client.ask(&Request::new("POST", path, "to refresh"))?.read()?;
    match refreshed.shards.failed {
        0 => Ok(()),
        failed => {
            let reason = json!({"shards that were not refreshed": failed}).to_string();
            Err(StoreError::Busy { place: client.place(), reason })
        }
    }
}
