//! Rollups: sums of minutes and hours in a table of their own.
//!
//! Every write adds a row for each minute it touches; maintenance sums the rows of a minute, and those
//! of an hour's minutes into a row of the hour. Minutes stay for as long as spans do, so a window that
//! begins within an hour is answered exactly.

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::{Duration, Span, SpanStatus, Text, WallTime};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use zstd::bulk::Decompressor;

use super::{
    database,
    encode::{self, Packer, WRITTEN_LEVEL},
    pace::Pace,
    write::Writer,
};
use crate::{
    Callee, EdgeKey, EdgeRollup, Operation, OperationKey, OperationRollup, Rollups, Step, Tally,
    Window,
    joining::{Call, Joining},
    rollup::Sums,
};

/// Nanoseconds of a minute and of an hour.
const MINUTE: u64 = 60_000_000_000;
const HOUR: u64 = 60 * MINUTE;
/// After its end, a minute or an hour is taken for complete; what comes later has its own row.
const SETTLED: Duration = Duration::from_secs(90);
/// Rows of one minute after which they are summed before that.
const ROWS_MAX: i64 = 16;
/// Spans between two looks at the pace.
const STEP: usize = 64;
/// Sums that are answered at once.
const ANSWER_MAX: usize = 200_000;
/// Rows from which operations are taken out in one go.
const PIECE_ROWS: i64 = 256;

/// What version 4 added. `step` is the length in nanoseconds, `start` since the epoch; `is_summed` says
/// that a row of a minute is contained in its hour's row as well.
pub(super) const TABLE: &str = "
    CREATE TABLE rollup (
        id INTEGER PRIMARY KEY, step INTEGER NOT NULL, start INTEGER NOT NULL,
        is_summed INTEGER NOT NULL, data BLOB NOT NULL
    );
    CREATE INDEX rollup_start ON rollup (step, start);
    CREATE INDEX rollup_fresh ON rollup (start) WHERE step = 60000000000 AND is_summed = 0;
";

/// Condition of the rows in `rollup_fresh`; SQLite uses that index only where it is written alike.
const FRESH: &str = "step = 60000000000 AND is_summed = 0";

/// Sums by the minute in which spans start.
pub(super) type Minutes = BTreeMap<u64, Sums>;

/// What is written: sums of one step.
#[derive(Serialize, Deserialize)]
struct Stored {
    operations: Vec<(OperationKey, Tally)>,
    edges: Vec<(EdgeKey, Tally)>,
}

/// Sums of spans that are written together.
pub(super) fn minutes(spans: &[&Span], joining: &mut Joining, pace: &mut Pace) -> Minutes {
    let mut minutes = Minutes::new();
    let mut places: FxHashMap<(u64, &str, &str, u8), usize> = FxHashMap::default();
    let mut tallies: Vec<(&Span, Tally)> = Vec::new();
    for (number, span) in spans.iter().enumerate() {
        if number.is_multiple_of(STEP) {
            pace.step();
        }
        let minute = span.start.0 / MINUTE;
        let place = *places
            .entry((minute, &*span.service, &*span.name, span.kind as u8))
            .or_insert_with(|| {
                tallies.push((span, Tally::default()));
                tallies.len() - 1
            });
        tallies[place].1.add(span.end.since(span.start), span.status == SpanStatus::Error);
        joining.feed(span, &mut |call| add(&mut minutes, call));
    }
    for (span, tally) in tallies {
        let (service, name) = (span.service.clone(), span.name.clone());
        let key = OperationKey { service, name, kind: span.kind };
        minutes.entry(span.start.0 / MINUTE).or_default().operation(key).merge(&tally);
    }
    minutes
}

/// Counts a call in.
fn add(minutes: &mut Minutes, call: Call) {
    let sums = minutes.entry(call.start.0 / MINUTE).or_default();
    sums.edge(call.edge).add(call.duration, call.is_error);
}

/// Appends the sums as rows.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    minutes: Minutes,
    packer: &mut Packer,
) -> rusqlite::Result<()> {
    for (minute, sums) in minutes {
        insert_row(transaction, MINUTE, minute * MINUTE, sums, packer)?;
    }
    Ok(())
}

fn insert_row(
    transaction: &Connection,
    step: u64,
    start: u64,
    sums: Sums,
    packer: &mut Packer,
) -> rusqlite::Result<()> {
    let data = data_of(sums, packer)?;
    let sql = "INSERT INTO rollup (step, start, is_summed, data) VALUES (?, ?, 0, ?)";
    let start = database::moment(WallTime(start));
    transaction.prepare_cached(sql)?.execute(params![step as i64, start, data]).map(drop)
}

fn data_of(sums: Sums, packer: &mut Packer) -> rusqlite::Result<Vec<u8>> {
    let stored = Stored {
        operations: sums.operations.into_iter().collect(),
        edges: sums.edges.into_iter().collect(),
    };
    let plain = postcard::to_stdvec(&stored).map_err(unfit)?;
    packer.pack_sums(&plain).map_err(super::write::unfit)
}

fn unfit(error: postcard::Error) -> rusqlite::Error {
    super::write::unfit(error.to_string())
}

/// Reads a row; `None`: it is damaged.
fn read(data: &[u8], zstd: &mut Decompressor<'_>) -> Option<Sums> {
    let stored: Stored = postcard::from_bytes(&encode::unpack_sums(data, zstd).ok()?).ok()?;
    let tallies =
        || stored.operations.iter().map(|it| &it.1).chain(stored.edges.iter().map(|it| &it.1));
    tallies().all(|tally| tally.durations.is_sound()).then(|| Sums {
        operations: stored.operations.into_iter().collect(),
        edges: stored.edges.into_iter().collect(),
    })
}

/// Sums of `window`, widened to whole minutes; damaged rows are left out and told to `damaged`.
pub(super) fn rollups(
    connection: &Connection,
    window: Window,
    step: Step,
    service: Option<&str>,
    damaged: &mut dyn FnMut(),
) -> rusqlite::Result<Rollups> {
    if !database::has_table(connection, "rollup")? {
        return Ok(Rollups::default());
    }
    let mut zstd = Decompressor::new().map_err(|error| super::write::unfit(error.to_string()))?;
    let from = window.from.0 / MINUTE * MINUTE;
    // Hours that are in the window as a whole are answered by their rows and by what came later.
    let hours = match step {
        Step::Minute => (1, 0),
        _ => (from.div_ceil(HOUR), (window.to.0.saturating_add(1) / HOUR).saturating_sub(1)),
    };
    let hour = |number: u64| database::moment(WallTime(number.saturating_mul(HOUR)));
    let (first, last) = (hour(hours.0), if hours.0 <= hours.1 { hour(hours.1) } else { -1 });
    let sql = "SELECT start, data FROM rollup WHERE step = ?1 AND start BETWEEN ?3 AND ?4
               UNION ALL
               SELECT start, data FROM rollup WHERE step = ?2 AND start BETWEEN ?5 AND ?6
               AND (is_summed = 0 OR start < ?3 OR start >= ?4 + ?1 OR ?4 < 0)
               ORDER BY 1 DESC";
    let mut query = connection.prepare_cached(sql)?;
    let (begin, end) = (database::moment(WallTime(from)), database::moment(window.to));
    let last = last.min(i64::MAX - HOUR as i64);
    let mut rows = query.query(params![HOUR as i64, MINUTE as i64, first, last, begin, end])?;
    let (mut steps, mut count, mut is_cut) = (BTreeMap::<u64, Sums>::new(), 0, false);
    while let Some(row) = rows.next()? {
        let start = row.get::<_, i64>(0)? as u64;
        let Some(mut sums) = read(row.get_ref(1)?.as_blob().unwrap_or_default(), &mut zstd) else {
            damaged();
            continue;
        };
        if let Some(service) = service {
            sums.keep(service);
        }
        let start = match step {
            Step::Minute => start,
            Step::Hour => start / HOUR * HOUR,
            Step::Whole => from,
        };
        if count >= ANSWER_MAX && !steps.contains_key(&start) {
            is_cut = true;
            break;
        }
        let known = steps.entry(start).or_default();
        let before = known.len();
        known.merge(sums);
        count += known.len() - before;
    }
    let mut answer = Rollups { is_cut, ..Rollups::default() };
    for (start, sums) in steps {
        let start = WallTime(start);
        let operations = sums.operations.into_iter();
        answer.operations.extend(operations.map(|(operation, tally)| OperationRollup {
            start,
            operation,
            tally,
        }));
        let edges = sums.edges.into_iter();
        answer.edges.extend(edges.map(|(edge, tally)| EdgeRollup { start, edge, tally }));
    }
    Ok(answer)
}

impl Writer {
    /// One piece of work on rollups; whether there was any.
    pub(super) fn sum_up(&mut self, now: WallTime) -> rusqlite::Result<bool> {
        let mut late = Minutes::new();
        self.joining.tick(now, &mut |call| add(&mut late, call));
        self.insert_late(late)?;
        Ok(self.sum_minute(now)? || self.sum_hour(now)?)
    }

    /// Sums the rows of one minute that has many, or has two and is over.
    fn sum_minute(&mut self, now: WallTime) -> rusqlite::Result<bool> {
        let over = database::moment(now.minus(SETTLED).minus(Duration(MINUTE)));
        let sql = format!(
            "SELECT start, count(*) AS rows FROM rollup WHERE {FRESH} GROUP BY start
             HAVING rows >= ?1 OR rows > 1 AND start <= ?2 LIMIT 1"
        );
        let mut query = self.connection.prepare_cached(&sql)?;
        let found = query.query_row(params![ROWS_MAX, over], |row| row.get::<_, i64>(0));
        let Some(start) = found.optional()? else { return Ok(false) };
        drop(query);
        let transaction = super::write::begin(&mut self.connection)?;
        let sums = sum(&transaction, start, start, &mut self.decompressor)?;
        let sql = format!("DELETE FROM rollup WHERE {FRESH} AND start = ?");
        transaction.prepare_cached(&sql)?.execute([start])?;
        insert_row(&transaction, MINUTE, start as u64, sums, &mut self.packer)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Sums the minutes of one hour that is over, with what its row holds already.
    fn sum_hour(&mut self, now: WallTime) -> rusqlite::Result<bool> {
        let over = database::moment(now.minus(SETTLED).minus(Duration(HOUR)));
        let sql = format!("SELECT min(start) FROM rollup WHERE {FRESH}");
        let first: Option<i64> =
            self.connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
        let Some(first) = first.filter(|start| start / HOUR as i64 * HOUR as i64 <= over) else {
            return Ok(false);
        };
        let start = first / HOUR as i64 * HOUR as i64;
        let last = start + (HOUR - MINUTE) as i64;
        let transaction = super::write::begin(&mut self.connection)?;
        let mut sums = sum(&transaction, start, last, &mut self.decompressor)?;
        let sql = "SELECT data FROM rollup WHERE step = ? AND start = ?";
        let mut query = transaction.prepare_cached(sql)?;
        let before =
            query.query_map(params![HOUR as i64, start], |row| row.get::<_, Vec<u8>>(0))?;
        for data in before {
            sums.merge(read(&data?, &mut self.decompressor).unwrap_or_default());
        }
        drop(query);
        let sql = "DELETE FROM rollup WHERE step = ? AND start = ?";
        transaction.prepare_cached(sql)?.execute(params![HOUR as i64, start])?;
        let sql =
            format!("UPDATE rollup SET is_summed = 1 WHERE {FRESH} AND start BETWEEN ? AND ?");
        transaction.prepare_cached(&sql)?.execute([start, last])?;
        insert_row(&transaction, HOUR, start as u64, sums, &mut self.packer)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Removes minutes and hours that ended before `limit`.
    pub(super) fn expire_rollups(&mut self, limit: WallTime) -> rusqlite::Result<()> {
        let sql = "DELETE FROM rollup WHERE step = ? AND start < ?";
        for step in [MINUTE, HOUR] {
            let before = database::moment(limit.minus(Duration(step)));
            self.connection.prepare_cached(sql)?.execute(params![step as i64, before])?;
        }
        Ok(())
    }

    /// Takes operations, and calls of services, out of some rows with ids above `behind`. Returns the id
    /// that it came to; `None` at the end.
    pub(super) fn forget_sums(
        &mut self,
        behind: i64,
        operations: &BTreeSet<(Text, Text)>,
        services: &BTreeSet<Text>,
    ) -> rusqlite::Result<Option<i64>> {
        let transaction = super::write::begin(&mut self.connection)?;
        let sql = "SELECT id, data FROM rollup WHERE id > ? ORDER BY id LIMIT ?";
        let mut query = transaction.prepare_cached(sql)?;
        let rows = query
            .query_map([behind, PIECE_ROWS], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?
            .collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?;
        drop(query);
        for (id, data) in &rows {
            let Some(mut sums) = read(data, &mut self.decompressor) else { continue };
            let before = sums.len();
            sums.operations
                .retain(|key, _| !operations.contains(&(key.service.clone(), key.name.clone())));
            sums.edges.retain(|edge, _| {
                let callee = match &edge.callee {
                    Callee::Service(name) | Callee::Peer(name) => name,
                };
                !services.contains(callee)
                    && edge.caller.as_ref().is_none_or(|caller| !services.contains(caller))
            });
            if sums.len() < before {
                let data = data_of(sums, &mut self.packer)?;
                let sql = "UPDATE rollup SET data = ? WHERE id = ?";
                transaction.prepare_cached(sql)?.execute(params![data, id])?;
            }
        }
        transaction.commit()?;
        Ok(rows.last().map(|(id, _)| *id))
    }

    /// Removes the oldest rows, for a store in which nothing else is left; whether there were any.
    pub(super) fn evict_rollups(&mut self) -> rusqlite::Result<bool> {
        let sql = "DELETE FROM rollup WHERE id IN (SELECT id FROM rollup ORDER BY start LIMIT 64)";
        Ok(self.connection.prepare_cached(sql)?.execute([])? > 0)
    }

    /// Writes the calls of which one side still waits; for the end.
    pub(super) fn finish_rollups(&mut self) -> rusqlite::Result<()> {
        let mut late = Minutes::new();
        self.joining.finish(&mut |call| add(&mut late, call));
        self.insert_late(late)
    }

    fn insert_late(&mut self, late: Minutes) -> rusqlite::Result<()> {
        if late.is_empty() {
            return Ok(());
        }
        let transaction = super::write::begin(&mut self.connection)?;
        insert(&transaction, late, &mut self.packer)?;
        transaction.commit()
    }
}

/// Sums of the minutes from `first` to `last` that are not in an hour's row; damaged ones are gone.
fn sum(
    transaction: &Transaction<'_>,
    first: i64,
    last: i64,
    zstd: &mut Decompressor<'_>,
) -> rusqlite::Result<Sums> {
    let sql = format!("SELECT data FROM rollup WHERE {FRESH} AND start BETWEEN ? AND ?");
    let mut query = transaction.prepare_cached(&sql)?;
    let mut sums = Sums::default();
    for data in query.query_map([first, last], |row| row.get::<_, Vec<u8>>(0))? {
        sums.merge(read(&data?, zstd).unwrap_or_default());
    }
    Ok(sums)
}

/// What the batches of a store of version 3 tell of their operations; how long each span took they do
/// not, so there are no percentiles of them.
pub(super) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let failed = |error: std::io::Error| super::write::unfit(error.to_string());
    let mut packer = Packer::new(WRITTEN_LEVEL).map_err(failed)?;
    let mut query = connection.prepare("SELECT min_start, operations FROM batch WHERE kind = 0")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let minute = row.get::<_, i64>(0)? as u64 / MINUTE;
        let Ok(operations) = encode::read_operations(row.get_ref(1)?.as_blob()?) else { continue };
        let mut sums = Sums::default();
        for operation in operations {
            let Operation { service, name, kind, spans, errors, total, longest } =
                operation.into_operation();
            let tally = Tally { spans, errors, total, longest, ..Tally::default() };
            let key = OperationKey { service: service.into(), name: name.into(), kind };
            sums.operation(key).merge(&tally);
        }
        insert_row(connection, MINUTE, minute * MINUTE, sums, &mut packer)?;
    }
    Ok(())
}
