//! Maintain: retention by age and by size, and merging the small batches of quiet times.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use deeptrace_model::{Duration, Link, Span, WallTime};
use rusqlite::Transaction;

use super::{
    Counters,
    catalogue::{Entry, Kind, REMOVED_KNOWN},
    database,
    encode::{self, BATCH_LEN_MAX, Row},
    write::{self, Writer},
};
use crate::{Maintained, Options};

/// Batches removed in one go.
const REMOVED_MAX: usize = 64;
/// Neighbours of like size that are merged into one.
const MERGED_LEN: usize = 16;
/// A merged batch never spans more time, so that retention stays exact enough.
pub(super) const MERGED_TIME_MAX: Duration = Duration::from_secs(3600);
/// Rows of what a purge has left behind, removed in one go.
const LEFTOVERS_MAX: usize = 64;
/// Free pages that are worth giving back, and how many in one go.
const FREE_PAGES_MIN: i64 = 4096;
const FREE_PAGES_STEP: i64 = 512;

impl Writer {
    /// One piece of work; see [`Store::maintain`].
    ///
    /// [`Store::maintain`]: crate::Store::maintain
    pub(super) fn maintain(
        &mut self,
        now: WallTime,
        options: &Options,
        counters: &Counters,
    ) -> rusqlite::Result<Maintained> {
        let mut done = Maintained::default();
        if self.has_leftovers()? {
            // They take room that is not theirs, so they go before anything else does.
            done.more = self.clear_piece(&mut { LEFTOVERS_MAX })?;
            return Ok(done);
        }
        self.refresh()?;
        self.expire(now.minus(options.retention), &mut done)?;
        if !done.more {
            self.evict(options.max_bytes, &mut done)?;
        }
        if !done.more {
            self.merge(Kind::Spans, &mut done, counters)?;
            self.merge(Kind::Links, &mut done, counters)?;
        }
        self.remove_indices()?;
        for kind in [Kind::Spans, Kind::Links] {
            if !done.more {
                self.index(kind, &mut done)?;
            }
        }
        if !done.more {
            self.compact(now, &mut done, counters)?;
        }
        done.more |= self.sum_up(now)?;
        self.give_back()?;
        Ok(done)
    }

    pub(super) fn refresh(&mut self) -> rusqlite::Result<()> {
        // `data_version` does not change with our own commits.
        self.catalogue.forget_version();
        self.catalogue.refresh(&self.connection)
    }

    /// Removes batches that ended before `limit`.
    fn expire(&mut self, limit: WallTime, done: &mut Maintained) -> rusqlite::Result<()> {
        let is_old = |entry: &&Entry| entry.max_end < limit;
        let entries = self.catalogue.entries().iter();
        let old: Vec<Entry> = entries.filter(is_old).take(REMOVED_MAX).copied().collect();
        done.more |= old.len() == REMOVED_MAX;
        done.expired = self.remove(&old)?;
        self.expire_rollups(limit)?;
        self.remove_gaps(limit).map(drop)
    }

    /// Removes the oldest batches while more than `limit` bytes are in use.
    fn evict(&mut self, limit: u64, done: &mut Maintained) -> rusqlite::Result<()> {
        let used = database::bytes_in_use(&self.connection)?;
        // While tables are written anew there are two of one.
        if used <= limit || self.is_purging {
            return Ok(());
        }
        let mut entries = self.catalogue.entries().to_vec();
        if entries.is_empty() {
            done.more |= self.evict_rollups()?;
            return Ok(());
        }
        entries.sort_by_key(|entry| (entry.max_end, entry.id));
        // As large a part of the batches as of the bytes, one at least; the next call measures.
        let share = (used - limit) as f64 / used as f64;
        let count = (entries.len() as f64 * share).ceil() as usize;
        entries.truncate(count.clamp(1, REMOVED_MAX));
        done.evicted = self.remove(&entries)?;
        done.more |= database::bytes_in_use(&self.connection)? > limit;
        Ok(())
    }

    /// Removes batches, returns how many spans were in them.
    fn remove(&mut self, entries: &[Entry]) -> rusqlite::Result<u64> {
        if entries.is_empty() {
            return Ok(0);
        }
        let transaction = write::begin(&mut self.connection)?;
        delete(&transaction, entries)?;
        transaction.commit()?;
        self.refresh()?;
        let spans = entries.iter().filter(|entry| entry.kind == Kind::Spans);
        Ok(spans.map(|entry| entry.count).sum())
    }

    /// Merges one group of small neighbours, if there is one.
    fn merge(
        &mut self,
        kind: Kind,
        done: &mut Maintained,
        counters: &Counters,
    ) -> rusqlite::Result<()> {
        let entries: Vec<Entry> = self.catalogue.of(kind).copied().collect();
        let Some(group) = mergeable(&entries, |id| self.unreadable.contains(&id)) else {
            return Ok(());
        };
        self.merge_group(kind, &group, done, counters)
    }

    /// Merges a group of batches into as few as hold what is in them.
    fn merge_group(
        &mut self,
        kind: Kind,
        group: &[Entry],
        done: &mut Maintained,
        counters: &Counters,
    ) -> rusqlite::Result<()> {
        let rows = match kind {
            Kind::Spans => self.merged_spans(group)?,
            Kind::Links => self.merged_links(group)?,
        };
        match rows {
            Some(rows) => self.replace(group, &rows, done),
            None => {
                // One of them cannot be read: it stays as it is, the others find another group.
                counters.merge_failures.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Puts `rows` in the place of a group of batches.
    pub(super) fn replace(
        &mut self,
        group: &[Entry],
        rows: &[Row],
        done: &mut Maintained,
    ) -> rusqlite::Result<()> {
        let transaction = write::begin(&mut self.connection)?;
        delete(&transaction, group)?;
        rows.iter().try_for_each(|row| write::insert(&transaction, row))?;
        transaction.commit()?;
        done.merged += group.len() as u64;
        done.more = true;
        self.refresh()
    }

    fn merged_spans(&mut self, group: &[Entry]) -> rusqlite::Result<Option<Vec<Row>>> {
        let mut spans: Vec<Span> = Vec::new();
        for entry in group {
            let block = encode::read_spans(&self.body(entry.id)?, &mut self.decompressor);
            let Some(read) = block.ok().and_then(|block| block.spans()) else {
                self.unreadable.insert(entry.id);
                return Ok(None);
            };
            spans.extend(read);
        }
        spans.sort_by_key(|span| (span.start, span.id));
        spans.dedup_by_key(|span| span.id);
        let spans: Vec<&Span> = spans.iter().collect();
        let mut pace = self.pace();
        self.encode(&spans, &mut pace).map_err(write::unfit).map(Some)
    }

    fn merged_links(&mut self, group: &[Entry]) -> rusqlite::Result<Option<Vec<Row>>> {
        let mut links: Vec<Link> = Vec::new();
        for entry in group {
            let read = encode::read_links(&self.body(entry.id)?, &mut self.decompressor);
            let Some(read) = read.ok().and_then(|read| read.all()) else {
                self.unreadable.insert(entry.id);
                return Ok(None);
            };
            links.extend(read);
        }
        links.sort_by_key(|link| (link.child_start, link.child, link.parent, link.generation));
        links.dedup();
        let links: Vec<&Link> = links.iter().collect();
        let mut pace = self.pace();
        self.encode_links(&links, &mut pace).map_err(write::unfit).map(Some)
    }

    pub(super) fn body(&self, id: i64) -> rusqlite::Result<Vec<u8>> {
        let sql = "SELECT data FROM body WHERE id = ?";
        self.connection.prepare_cached(sql)?.query_row([id], |row| row.get(0))
    }

    /// Gives free pages back to the file system once they are a quarter of the file.
    fn give_back(&mut self) -> rusqlite::Result<()> {
        let pragma =
            |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (free, pages) = (pragma("freelist_count")?, pragma("page_count")?);
        if free < FREE_PAGES_MIN || free < pages / 4 {
            return Ok(());
        }
        database::give_back(&self.connection, FREE_PAGES_STEP).map(drop)
    }
}

/// Removes batches with all that belongs to them.
pub(super) fn delete(transaction: &Transaction<'_>, entries: &[Entry]) -> rusqlite::Result<()> {
    for table in ["batch", "filter", "body"] {
        let mut query = transaction.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?"))?;
        entries.iter().try_for_each(|entry| query.execute([entry.id]).map(drop))?;
    }
    let mut query = transaction.prepare_cached("INSERT INTO removed (batch) VALUES (?)")?;
    entries.iter().try_for_each(|entry| query.execute([entry.id]).map(drop))?;
    let sql = "DELETE FROM removed WHERE number <= ?";
    let forgotten = transaction.last_insert_rowid() - REMOVED_KNOWN;
    transaction.prepare_cached(sql)?.execute([forgotten]).map(drop)
}

/// The earliest neighbours in time of one size class that make a larger batch.
///
/// A class is a factor of [`MERGED_LEN`], so that a span is merged about three times in its life.
fn mergeable(entries: &[Entry], is_unreadable: impl Fn(i64) -> bool) -> Option<Vec<Entry>> {
    let full = BATCH_LEN_MAX as u64;
    let mut classes: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
    for entry in entries
        .iter()
        .filter(|it| it.count <= full / 2 && !it.is_compacted && !is_unreadable(it.id))
    {
        let class = entry.count.max(1).ilog2() / MERGED_LEN.ilog2();
        classes.entry(class).or_default().push(*entry);
    }
    classes.into_values().find_map(|mut class| {
        class.sort_by_key(|entry| (entry.min_start, entry.id));
        (0..class.len()).find_map(|from| {
            let mut count = 0;
            let group = class[from..].iter().take(MERGED_LEN).take_while(|entry| {
                count += entry.count;
                count <= full && entry.max_start.since(class[from].min_start) <= MERGED_TIME_MAX
            });
            let group: Vec<Entry> = group.copied().collect();
            let is_full = group.iter().map(|entry| entry.count).sum::<u64>() > full / 2;
            (group.len() == MERGED_LEN || is_full && group.len() > 1).then_some(group)
        })
    })
}
