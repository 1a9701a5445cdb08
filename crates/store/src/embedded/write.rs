//! Write: a batch into the database, in one transaction.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use deeptrace_model::{Gap, GapCause, Link, Span, WallTime};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use zstd::bulk::Decompressor;

use super::{
    LAST_ALIVE,
    catalogue::Catalogue,
    database, encode,
    encode::{BATCH_LEN_MAX, Packer, Row, WRITTEN_LEVEL},
    pace::Pace,
    rollups,
    writing::Room,
};
use crate::{Batch, Options, StoreError, joining::Joining};

/// Between two writes, when there is more to write than there is time.
const BEHIND: Duration = Duration::from_millis(3);

/// The one who may write.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) catalogue: Catalogue,
    pub(super) packer: Packer,
    pub(super) decompressor: Decompressor<'static>,
    is_gentle: bool,
    room: Room,
    /// When it last encoded spans.
    encoded: Option<Instant>,
    /// Batches that could not be read for merging.
    pub(super) unreadable: BTreeSet<i64>,
    /// Sides of exchanges that wait for the other.
    pub(super) joining: Joining,
    /// Whether tables are being written anew.
    pub(super) is_purging: bool,
}

impl Writer {
    pub(super) fn new(connection: Connection, options: &Options) -> Result<Self, StoreError> {
        let zstd = |source| {
            let (action, path) = ("prepare compression for", options.folder.clone());
            StoreError::Io { action, path, source }
        };
        let packer = Packer::new(WRITTEN_LEVEL).map_err(zstd)?;
        let decompressor = Decompressor::new().map_err(zstd)?;
        let (catalogue, unreadable) = (Catalogue::default(), BTreeSet::new());
        let is_gentle = options.is_gentle;
        let (room, encoded) = (Room::default(), None);
        Ok(Self {
            connection,
            catalogue,
            packer,
            decompressor,
            is_gentle,
            room,
            encoded,
            unreadable,
            joining: Joining::default(),
            is_purging: false,
        })
    }

    /// How the work that begins now goes on.
    pub(super) fn pace(&self) -> Pace {
        // Whoever comes back at once has more waiting than rests leave time for.
        let is_behind = self.encoded.is_some_and(|at| at.elapsed() < BEHIND);
        Pace::new(self.is_gentle && !is_behind)
    }

    /// Spans, by start, as rows.
    pub(super) fn encode(&mut self, spans: &[&Span], pace: &mut Pace) -> Result<Vec<Row>, String> {
        let rows = encode::spans(spans, &mut self.packer, &mut self.room, pace);
        self.encoded = Some(Instant::now());
        rows
    }

    /// Links, by start of their child, as rows.
    pub(super) fn encode_links(
        &mut self,
        links: &[&Link],
        pace: &mut Pace,
    ) -> Result<Vec<Row>, String> {
        let rows = links.chunks(BATCH_LEN_MAX);
        rows.map(|links| encode::links(links, &mut self.packer, pace)).collect()
    }

    /// Writes all of `batch` or nothing.
    pub(super) fn write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::new();
        let mut spans: Vec<&Span> = batch.spans.iter().collect();
        // Nearly in order already, which a stable sort uses.
        spans.sort_by_key(|span| (span.start, span.id));
        // One for all of it: that spans were encoded just now does not mean that more is waiting.
        let mut pace = self.pace();
        let minutes = rollups::minutes(&spans, &mut self.joining, &mut pace);
        rows.extend(self.encode(&spans, &mut pace).map_err(unfit)?);
        let mut links: Vec<_> = batch.links.iter().collect();
        links.sort_by_key(|link| (link.child_start, link.child));
        rows.extend(self.encode_links(&links, &mut pace).map_err(unfit)?);
        let transaction = begin(&mut self.connection)?;
        rows.iter().try_for_each(|row| insert(&transaction, row))?;
        batch.gaps.iter().try_for_each(|gap| insert_gap(&transaction, gap))?;
        rollups::insert(&transaction, minutes, &mut self.packer)?;
        transaction.commit()
    }

    pub(super) fn heartbeat(&mut self, now: WallTime) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)";
        self.connection.prepare_cached(sql)?.execute(params![LAST_ALIVE, now.0 as i64]).map(drop)
    }
}

/// Begins a transaction that will write.
pub(super) fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// An error of our own encoding, as SQLite's callers know it.
pub(super) fn unfit(reason: String) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(reason.into())
}

/// Inserts a batch; returns nothing, its number is SQLite's choice.
pub(super) fn insert(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let entry = &row.entry;
    transaction
        .prepare_cached(
            "INSERT INTO batch (kind, min_start, max_start, max_end, longest, count, errors,
             services, names, operations) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            entry.kind_bits() as i64,
            entry.min_start.0 as i64,
            entry.max_start.0 as i64,
            entry.max_end.0 as i64,
            entry.longest as i64,
            entry.count as i64,
            entry.errors as i64,
            entry.services as i64,
            entry.names as i64,
            row.operations,
        ])?;
    let id = transaction.last_insert_rowid();
    for (sql, data) in [
        ("INSERT INTO filter (id, data) VALUES (?, ?)", &row.filter),
        ("INSERT INTO body (id, data) VALUES (?, ?)", &row.body),
    ] {
        transaction.prepare_cached(sql)?.execute(params![id, data])?;
    }
    Ok(())
}

/// Causes as numbers; a number never changes its meaning.
const CAUSES: [GapCause; 6] = [
    GapCause::AgentDown,
    GapCause::RingFull,
    GapCause::Paused,
    GapCause::StoreFull,
    GapCause::BufferFull,
    GapCause::SampledOut,
];

fn insert_gap(transaction: &Transaction<'_>, gap: &Gap) -> rusqlite::Result<()> {
    let cause = CAUSES.iter().position(|cause| *cause == gap.cause).unwrap_or_default();
    let sql = "INSERT INTO gap (since, until, cause, events, bytes) VALUES (?, ?, ?, ?, ?)";
    let (since, until) = (database::moment(gap.from), database::moment(gap.to));
    transaction.prepare_cached(sql)?.execute(params![
        since,
        until,
        cause as i64,
        gap.events as i64,
        gap.bytes as i64
    ])?;
    Ok(())
}

/// Reads what [`insert_gap`] wrote.
pub(super) fn read_gap(row: &rusqlite::Row<'_>) -> rusqlite::Result<Gap> {
    let number = |column: usize| row.get::<_, i64>(column).map(|bits| bits as u64);
    let cause = CAUSES.get(number(2)? as usize).copied().unwrap_or(GapCause::AgentDown);
    let (from, to) = (WallTime(number(0)?), WallTime(number(1)?));
    Ok(Gap { from, to, cause, events: number(3)?, bytes: number(4)? })
}
