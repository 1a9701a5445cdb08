//! Catalogue: what is known of every batch, in memory, without reading it.

use deeptrace_model::{Span, SpanStatus, WallTime, hash_bytes};
use rusqlite::{Connection, Row};

use crate::{Filter, Window};

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
        self.kind as u64 | if self.is_compacted { COMPACTED } else { 0 }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        // SQLite's integers are signed; the bits are ours.
        let number = |column: usize| row.get::<_, i64>(column).map(|bits| bits as u64);
        Ok(Self {
            id: row.get(0)?,
            kind: if number(1)? & KIND == 0 { Kind::Spans } else { Kind::Links },
            is_compacted: number(1)? & COMPACTED != 0,
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

/// All batches by id, as of the last refresh.
#[derive(Default)]
pub(super) struct Catalogue {
    entries: Vec<Entry>,
    /// `PRAGMA data_version` at the last refresh: changes with every commit of others.
    version: Option<i64>,
    /// How often batches were removed or merged, at the last refresh.
    removals: i64,
}

impl Catalogue {
    /// Brings it up to the transaction that `connection` is in.
    pub(super) fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.version == Some(version) {
            return Ok(());
        }
        let removals = super::read_meta(connection, super::REMOVALS)?.unwrap_or_default();
        if removals != self.removals {
            self.entries.clear();
        }
        let last = self.entries.last().map_or(0, |entry| entry.id);
        let mut query = connection.prepare_cached(
            "SELECT id, kind, min_start, max_start, max_end, longest, count, errors, services, names
             FROM batch WHERE id > ? ORDER BY id",
        )?;
        for entry in query.query_map([last], Entry::read)? {
            self.entries.push(entry?);
        }
        self.removals = removals;
        self.version = Some(version);
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

    /// All batches.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}
