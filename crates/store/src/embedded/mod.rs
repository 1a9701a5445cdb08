//! The embedded backend: SQLite (WAL) that holds compressed batches, each with a filter of its
//! keys. Rows of spans with several indices were measured too slow for a saturated host.

mod block;
mod cache;
mod catalogue;
mod column;
mod compact;
mod copy;
mod database;
mod documents;
mod encode;
mod filter;
mod first;
mod index;
mod links;
mod maintain;
mod pace;
mod places;
mod purge;
mod read;
mod remove;
mod rollups;
mod row;
mod slice;
mod table;
mod write;
mod writing;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use deeptrace_model::{Gap, Link, Span, SpanId, Text, WallTime};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    Backend, Batch, Cursor, Document, Expected, Filter, LinkLookup, Maintained, Mode, Operation,
    Options, Page, Removal, Removed, Rollups, SpanKey, SpanLookup, Stats, Step, Store, StoreError,
    Window, document,
};

/// Its row in the table.
pub(crate) const BACKEND: Backend = Backend {
    name: "embedded",
    summary: "SQLite in the data folder, for one server; needs nothing else",
    is_shared: false,
    open: |options, mode| Ok(Arc::new(Embedded::open(options, mode)?)),
    restore: copy::restore,
};

/// Key in `meta`: last heartbeat.
const LAST_ALIVE: &str = "last_alive";

/// The embedded store.
struct Embedded {
    options: Options,
    reader: Mutex<read::Reader>,
    /// Absent in a store that was opened for reading. Dropped after the reader: the last connection that is
    /// closed empties the log, which one that only reads cannot.
    writer: Option<Mutex<write::Writer>>,
    counters: Counters,
    /// Held by the one who purges.
    purging: Mutex<()>,
    /// Held for as long as we may write; the last to be dropped.
    _lock: Option<File>,
}

/// Counted since opening.
#[derive(Default)]
struct Counters {
    spans_written: AtomicU64,
    links_written: AtomicU64,
    write_errors: AtomicU64,
    spans_expired: AtomicU64,
    spans_evicted: AtomicU64,
    spans_removed: AtomicU64,
    batches_merged: AtomicU64,
    batches_read: AtomicU64,
    batches_cached: AtomicU64,
    batches_damaged: AtomicU64,
    merge_failures: AtomicU64,
    filters_read: AtomicU64,
    slices_read: AtomicU64,
    rollups_damaged: AtomicU64,
    calls_joined: AtomicU64,
    calls_alone: AtomicU64,
}

impl Embedded {
    fn open(options: &Options, mode: Mode) -> Result<Self, StoreError> {
        let folder = &options.folder;
        let (lock, writer) = match mode {
            Mode::Read => (None, None),
            Mode::Write => {
                let lock = database::lock(folder, options.address.as_deref())?;
                let connection = database::open_writer(folder)?;
                (Some(lock), Some(Mutex::new(write::Writer::new(connection, options)?)))
            }
        };
        let connection = database::open_reader(folder, mode)?;
        let reader = Mutex::new(read::Reader::new(connection, options));
        let (options, counters) = (options.clone(), Counters::default());
        Ok(Self { options, writer, reader, counters, purging: Mutex::default(), _lock: lock })
    }

    fn writer(&self) -> Result<MutexGuard<'_, write::Writer>, StoreError> {
        self.writer.as_ref().map(held).ok_or(StoreError::ReadOnly)
    }

    /// What `removal` names, as the writer understands it.
    fn doomed(&self, removal: Removal<'_>) -> Result<remove::Doomed, StoreError> {
        let lookups = match removal {
            Removal::Before(limit) => {
                return Ok(remove::Doomed::Before { limit, staying: BTreeSet::new() });
            }
            Removal::Spans(lookups) => lookups,
        };
        let find = |lookups: &[SpanLookup]| -> Result<BTreeMap<SpanId, Window>, StoreError> {
            let found = self.spans(lookups, usize::MAX)?;
            Ok(found.iter().map(|span| (span.id, remove::Doomed::window(span))).collect())
        };
        let mut found = find(lookups)?;
        // A removal that broke off may have left links of spans that are gone.
        let absent: Vec<SpanLookup> = (lookups.iter())
            .filter(|it| matches!(it.key, SpanKey::Id(id) if !found.contains_key(&id)))
            .map(|it| SpanLookup { window: Window::ALL, ..*it })
            .collect();
        let elsewhere = find(&absent)?;
        found.extend(absent.iter().filter_map(|it| match it.key {
            SpanKey::Id(id) if !elsewhere.contains_key(&id) => Some((id, it.window)),
            _ => None,
        }));
        Ok(remove::Doomed::spans(lookups, found))
    }

    /// Takes those of the services and names out of the sums that no span has any more.
    fn forget_names(&self, mut names: BTreeSet<(Text, Text)>) -> Result<(), StoreError> {
        let services: BTreeSet<Text> = names.iter().map(|(service, _)| service.clone()).collect();
        let mut gone = services.clone();
        for service in services {
            for left in self.operations(Window::ALL, Some(&service))? {
                gone.remove(&service);
                names.remove(&(Text::from(left.service), Text::from(left.name)));
            }
        }
        self.writer()?.joining.forget(&gone);
        let mut behind = (!names.is_empty()).then_some(0);
        while let Some(id) = behind {
            let piece = self.writer()?.forget_sums(id, &names, &gone);
            behind = piece.map_err(database::failed(&self.options.folder))?;
        }
        Ok(())
    }

    /// Runs `ask` on one state of the database.
    fn read<T>(
        &self,
        ask: impl FnOnce(&mut read::Reader, &Counters) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut reader = held(&self.reader);
        reader
            .in_snapshot(|reader| ask(reader, &self.counters))
            .map_err(database::failed(&self.options.folder))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // What fails here is lost: calls of the last seconds whose other side did not come.
        let _lost = self.writer.as_ref().map(|writer| held(writer).finish_rollups());
    }
}

/// The lock, also when another thread panicked with it: every change is a transaction, so what
/// it left behind is whole.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A number in `meta`.
fn read_meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    let mut query = connection.prepare_cached("SELECT value FROM meta WHERE key = ?")?;
    query.query_row([key], |row| row.get(0)).optional()
}

impl Store for Embedded {
    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let written = writer.write(batch).map_err(database::failed(&self.options.folder));
        self.counters.calls_joined.store(writer.joining.joined, Ordering::Relaxed);
        self.counters.calls_alone.store(writer.joining.alone, Ordering::Relaxed);
        let count =
            |counter: &AtomicU64, by: usize| counter.fetch_add(by as u64, Ordering::Relaxed);
        match written {
            Ok(()) => {
                count(&self.counters.spans_written, batch.spans.len());
                count(&self.counters.links_written, batch.links.len());
            }
            Err(_) => {
                count(&self.counters.write_errors, 1);
            }
        }
        written
    }

    fn spans(&self, lookups: &[SpanLookup], limit: usize) -> Result<Vec<Arc<Span>>, StoreError> {
        self.read(|reader, counters| reader.spans(lookups, limit, counters))
    }

    fn links(&self, lookups: &[LinkLookup], limit: usize) -> Result<Vec<Link>, StoreError> {
        self.read(|reader, counters| reader.links(lookups, limit, counters))
    }

    fn look_up(
        &self,
        spans: &[SpanLookup],
        links: &[LinkLookup],
        limit: usize,
    ) -> Result<(Vec<Arc<Span>>, Vec<Link>), StoreError> {
        self.read(|reader, counters| {
            let spans = reader.spans(spans, limit, counters)?;
            Ok((spans, reader.links(links, limit, counters)?))
        })
    }

    fn scan(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.read(|reader, counters| reader.scan(filter, after, limit, counters))
    }

    fn gaps(&self, window: Window, limit: usize) -> Result<Vec<Gap>, StoreError> {
        self.read(|reader, _| reader.gaps(window, limit))
    }

    fn operations(
        &self,
        window: Window,
        service: Option<&str>,
    ) -> Result<Vec<Operation>, StoreError> {
        self.read(|reader, counters| reader.operations(window, service, counters))
    }

    fn rollups(
        &self,
        window: Window,
        step: Step,
        service: Option<&str>,
    ) -> Result<Rollups, StoreError> {
        self.read(|reader, counters| {
            let mut damaged = || {
                counters.rollups_damaged.fetch_add(1, Ordering::Relaxed);
            };
            rollups::rollups(reader.connection(), window, step, service, &mut damaged)
        })
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        self.read(|reader, _| reader.stats())
    }

    fn heartbeat(&self, now: WallTime) -> Result<(), StoreError> {
        let written = self.writer()?.heartbeat(now);
        written.map_err(database::failed(&self.options.folder))
    }

    fn last_alive(&self) -> Result<Option<WallTime>, StoreError> {
        let last = self.read(|reader, _| read_meta(reader.connection(), LAST_ALIVE))?;
        Ok(last.map(|bits| WallTime(bits as u64)))
    }

    fn maintain(&self, now: WallTime) -> Result<Maintained, StoreError> {
        let done = self.writer()?.maintain(now, &self.options, &self.counters);
        let done = done.map_err(database::failed(&self.options.folder))?;
        let count = |counter: &AtomicU64, by| counter.fetch_add(by, Ordering::Relaxed);
        count(&self.counters.spans_expired, done.expired);
        count(&self.counters.spans_evicted, done.evicted);
        count(&self.counters.batches_merged, done.merged);
        Ok(done)
    }

    fn remove(&self, removal: Removal<'_>) -> Result<Removed, StoreError> {
        let failed = database::failed(&self.options.folder);
        let mut doomed = self.doomed(removal)?;
        let mut removed = Removed::default();
        for kind in [catalogue::Kind::Spans, catalogue::Kind::Links] {
            let mut behind = 0;
            loop {
                let before = removed.spans;
                // The lock is let go between pieces: others write.
                let counters = &self.counters;
                let piece = self.writer()?.remove_piece(
                    (kind, behind),
                    &mut doomed,
                    &mut removed,
                    counters,
                );
                let count = removed.spans - before;
                self.counters.spans_removed.fetch_add(count, Ordering::Relaxed);
                match piece.map_err(&failed)? {
                    Some(reached) => behind = reached,
                    None => break,
                }
            }
        }
        if let remove::Doomed::Spans { names, .. } = doomed {
            self.forget_names(names)?;
        }
        if let Removal::Before(limit) = removal {
            let mut writer = self.writer()?;
            writer.expire_rollups(limit).map_err(&failed)?;
            removed.gaps = writer.remove_gaps(limit).map_err(&failed)?;
        }
        Ok(removed)
    }

    fn purge(&self) -> Result<(), StoreError> {
        let failed = database::failed(&self.options.folder);
        let _one = held(&self.purging);
        held(&self.reader).forget();
        let mut purge = self.writer()?.begin_purge().map_err(&failed)?;
        let purged = loop {
            let piece = self.writer()?.purge_piece(&mut purge);
            match piece {
                Ok(true) => std::thread::sleep(purge::REST),
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let ended = self.writer()?.end_purge();
        purged.and(ended).map_err(&failed)
    }

    fn backup(&self, folder: &Path, progress: &mut dyn FnMut(f32)) -> Result<(), StoreError> {
        copy::backup(&self.options.folder, folder, progress)
    }

    fn document(&self, name: &str) -> Result<Option<Document>, StoreError> {
        self.read(|reader, _| documents::document(reader.connection(), name))
    }

    fn documents(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.read(|reader, _| documents::documents(reader.connection(), prefix, after, limit))
    }

    fn put_document(
        &self,
        name: &str,
        body: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Option<u64>, StoreError> {
        document::check_size(name, body)?;
        let put = self.writer()?.put_document(name, body, expected);
        put.map_err(database::failed(&self.options.folder))
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let counters = &self.counters;
        let rows = [
            ("store_spans_written_total", &counters.spans_written),
            ("store_links_written_total", &counters.links_written),
            ("store_write_errors_total", &counters.write_errors),
            ("store_spans_expired_total", &counters.spans_expired),
            ("store_spans_evicted_total", &counters.spans_evicted),
            ("store_spans_removed_total", &counters.spans_removed),
            ("store_batches_merged_total", &counters.batches_merged),
            ("store_batches_read_total", &counters.batches_read),
            ("store_batches_cached_total", &counters.batches_cached),
            ("store_batches_damaged_total", &counters.batches_damaged),
            ("store_merge_failures_total", &counters.merge_failures),
            ("store_filters_read_total", &counters.filters_read),
            ("store_index_slices_read_total", &counters.slices_read),
            ("store_rollups_damaged_total", &counters.rollups_damaged),
            ("store_calls_joined_total", &counters.calls_joined),
            ("store_calls_alone_total", &counters.calls_alone),
        ];
        rows.into_iter().for_each(|(name, value)| out(name, value.load(Ordering::Relaxed)));
    }
}
