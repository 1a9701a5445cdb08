//! Purge: every table is written anew, in pieces between which others write, until no byte is left of
//! what was removed, in free pages or between rows. (That SQLite overwrites what it deletes is not
//! enough: when it moves rows to another page, they stay readable where they were.)
//!
//! While the copy of a table grows, triggers keep equal what it has already. When it is whole it takes
//! the table's name, in one transaction. A process that ends in between leaves the tables as they are,
//! and a copy that nobody reads, which is removed in pieces as well.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params, types::Value};

use super::{
    database,
    write::{self, Writer},
};

/// Beginnings of the names of a copy, of a table that was replaced by its copy, and of triggers.
const COPY: &str = "purge_copy_";
const OLD: &str = "purge_old_";
const TRIGGER: &str = "purge_trigger_";

/// How long one piece should hold the writer; the number of rows follows from it.
const PIECE: Duration = Duration::from_millis(10);
const ROWS_MIN: usize = 4;
const ROWS_MAX: usize = 4_096;
/// Between two pieces: who waits for the writer gets it then.
pub(super) const REST: Duration = Duration::from_millis(2);
/// Free pages given back in one piece.
const PAGES: i64 = 512;

/// How far one purge is.
pub(super) struct Purge {
    step: Step,
    /// Tables that are to be written anew.
    left: Vec<Table>,
    rows: usize,
}

enum Step {
    /// What was replaced, or left behind, is removed.
    Clear,
    /// Free pages are given back: those that were free before hold anything.
    GiveBack,
    /// The next table begins.
    Next,
    /// Rows are copied.
    Copy(Table, Place),
}

/// Where copying is, by the key of a row. What is written from the beginning on the triggers copy, so
/// that whoever writes fast is no reason never to come to an end.
struct Place {
    after: Value,
    last: Value,
}

/// A table, and how its rows are told apart: each of ours has a key of one column, or none.
struct Table {
    name: String,
    key: String,
    columns: Vec<String>,
}

impl Writer {
    /// Begins; until [`end_purge`](Self::end_purge) what anybody deletes is overwritten.
    pub(super) fn begin_purge(&mut self) -> rusqlite::Result<Purge> {
        self.connection.execute_batch("PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY")?;
        self.is_purging = true;
        Ok(Purge { step: Step::Clear, left: Table::all(&self.connection)?, rows: 16 })
    }

    /// Ends, whatever came of it.
    pub(super) fn end_purge(&mut self) -> rusqlite::Result<()> {
        self.is_purging = false;
        self.connection.execute_batch("PRAGMA secure_delete = OFF; PRAGMA temp_store = DEFAULT")
    }

    /// One piece of work; whether there is more.
    pub(super) fn purge_piece(&mut self, purge: &mut Purge) -> rusqlite::Result<bool> {
        match &mut purge.step {
            Step::Clear => {
                if !self.clear_piece(&mut purge.rows)? {
                    purge.step = Step::GiveBack;
                }
            }
            Step::GiveBack => {
                if database::give_back(&self.connection, PAGES)? == 0 {
                    purge.step = Step::Next;
                }
            }
            Step::Next => {
                let Some(table) = purge.left.pop() else {
                    empty_log(&self.connection)?;
                    return Ok(false);
                };
                let place = self.in_transaction(|connection| table.begin(connection))?;
                purge.step = Step::Copy(table, place);
            }
            Step::Copy(table, place) => {
                let rows = &mut purge.rows;
                if !self.in_transaction(|connection| table.copy(connection, place, rows))? {
                    self.in_transaction(|connection| table.replace(connection))?;
                    purge.step = Step::Clear;
                }
            }
        }
        Ok(true)
    }

    /// Whether a purge that broke off has left something behind.
    pub(super) fn has_leftovers(&self) -> rusqlite::Result<bool> {
        let sql = "SELECT 1 FROM sqlite_master WHERE name GLOB 'purge_*' LIMIT 1";
        let found = self.connection.prepare_cached(sql)?.exists([])?;
        Ok(found && !self.is_purging)
    }

    /// Removes some rows of what a purge has replaced, or one that broke off has left behind; whether
    /// there is more.
    pub(super) fn clear_piece(&mut self, rows: &mut usize) -> rusqlite::Result<bool> {
        self.in_transaction(|connection| {
            let begun = Instant::now();
            drop_triggers(connection)?;
            let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND (name GLOB ? OR name GLOB ?)";
            let patterns = params![format!("{COPY}*"), format!("{OLD}*")];
            let found = connection.query_row(sql, patterns, |row| row.get(0)).optional()?;
            let Some(name) = found else { return Ok(false) };
            let Table { name, key, .. } = Table::of(connection, name)?;
            let sql = format!(
                "DELETE FROM {name} WHERE {key} IN (SELECT {key} FROM {name} ORDER BY {key} LIMIT ?)"
            );
            if connection.execute(&sql, [*rows as i64])? < *rows {
                connection.execute_batch(&format!("DROP TABLE {name}"))?;
            }
            pace(rows, begun);
            Ok(true)
        })
    }

    fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction = write::begin(&mut self.connection)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

impl Table {
    /// All tables that hold something of ours.
    fn all(connection: &Connection) -> rusqlite::Result<Vec<Self>> {
        let sql = "SELECT name FROM sqlite_master WHERE type = 'table'
                   AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'purge_*'";
        let mut query = connection.prepare(sql)?;
        let names: Vec<String> =
            query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        names.into_iter().map(|name| Self::of(connection, name)).collect()
    }

    fn of(connection: &Connection, name: String) -> rusqlite::Result<Self> {
        let mut query = connection.prepare("SELECT name, pk FROM pragma_table_info(?)")?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows: Vec<(String, i64)> = query.query_map([&name], row)?.collect::<Result<_, _>>()?;
        let key = rows.iter().find(|(_, place)| *place == 1).map(|(column, _)| column.clone());
        let mut columns: Vec<String> = rows.into_iter().map(|(column, _)| column).collect();
        let key = key.unwrap_or_else(|| {
            columns.insert(0, "rowid".to_owned());
            "rowid".to_owned()
        });
        Ok(Self { name, key, columns })
    }

    /// Makes the copy, empty, with indices and with triggers that keep it equal; what is to be copied.
    fn begin(&self, connection: &Connection) -> rusqlite::Result<Place> {
        let Self { name, key, columns } = self;
        let mut query =
            connection.prepare("SELECT type, name, sql FROM sqlite_master WHERE tbl_name = ?")?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let made: Vec<(String, String, Option<String>)> =
            query.query_map([name], row)?.collect::<Result<_, _>>()?;
        for (kind, made, sql) in made {
            // What SQLite makes by itself has no text.
            let Some(sql) = sql else { continue };
            let Some((_, what)) = sql.split_once('(') else { continue };
            let sql = match kind.as_str() {
                "table" => format!("CREATE TABLE {COPY}{name} ({what}"),
                "index" => format!("CREATE INDEX {} ON {COPY}{name} ({what}", other_name(&made)),
                _ => continue,
            };
            connection.execute_batch(&sql)?;
        }
        let new: Vec<String> = columns.iter().map(|column| format!("NEW.{column}")).collect();
        let (columns, new) = (columns.join(", "), new.join(", "));
        let put = format!("INSERT OR REPLACE INTO {COPY}{name} ({columns}) VALUES ({new});");
        let take = format!("DELETE FROM {COPY}{name} WHERE {key} = OLD.{key};");
        connection.execute_batch(&format!(
            "CREATE TRIGGER {TRIGGER}insert AFTER INSERT ON {name} BEGIN {put} END;
             CREATE TRIGGER {TRIGGER}update AFTER UPDATE ON {name} BEGIN {take} {put} END;
             CREATE TRIGGER {TRIGGER}delete AFTER DELETE ON {name} BEGIN {take} END;"
        ))?;
        let last = connection
            .query_row(&format!("SELECT max({key}) FROM {name}"), [], |row| row.get(0))?;
        Ok(Place { after: Value::Null, last })
    }

    /// Copies some rows; whether there are more.
    fn copy(
        &self,
        connection: &Connection,
        place: &mut Place,
        rows: &mut usize,
    ) -> rusqlite::Result<bool> {
        let begun = Instant::now();
        let Self { name, key, columns } = self;
        let columns = columns.join(", ");
        let behind = if place.after == Value::Null { "?1 IS NULL" } else { &format!("{key} > ?1") };
        let some =
            format!("FROM {name} WHERE {behind} AND {key} <= ?2 ORDER BY {key} LIMIT {rows}");
        let sql = format!("SELECT max({key}) FROM (SELECT {key} {some})");
        let between = params![place.after, place.last];
        let reached: Value = connection.query_row(&sql, between, |row| row.get(0))?;
        if reached == Value::Null {
            return Ok(false);
        }
        // What was changed meanwhile is there already.
        let sql = format!("INSERT OR IGNORE INTO {COPY}{name} ({columns}) SELECT {columns} {some}");
        connection.execute(&sql, between)?;
        place.after = reached;
        pace(rows, begun);
        Ok(true)
    }

    /// Puts the copy in the place of the table.
    fn replace(&self, connection: &Connection) -> rusqlite::Result<()> {
        let name = &self.name;
        drop_triggers(connection)?;
        // Numbers that were used once are not used again.
        let sql =
            "UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = ?1)
                   WHERE name = ?2 AND EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)";
        let copy = format!("{COPY}{name}");
        if connection.execute(sql, [name, &copy])? == 0 {
            let sql = "INSERT INTO sqlite_sequence (name, seq)
                       SELECT ?2, seq FROM sqlite_sequence WHERE name = ?1";
            connection.execute(sql, [name, &copy])?;
        }
        connection.execute_batch(&format!(
            "ALTER TABLE {name} RENAME TO {OLD}{name}; ALTER TABLE {copy} RENAME TO {name};"
        ))
    }
}

/// The copy of an index has to be called otherwise while both are there.
fn other_name(name: &str) -> String {
    name.strip_suffix('_').map_or_else(|| format!("{name}_"), str::to_owned)
}

/// Those of a copy that is not whole; only one is made at a time.
fn drop_triggers(connection: &Connection) -> rusqlite::Result<()> {
    ["insert", "update", "delete"].into_iter().try_for_each(|event| {
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {TRIGGER}{event}"))
    })
}

/// Empties the log, which holds pages as they were.
fn empty_log(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_busy = connection.query_row(sql, [], |row| row.get::<_, i64>(0))? != 0;
    if is_busy {
        // Somebody reads from the log: as when it is waited for in vain.
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        let said = "somebody has been reading for ten seconds";
        return Err(rusqlite::Error::SqliteFailure(code, Some(said.to_owned())));
    }
    Ok(())
}

/// More rows where the last ones took little time, fewer where they took much.
fn pace(rows: &mut usize, begun: Instant) {
    let took = begun.elapsed();
    if took < PIECE / 2 {
        *rows = (*rows * 2).min(ROWS_MAX);
    } else if took > PIECE * 2 {
        *rows = (*rows / 2).max(ROWS_MIN);
    }
}

#[cfg(test)]
#[path = "../../tests/sample/mod.rs"]
mod sample;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use deeptrace_model::{Gap, GapCause, WallTime};

    use super::super::Embedded;
    use super::sample::{BEGIN, MILLI, link, span};
    use crate::{
        Batch, Expected, Filter, Mode, Options, Removal, SpanKey, SpanLookup, Store, Window,
    };

    fn open(folder: &Path) -> Embedded {
        Embedded::open(&Options::new(folder), Mode::Write).unwrap()
    }

    fn batch(from: u64) -> Batch {
        let time = |n: u64| WallTime(BEGIN + n * MILLI);
        let gap = Gap {
            from: time(from),
            to: time(from + 1),
            cause: GapCause::RingFull,
            events: from,
            bytes: 0,
        };
        let spans = (from..from + 20).map(span).collect();
        Batch { spans, links: vec![link(from)], gaps: vec![gap] }
    }

    fn fill(store: &Embedded) {
        for from in (0..400).step_by(20) {
            store.write(&batch(from)).unwrap();
            store.maintain(WallTime(BEGIN)).unwrap();
        }
        store.put_document("a/1", Some(b"one"), Expected::Any).unwrap();
        store.put_document("a/2", Some(b"two"), Expected::Any).unwrap();
    }

    /// All that is there, as anybody can see it.
    fn seen(store: &Embedded) -> String {
        let (mut spans, mut after) = (Vec::new(), None);
        loop {
            let page = store.scan(&Filter::default(), after, 1_000).unwrap();
            spans.extend(page.spans.iter().map(|span| span.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let ids: Vec<SpanLookup> = spans
            .iter()
            .map(|id| SpanLookup { key: SpanKey::Id(*id), window: Window::ALL })
            .collect();
        let found = store.spans(&ids, usize::MAX).unwrap().len();
        let gaps = store.gaps(Window::ALL, 10_000).unwrap();
        let operations = store.operations(Window::ALL, None).unwrap();
        let documents = store.documents("a/", None, 100).unwrap();
        let links = store.stats().unwrap().links;
        format!("{spans:?} {found} {links} {gaps:?} {operations:?} {documents:?}")
    }

    fn is_sound(store: &Embedded) -> bool {
        let writer = store.writer().unwrap();
        let check = |sql: &str| writer.connection.query_row(sql, [], |row| row.get::<_, String>(0));
        let left: i64 = writer
            .connection
            .query_row("SELECT count(*) FROM sqlite_master WHERE name GLOB 'purge_*'", [], |row| {
                row.get(0)
            })
            .unwrap();
        check("PRAGMA integrity_check(1)").unwrap() == "ok" && left == 0
    }

    /// Some pieces of a purge, with something done after each; whether it came to its end.
    fn pieces(store: &Embedded, count: usize, mut between: impl FnMut(usize)) -> bool {
        let mut purge = store.writer().unwrap().begin_purge().unwrap();
        for piece in 0..count {
            if !store.writer().unwrap().purge_piece(&mut purge).unwrap() {
                store.writer().unwrap().end_purge().unwrap();
                return true;
            }
            between(piece);
        }
        false
    }

    /// What is written, changed and removed between two pieces.
    fn change(store: &Embedded, piece: usize) {
        let n = piece as u64;
        store.write(&batch(10_000 + 20 * n)).unwrap();
        store.maintain(WallTime(BEGIN)).unwrap();
        let lookup = SpanLookup { key: SpanKey::Id(span(n * 7).id), window: Window::ALL };
        store.remove(Removal::Spans(&[lookup])).unwrap();
        store.heartbeat(WallTime(BEGIN + n)).unwrap();
        store.put_document("a/1", Some(format!("{n}").as_bytes()), Expected::Any).unwrap();
        let body = n.is_multiple_of(2).then_some(&b"x"[..]);
        store.put_document("a/3", body, Expected::Any).unwrap();
    }

    #[test]
    fn what_others_write_between_the_pieces_is_as_without_a_purge() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, plain) = (open(folder.path()), open(other.path()));
        fill(&store);
        fill(&plain);
        let mut done = 0;
        assert!(pieces(&store, 10_000, |piece| {
            change(&store, piece);
            change(&plain, piece);
            done += 1;
        }));
        assert!(done > 30, "a purge of {done} pieces lets nobody in between");
        assert_eq!(seen(&store), seen(&plain));
        assert!(is_sound(&store));
        // Numbers go on where they were, so a reader that knows the batches of before finds the new ones.
        let next = |store: &Embedded| -> i64 {
            let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'batch'";
            store.writer().unwrap().connection.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!(next(&store), next(&plain));
    }

    #[test]
    fn a_purge_that_breaks_off_leaves_what_was_there_and_the_next_one_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        fill(&open(folder.path()));
        let before = seen(&open(folder.path()));
        let mut count = 0;
        // Each time some pieces later, without an end as when the process is killed.
        while !pieces(&open(folder.path()), count, |_| ()) {
            let store = open(folder.path());
            assert_eq!(seen(&store), before, "after {count} pieces");
            if count.is_multiple_of(2) {
                while store.maintain(WallTime(BEGIN)).unwrap().more {}
                assert!(is_sound(&store), "after {count} pieces");
            }
            count += 1 + count / 8;
        }
        let store = open(folder.path());
        assert!(is_sound(&store) && count > 10);
        assert_eq!(seen(&store), before);
        store.purge().unwrap();
        assert_eq!(seen(&store), before);
    }
}
