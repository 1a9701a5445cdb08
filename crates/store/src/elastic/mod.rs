//! The backend for Elasticsearch and OpenSearch: one document for each span, link and gap, an index for
//! each day, so that many servers share one store and other tools read it. `docs/elasticsearch.md`
//! says what is in the indices.
//!
//! These servers have no transactions: behind an error a part of a batch may be there. Ids follow from
//! what is written, so writing the batch again is harmless.

mod body;
mod bulk;
mod client;
mod copy;
mod count;
mod documents;
mod maintain;
mod record;
mod remove;
mod rollups;
mod schema;
mod search;

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use deeptrace_model::{Gap, Link, Span, WallTime};
use serde::Deserialize;
use serde_json::json;

use crate::{
    Backend, Batch, Cursor, Document, Expected, Filter, Health, LinkLookup, Maintained, Mode,
    Operation, Options, Page, Removal, Removed, Rollups, SpanLookup, Stats, Step, Store,
    StoreError, Window, document,
};
use bulk::Bulk;
use client::{Client, Request};
use documents::Documents;
use schema::{Indices, Kind};
use search::Searcher;

/// Its row in the table.
pub(crate) const BACKEND: Backend = Backend {
    name: "elasticsearch",
    summary: "Elasticsearch (7.8 or later) or OpenSearch, for any number of servers",
    is_shared: true,
    open: |options, mode| Ok(Arc::new(Elastic::open(options, mode)?)),
    restore: copy::restore,
};

/// A store in a cluster.
struct Elastic {
    options: Options,
    mode: Mode,
    client: Client,
    indices: Indices,
    counters: Counters,
    /// The id under which heartbeats of this host and boot are kept: who was away is asked of one host.
    alive: String,
    /// The latest time that was told here, or was in what was written here; zero at first.
    now: AtomicU64,
    /// When there is something to maintain.
    maintain_at: Mutex<WallTime>,
}

/// Counted since opening, beside what the client counts.
#[derive(Default)]
struct Counters {
    spans_written: AtomicU64,
    links_written: AtomicU64,
    write_errors: AtomicU64,
    records_repeated: AtomicU64,
    records_present: AtomicU64,
    records_damaged: AtomicU64,
    spans_expired: AtomicU64,
    spans_evicted: AtomicU64,
    spans_removed: AtomicU64,
}

impl Elastic {
    fn open(options: &Options, mode: Mode) -> Result<Self, StoreError> {
        let client = Client::new(&options.elasticsearch)?;
        let indices = Indices::new(&options.elasticsearch.index_prefix);
        schema::open(&client, &indices, &options.elasticsearch, mode)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            options: options.clone(),
            mode,
            client,
            indices,
            counters: Counters::default(),
            alive: format!("alive-{}", boot.trim()),
            now: AtomicU64::new(0),
            maintain_at: Mutex::new(WallTime(0)),
        })
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.mode == Mode::Write { Ok(()) } else { Err(StoreError::ReadOnly) }
    }

    fn searcher(&self) -> Searcher<'_> {
        Searcher { client: &self.client, indices: &self.indices, counters: &self.counters }
    }

    fn documents(&self) -> Documents<'_> {
        Documents { client: &self.client, indices: &self.indices }
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut bulk = Bulk::new(&self.client, &self.counters);
        let (mut index, mut room, mut line) = (String::new(), Vec::new(), Vec::new());
        for span in &batch.spans {
            line.clear();
            let id = record::span(span, &mut room, &mut line);
            self.indices.day(Kind::Spans, span.start, &mut index);
            bulk.push(&index, &id, &line)?;
        }
        for link in &batch.links {
            line.clear();
            let id = record::link(link, &mut room, &mut line);
            self.indices.day(Kind::Links, link.child_start, &mut index);
            bulk.push(&index, &id, &line)?;
        }
        for gap in &batch.gaps {
            line.clear();
            let id = record::gap(gap, &mut room, &mut line);
            bulk.push(&self.indices.gaps, &id, &line)?;
        }
        bulk.finish()
    }

    fn alive_path(&self) -> String {
        format!("/{}/_doc/{}", self.indices.gaps, self.alive)
    }
}

impl Store for Elastic {
    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        self.writable()?;
        let written = self.write(batch);
        match &written {
            Ok(()) => {
                let latest = batch.spans.iter().map(|span| span.end.0).max();
                self.now.fetch_max(latest.unwrap_or_default(), Relaxed);
                self.counters.spans_written.fetch_add(batch.spans.len() as u64, Relaxed);
                self.counters.links_written.fetch_add(batch.links.len() as u64, Relaxed);
            }
            Err(_) => {
                self.counters.write_errors.fetch_add(1, Relaxed);
            }
        }
        written
    }

    fn spans(&self, lookups: &[SpanLookup], limit: usize) -> Result<Vec<Arc<Span>>, StoreError> {
        self.searcher().spans(lookups, limit)
    }

    fn links(&self, lookups: &[LinkLookup], limit: usize) -> Result<Vec<Link>, StoreError> {
        self.searcher().links(lookups, limit)
    }

    fn scan(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.searcher().scan(filter, after, limit)
    }

    fn gaps(&self, window: Window, limit: usize) -> Result<Vec<Gap>, StoreError> {
        self.searcher().gaps(window, limit)
    }

    fn operations(
        &self,
        window: Window,
        service: Option<&str>,
    ) -> Result<Vec<Operation>, StoreError> {
        self.searcher().operations(window, service)
    }

    fn rollups(
        &self,
        window: Window,
        step: Step,
        service: Option<&str>,
    ) -> Result<Rollups, StoreError> {
        let now = Some(WallTime(self.now.load(Relaxed))).filter(|now| now.0 > 0);
        rollups::rollups(&self.searcher(), window, step, service, now)
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        self.searcher().stats()
    }

    fn health(&self) -> Result<Option<Health>, StoreError> {
        count::health(&self.client).map(Some)
    }

    fn heartbeat(&self, now: WallTime) -> Result<(), StoreError> {
        self.writable()?;
        let body = json!({"alive": schema::moment(now)}).to_string();
        let request = Request::new("PUT", self.alive_path(), "to note that we are alive");
        self.client.ask(&Request { body: body.as_bytes(), ..request })?.done().map(drop)
    }

    fn last_alive(&self) -> Result<Option<WallTime>, StoreError> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(rename = "_source")]
            source: Alive,
        }
        #[derive(Deserialize)]
        struct Alive {
            alive: u64,
        }
        let request = Request::new("GET", self.alive_path(), "to tell when we were alive");
        let answer = self.client.ask(&request)?;
        if answer.status == 404 {
            return Ok(None);
        }
        let found: Found = answer.read()?;
        Ok(Some(WallTime(found.source.alive)))
    }

    fn maintain(&self, now: WallTime) -> Result<Maintained, StoreError> {
        self.writable()?;
        self.now.fetch_max(now.0, Relaxed);
        let mut at = self.maintain_at.lock().unwrap_or_else(PoisonError::into_inner);
        if now < *at {
            return Ok(Maintained::default());
        }
        let done = maintain::maintain(&self.client, &self.indices, &self.options, now)?;
        if !done.more {
            *at = now.plus(maintain::PERIOD);
        }
        self.counters.spans_expired.fetch_add(done.expired, Relaxed);
        self.counters.spans_evicted.fetch_add(done.evicted, Relaxed);
        Ok(done)
    }

    fn remove(&self, removal: Removal<'_>) -> Result<Removed, StoreError> {
        self.writable()?;
        let mut removed = Removed::default();
        let done = remove::remove(&self.searcher(), removal, &mut removed);
        self.counters.spans_removed.fetch_add(removed.spans, Relaxed);
        done.map(|()| removed)
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.writable()?;
        remove::purge(&self.client, &self.indices)
    }

    fn backup(&self, folder: &Path, progress: &mut dyn FnMut(f32)) -> Result<(), StoreError> {
        copy::backup(self, folder, progress)
    }

    fn document(&self, name: &str) -> Result<Option<Document>, StoreError> {
        self.documents().get(name)
    }

    fn documents(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.documents().list(prefix, after, limit)
    }

    fn put_document(
        &self,
        name: &str,
        body: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Option<u64>, StoreError> {
        document::check_size(name, body)?;
        self.writable()?;
        self.documents().put(name, body, expected)
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let (counters, client) = (&self.counters, &self.client.counters);
        let rows = [
            ("store_spans_written_total", &counters.spans_written),
            ("store_links_written_total", &counters.links_written),
            ("store_write_errors_total", &counters.write_errors),
            ("store_records_repeated_total", &counters.records_repeated),
            ("store_records_present_total", &counters.records_present),
            ("store_records_damaged_total", &counters.records_damaged),
            ("store_spans_expired_total", &counters.spans_expired),
            ("store_spans_evicted_total", &counters.spans_evicted),
            ("store_spans_removed_total", &counters.spans_removed),
            ("store_requests_total", &client.requests),
            ("store_requests_repeated_total", &client.repeated),
            ("store_nodes_down_total", &client.nodes_down),
            ("store_sent_bytes_total", &client.bytes_sent),
            ("store_received_bytes_total", &client.bytes_received),
        ];
        rows.into_iter().for_each(|(name, value)| out(name, value.load(Relaxed)));
    }
}
