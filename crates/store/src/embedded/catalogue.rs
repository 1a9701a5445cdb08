//! Catalogue: what is known of every batch, in memory, without reading it.

use std::collections::BTreeSet;

use deeptrace_model::{Span, SpanStatus, WallTime, hash_bytes};
use rusqlite::{Connection, Row};
use rustc_hash::FxHashSet;

use super::{
    database,
    index::{self, Index},
};
use crate::{Filter, Window};

/// The latest batches that were removed, or replaced by others, so that a catalogue need not be read anew for
/// each.
pub(super) const REMOVED: &str = "
    CREATE TABLE removed (number INTEGER PRIMARY KEY, batch INTEGER NOT NULL);
";
/// So many of them: who has missed more reads the whole catalogue.
pub(super) const REMOVED_KNOWN: i64 = 4096;

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Spans = 0,
    Links = 1,
}

/// One batch. Links have their child's start in all three times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) kind: Kind,
    /// Whether it is compressed for long.
    pub(super) is_compacted: bool,
    /// Whether its filter can be taken into an index.
    pub(super) is_indexable: bool,
    /// Whether it was, so that it has none of its own any more.
    pub(super) is_indexed: bool,
    pub(super) min_start: WallTime,
    pub(super) max_start: WallTime,
    pub(super) max_end: WallTime,
    /// Longest duration, in nanoseconds.
    pub(super) longest: u64,
    pub(super) count: u64,
    pub(super) errors: u64,
    /// One bit for each service in it, by hash: a clear bit says that the service is not here.
    pub(super) services: u64,
    /// The same for names.
    pub(super) names: u64,
}

/// Bits of the column `kind`.
const KIND: u64 = 1;
const COMPACTED: u64 = 2;
const INDEXABLE: u64 = 4;

/// The bit of a text in `services` or `names`.
fn bit(text: &str) -> u64 {
    1 << (hash_bytes(text.as_bytes()) % 64)
}

impl Entry {
    /// An entry without content.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            id: 0,
            kind,
            is_compacted: false,
            is_indexable: false,
            is_indexed: false,
            min_start: WallTime(u64::MAX),
            max_start: WallTime(0),
            max_end: WallTime(0),
            longest: 0,
            count: 0,
            errors: 0,
            services: 0,
            names: 0,
        }
    }

    /// Counts something from `start` to `end` in.
    pub(super) fn add_time(&mut self, start: WallTime, end: WallTime) {
        self.min_start = self.min_start.min(start);
        self.max_start = self.max_start.max(start);
        self.max_end = self.max_end.max(end.max(start));
        self.count += 1;
    }

    /// Counts a span in.
    pub(super) fn add(&mut self, span: &Span) {
        self.add_time(span.start, span.end);
        self.longest = self.longest.max(span.end.since(span.start).0);
        self.errors += u64::from(span.status == SpanStatus::Error);
    }

    /// Spans of that service and name are in it.
    pub(super) fn name(&mut self, service: &str, name: &str) {
        self.services |= bit(service);
        self.names |= bit(name);
    }

    /// Whether a span of it may overlap `window`.
    pub(super) fn overlaps(&self, window: Window) -> bool {
        window.overlaps(self.min_start, self.max_end)
    }

    /// Whether a span of it may pass `filter`.
    pub(super) fn may_pass(&self, filter: &Filter) -> bool {
        filter.window.overlaps(self.min_start, self.max_start)
            && filter.service.as_ref().is_none_or(|service| self.services & bit(service) != 0)
            && filter.name.as_ref().is_none_or(|name| self.names & bit(name) != 0)
            && filter.min_duration.is_none_or(|min| self.longest >= min.0)
            && (!filter.errors_only || self.errors > 0)
    }

    /// What is stored in the column `kind`.
    pub(super) fn kind_bits(&self) -> u64 {
        let bit = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
        self.kind as u64 | bit(self.is_compacted, COMPACTED) | bit(self.is_indexable, INDEXABLE)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        // SQLite's integers are signed; the bits are ours.
        let number = |column: usize| row.get::<_, i64>(column).map(|bits| bits as u64);
        Ok(Self {
            id: row.get(0)?,
            kind: if number(1)? & KIND == 0 { Kind::Spans } else { Kind::Links },
            is_compacted: number(1)? & COMPACTED != 0,
            is_indexable: number(1)? & INDEXABLE != 0,
            is_indexed: false,
            min_start: WallTime(number(2)?),
            max_start: WallTime(number(3)?),
            max_end: WallTime(number(4)?),
            longest: number(5)?,
            count: number(6)?,
            errors: number(7)?,
            services: number(8)?,
            names: number(9)?,
        })
    }
}

/// The entry of that number among `entries`, which are by number.
pub(super) fn of_number(entries: &[Entry], id: i64) -> Option<&Entry> {
    entries.binary_search_by_key(&id, |entry| entry.id).ok().and_then(|place| entries.get(place))
}

/// All batches by id, as of the last refresh.
#[derive(Default)]
pub(super) struct Catalogue {
    entries: Vec<Entry>,
    indices: Vec<Index>,
    /// `PRAGMA data_version` at the last refresh: changes with every commit of others.
    version: Option<i64>,
    /// Number of the last removal that is known here.
    removed: i64,
    /// What tells whether the indices are those that are known here; `None` where batches of theirs are gone.
    indices_known: Option<(i64, i64)>,
}

impl Catalogue {
    /// Brings it up to the transaction that `connection` is in.
    pub(super) fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut query = connection.prepare_cached("PRAGMA data_version")?;
        let version = query.query_row([], |row| row.get(0))?;
        if self.version == Some(version) {
            return Ok(());
        }
        self.take_out_removed(connection)?;
        let last = self.entries.last().map_or(0, |entry| entry.id);
        let mut query = connection.prepare_cached(
            "SELECT id, kind, min_start, max_start, max_end, longest, count, errors, services, names
             FROM batch WHERE id > ? ORDER BY id",
        )?;
        for entry in query.query_map([last], Entry::read)? {
            self.entries.push(entry?);
        }
        self.refresh_indices(connection)?;
        self.version = Some(version);
        Ok(())
    }

    /// Takes out what was removed since the last refresh; all, where that is not known.
    fn take_out_removed(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if !database::has_table(connection, "removed")? {
            self.clear();
            return Ok(());
        }
        let sql = "SELECT number, batch FROM removed WHERE number > ? ORDER BY number";
        let mut query = connection.prepare_cached(sql)?;
        let rows = query.query_map([self.removed], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let removed: Vec<(i64, i64)> = rows.collect::<rusqlite::Result<_>>()?;
        let (Some(first), Some(last)) = (removed.first(), removed.last()) else { return Ok(()) };
        if first.0 == self.removed + 1 {
            let removed: BTreeSet<i64> = removed.iter().map(|(_, batch)| *batch).collect();
            self.entries.retain(|entry| {
                let is_removed = removed.contains(&entry.id);
                if is_removed && entry.is_indexed {
                    self.indices_known = None;
                }
                !is_removed
            });
        } else {
            self.clear();
        }
        self.removed = last.0;
        Ok(())
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.indices_known = None;
    }

    fn refresh_indices(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let known = Some(index::known(connection)?);
        if known == self.indices_known {
            return Ok(());
        }
        self.indices = index::all(connection)?;
        let indexed: FxHashSet<i64> =
            self.indices.iter().flat_map(|index| index.batches()).copied().collect();
        for entry in &mut self.entries {
            entry.is_indexed = entry.is_indexable && indexed.contains(&entry.id);
        }
        for index in &mut self.indices {
            index.meet(&self.entries);
        }
        self.indices_known = known;
        Ok(())
    }

    /// Makes the next refresh look, for whoever commits on the same connection.
    pub(super) fn forget_version(&mut self) {
        self.version = None;
    }

    /// Batches of a kind, the oldest first.
    pub(super) fn of(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.kind == kind)
    }

    /// All batches, by number.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The batch of that number, if it is there.
    pub(super) fn entry(&self, id: i64) -> Option<&Entry> {
        of_number(&self.entries, id)
    }

    /// All indices.
    pub(super) fn indices(&self) -> &[Index] {
        &self.indices
    }
}
