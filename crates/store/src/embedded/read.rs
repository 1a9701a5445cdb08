//! Read: lookups and scans over one state of the database.
//!
//! Batches are chosen by time, then by filter; only those that may hold an answer are unpacked.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    sync::{Arc, atomic::Ordering},
};

use deeptrace_model::{Gap, Link, Span, SpanId, SpanStatus, WallTime};
use rusqlite::{Connection, OptionalExtension, params};
use rustc_hash::FxHashSet;
use zstd::bulk::Decompressor;

use super::{
    Counters,
    block::{Block, Head, Shared},
    cache::Cache,
    catalogue::{Catalogue, Entry, Kind},
    database, encode,
    filter::{link_hash, span_hash},
    index::{Candidate, Keys},
    links::Links,
    write,
};
use crate::{
    Cursor, Filter, LinkLookup, Operation, OperationSums, Options, Page, SpanLookup, Stats, Window,
};

/// A connection for reading, with what is known and cached of the batches.
pub(super) struct Reader {
    connection: Connection,
    catalogue: Catalogue,
    keys: Keys,
    blocks: Cache<Block>,
    links: Cache<Links>,
    /// Batches that could not be read, so that each is counted once.
    damaged: BTreeSet<i64>,
}

/// A span with its place, ordered by start.
type Found = (WallTime, SpanId, i64, usize);

impl Reader {
    pub(super) fn new(connection: Connection, options: &Options) -> Self {
        // A search asks the same ten batches and more at each depth, and a filter is a fiftieth of a batch.
        let part = options.cache_bytes / 8;
        Self {
            connection,
            catalogue: Catalogue::default(),
            keys: Keys::new(part, part / 4, part),
            blocks: Cache::new(4 * part + 3 * part / 4),
            links: Cache::new(part),
            damaged: BTreeSet::new(),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Forgets what it keeps of batches.
    pub(super) fn forget(&mut self) {
        self.keys.clear();
        self.blocks.clear();
        self.links.clear();
    }

    /// Runs `ask` while the database stands still, with the catalogue up to date.
    pub(super) fn in_snapshot<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        let answer = self.catalogue.refresh(&self.connection).and_then(|()| ask(self));
        let ended = self.connection.prepare_cached("COMMIT").and_then(|mut end| end.execute([]));
        answer.and_then(|answer| ended.map(|_| answer))
    }

    pub(super) fn spans(
        &mut self,
        lookups: &[SpanLookup],
        limit: usize,
        counters: &Counters,
    ) -> rusqlite::Result<Vec<Arc<Span>>> {
        let asked: Vec<_> = lookups.iter().map(|it| (span_hash(&it.key), it.window)).collect();
        let mut found: Vec<Found> = Vec::new();
        let mut ids = FxHashSet::default();
        for (entry, hits) in self.candidates(Kind::Spans, &asked, counters)? {
            let Some(block) = self.block(entry.id, counters)? else { continue };
            for SpanLookup { key, window } in hits.iter().map(|hit| &lookups[*hit]) {
                block.each_holder(key, |index| {
                    let head = block.head(index);
                    if window.overlaps(head.start, head.end) && ids.insert(head.id) {
                        found.push((head.start, head.id, entry.id, index));
                    }
                });
            }
            if found.len() / 2 > limit {
                found.select_nth_unstable(limit);
                found.truncate(limit);
            }
        }
        found.sort_unstable();
        found.truncate(limit);
        // By batch, so that what its spans share is made once.
        let mut places: Vec<(i64, usize)> =
            found.into_iter().map(|(.., batch, index)| (batch, index)).collect();
        places.sort_unstable();
        let mut spans = Vec::with_capacity(places.len());
        for places in places.chunk_by(|one, other| one.0 == other.0) {
            self.make(places, &mut spans, counters)?;
        }
        spans.sort_unstable_by_key(|span| (span.start, span.id));
        Ok(spans)
    }

    /// Appends the spans at those places of one batch.
    fn make(
        &mut self,
        places: &[(i64, usize)],
        out: &mut Vec<Arc<Span>>,
        counters: &Counters,
    ) -> rusqlite::Result<()> {
        let Some((batch, _)) = places.first() else { return Ok(()) };
        let Some(block) = self.block(*batch, counters)? else { return Ok(()) };
        let mut shared = Shared::default();
        for (batch, index) in places {
            let span = block.span(*index, &mut shared).ok_or_else(|| "it is cut".to_owned());
            out.extend(self.sound(*batch, span, counters));
        }
        Ok(())
    }

    pub(super) fn links(
        &mut self,
        lookups: &[LinkLookup],
        limit: usize,
        counters: &Counters,
    ) -> rusqlite::Result<Vec<Link>> {
        let asked: Vec<_> = lookups.iter().map(|it| (link_hash(&it.key), it.window)).collect();
        let mut found = Vec::new();
        for (entry, hits) in self.candidates(Kind::Links, &asked, counters)? {
            let Some(links) = self.link_batch(entry.id, counters)? else { continue };
            let mut places = BTreeSet::new();
            for LinkLookup { key, window } in hits.iter().map(|hit| &lookups[*hit]) {
                links.each_holder(key, |index| {
                    if window.contains(links.start(index)) {
                        places.insert(index);
                    }
                });
            }
            for index in places {
                let link = links.link(index).ok_or_else(|| "it is cut".to_owned());
                found.extend(self.sound(entry.id, link, counters));
            }
        }
        let order = |link: &Link| (link.child_start, link.child, link.parent, link.generation);
        found.sort_by_key(|link| order(link));
        found.dedup();
        found.truncate(limit);
        Ok(found.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    /// Batches that may hold an answer, with the places of what was asked of each.
    fn candidates(
        &mut self,
        kind: Kind,
        asked: &[(u64, Window)],
        counters: &Counters,
    ) -> rusqlite::Result<Vec<Candidate>> {
        let all = (kind, 0, i64::MAX);
        self.keys.candidates(&self.connection, &self.catalogue, all, asked, counters)
    }

    pub(super) fn scan(
        &mut self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
        counters: &Counters,
    ) -> rusqlite::Result<Page> {
        let mut filter = filter.clone();
        if let Some(after) = after {
            filter.window.to = filter.window.to.min(after.start);
        }
        let mut entries: Vec<Entry> = self
            .catalogue
            .of(Kind::Spans)
            .filter(|entry| entry.may_pass(&filter))
            .copied()
            .collect();
        entries.sort_by_key(|entry| (entry.max_start, entry.id));
        let mut heap: BinaryHeap<Found> = BinaryHeap::new();
        let mut seen = FxHashSet::default();
        let mut next = None;
        let mut places: Vec<(i64, usize)> = Vec::new();
        while places.len() < limit {
            // The latest candidate is next once no unread batch can hold a later one.
            let unread = entries.last().map(|entry| entry.max_start);
            match (heap.peek(), unread) {
                (None, None) => break,
                (Some((start, ..)), unread) if unread.is_none_or(|unread| *start > unread) => {}
                _ => {
                    if let Some(entry) = entries.pop() {
                        self.gather(&entry, &filter, after, &mut heap, counters)?;
                    }
                    continue;
                }
            }
            let Some((start, id, batch, index)) = heap.pop() else { continue };
            if seen.insert(id) {
                places.push((batch, index));
                next = Some(Cursor { start, id });
            }
        }
        let is_end = heap.is_empty() && entries.is_empty();
        let mut page = Page { spans: Vec::with_capacity(places.len()), next };
        page.next.take_if(|_| is_end);
        // By batch, so that what its spans share is made once.
        places.sort_unstable();
        for places in places.chunk_by(|one, other| one.0 == other.0) {
            self.make(places, &mut page.spans, counters)?;
        }
        page.spans.sort_unstable_by_key(|span| Reverse((span.start, span.id)));
        Ok(page)
    }

    /// Adds the spans of a batch that pass to `heap`.
    fn gather(
        &mut self,
        entry: &Entry,
        filter: &Filter,
        after: Option<Cursor>,
        heap: &mut BinaryHeap<Found>,
        counters: &Counters,
    ) -> rusqlite::Result<()> {
        let Some(block) = self.block(entry.id, counters)? else { return Ok(()) };
        for index in 0..block.len() {
            let head = block.head(index);
            let behind = after.is_none_or(|it| (head.start, head.id) < (it.start, it.id));
            if behind && passes(filter, &head) {
                heap.push((head.start, head.id, entry.id, index));
            }
        }
        Ok(())
    }

    pub(super) fn gaps(&mut self, window: Window, limit: usize) -> rusqlite::Result<Vec<Gap>> {
        let mut query = self.connection.prepare_cached(
            "SELECT since, until, cause, events, bytes FROM gap
             WHERE until >= ? AND since <= ? ORDER BY since, until, rowid LIMIT ?",
        )?;
        let (from, to) = (database::moment(window.from), database::moment(window.to));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        query.query_map(params![from, to, limit], write::read_gap)?.collect()
    }

    pub(super) fn operations(
        &mut self,
        window: Window,
        service: Option<&str>,
        counters: &Counters,
    ) -> rusqlite::Result<Vec<Operation>> {
        let filter = Filter { service: service.map(str::to_owned), ..Filter::in_window(window) };
        let mut sums = OperationSums::default();
        let mut query =
            self.connection.prepare_cached("SELECT operations FROM batch WHERE id = ?")?;
        for entry in self.catalogue.of(Kind::Spans).filter(|entry| entry.may_pass(&filter)) {
            let bytes: Vec<u8> = query.query_row([entry.id], |row| row.get(0))?;
            let Ok(rows) = encode::read_operations(&bytes) else {
                if self.damaged.insert(entry.id) {
                    counters.batches_damaged.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            };
            let rows = rows.into_iter().map(|row| row.into_operation());
            let rows = rows.filter(|row| service.is_none_or(|service| row.service == service));
            rows.for_each(|row| sums.add(row));
        }
        Ok(sums.into_vec())
    }

    pub(super) fn stats(&mut self) -> rusqlite::Result<Stats> {
        let count = |kind| self.catalogue.of(kind).map(|entry| entry.count).sum();
        let gaps = self.connection.query_row("SELECT count(*) FROM gap", [], |row| row.get(0));
        Ok(Stats {
            spans: count(Kind::Spans),
            links: count(Kind::Links),
            gaps: gaps.map(|gaps: i64| gaps as u64)?,
            bytes: database::bytes_in_use(&self.connection)?,
            oldest: self.catalogue.of(Kind::Spans).map(|entry| entry.min_start).min(),
            newest: self.catalogue.of(Kind::Spans).map(|entry| entry.max_end).max(),
        })
    }

    fn block(&mut self, batch: i64, counters: &Counters) -> rusqlite::Result<Option<Arc<Block>>> {
        if let Some(block) = self.blocks.get(batch) {
            counters.batches_cached.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(block));
        }
        let block = self.unpack(batch, encode::read_spans, counters)?;
        Ok(block.inspect(|block| self.blocks.put(batch, block, block.weight())))
    }

    fn link_batch(
        &mut self,
        batch: i64,
        counters: &Counters,
    ) -> rusqlite::Result<Option<Arc<Links>>> {
        if let Some(links) = self.links.get(batch) {
            counters.batches_cached.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(links));
        }
        let links = self.unpack(batch, encode::read_links, counters)?;
        Ok(links.inspect(|links| self.links.put(batch, links, links.weight())))
    }

    fn unpack<T>(
        &mut self,
        batch: i64,
        decode: impl FnOnce(&[u8], &mut Decompressor<'_>) -> Result<T, String>,
        counters: &Counters,
    ) -> rusqlite::Result<Option<Arc<T>>> {
        counters.batches_read.fetch_add(1, Ordering::Relaxed);
        let bytes = self.blob("SELECT data FROM body WHERE id = ?", batch)?;
        let decoded = Decompressor::new()
            .map_err(|error| error.to_string())
            .and_then(|mut zstd| decode(&bytes, &mut zstd));
        Ok(self.sound(batch, decoded, counters))
    }

    fn blob(&self, sql: &str, batch: i64) -> rusqlite::Result<Vec<u8>> {
        let mut query = self.connection.prepare_cached(sql)?;
        Ok(query.query_row([batch], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    /// The value, or `None` for a batch that is damaged: its spans are gone, the others are not.
    fn sound<T>(
        &mut self,
        batch: i64,
        read: Result<T, String>,
        counters: &Counters,
    ) -> Option<Arc<T>> {
        match read {
            Ok(value) => Some(Arc::new(value)),
            Err(_) => {
                if self.damaged.insert(batch) {
                    counters.batches_damaged.fetch_add(1, Ordering::Relaxed);
                }
                None
            }
        }
    }
}

/// [`Filter::matches`] by columns.
fn passes(filter: &Filter, head: &Head<'_>) -> bool {
    let duration = head.end.since(head.start);
    filter.window.contains(head.start)
        && filter.service.as_ref().is_none_or(|service| service == head.service)
        && filter.name.as_ref().is_none_or(|name| name == head.name)
        && filter.kind.is_none_or(|kind| kind == head.kind)
        && filter.min_duration.is_none_or(|min| duration >= min)
        && filter.max_duration.is_none_or(|max| duration <= max)
        && (!filter.errors_only || head.status == SpanStatus::Error)
}
