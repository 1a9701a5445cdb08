//! Index: the filters of many batches, cut into slices, so that a key is looked for in all of them by reading
//! one row. Without it a question for an id, of which no time is known, reads the filter of every batch.

use std::sync::{Arc, atomic::Ordering};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    Counters,
    cache::Cache,
    catalogue::{Catalogue, Entry, Kind, of_number},
    column, database,
    filter::Filter,
    pace::Pace,
    slice::{Cutting, RANGE_BITS, RANGES, Slice, Slices, is_cuttable, range_of},
    write::{self, Writer},
};
use crate::{Maintained, Window};

/// Tables of indices.
pub(super) const TABLES: &str = "
    -- Filters of several compacted batches, whose numbers are in `batches`.
    CREATE TABLE key_index (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, batches BLOB NOT NULL
    );
    -- Their slices: number of the index, shifted by 11 bits, and of the range.
    CREATE TABLE key_slice (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
";

/// The filter of a batch that is in no index.
const FILTER: &str = "SELECT data FROM filter WHERE id = ?";
/// Batches of one index.
const BATCHES: usize = 64;
/// Who asks for keys of more ranges than these reads all slices of an index at once: in a row they are read
/// four times as fast.
const RANGES_ONE_BY_ONE: usize = RANGES / 8;

/// One index.
pub(super) struct Index {
    id: i64,
    kind: Kind,
    /// Their numbers, in the order of the slices.
    batches: Vec<i64>,
    /// From the first start to the last end of those that are still there; `None` where none is.
    window: Option<Window>,
}

impl Index {
    /// Numbers of its batches, also of those that are gone.
    pub(super) fn batches(&self) -> &[i64] {
        &self.batches
    }

    /// Learns which of its batches are still there.
    pub(super) fn meet(&mut self, entries: &[Entry]) {
        let there = self.batches.iter().filter_map(|id| of_number(entries, *id));
        let windows = there.map(|entry| Window { from: entry.min_start, to: entry.max_end });
        self.window = windows.reduce(Window::union);
    }

    /// Number of the first row of its slices.
    fn first_slice(&self) -> i64 {
        self.id << RANGE_BITS
    }
}

/// What tells whether indices have come or gone: how many there are, and the highest number.
pub(super) fn known(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    if !database::has_table(connection, "key_index")? {
        return Ok((0, 0));
    }
    let sql = "SELECT count(*), coalesce(max(id), 0) FROM key_index";
    connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// All indices.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Index>> {
    if !database::has_table(connection, "key_index")? {
        return Ok(Vec::new());
    }
    let mut query = connection.prepare_cached("SELECT id, kind, batches FROM key_index")?;
    let rows = query.query_map([], |row| {
        let kind = if row.get::<_, i64>(1)? == 0 { Kind::Spans } else { Kind::Links };
        let batches = read_numbers(&row.get::<_, Vec<u8>>(2)?);
        Ok(Index { id: row.get(0)?, kind, batches, window: None })
    })?;
    rows.collect()
}

/// Whether a batch with this filter can be in an index.
pub(super) fn is_indexable(filter: &[u8]) -> bool {
    Filter::from_bytes(filter.to_vec()).is_some_and(|filter| is_cuttable(&filter))
}

/// Numbers of batches as they are stored: differences, by [`column`].
fn write_numbers(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let numbers = entries.iter().map(|entry| entry.id as u64);
    column::write(column::Layout::Delta, numbers, &mut bytes);
    bytes
}

/// What is damaged ends the list: the batches behind it have no filter, and are asked themselves.
fn read_numbers(mut bytes: &[u8]) -> Vec<i64> {
    let (mut numbers, mut last) = (Vec::new(), 0_u64);
    while !bytes.is_empty() {
        let read = column::read(column::Layout::Delta, 1, &mut bytes, |_, step| {
            last = last.wrapping_add(step);
            numbers.push(last as i64);
        });
        if read.is_none() {
            break;
        }
    }
    numbers
}

/// A batch that may hold an answer, with the places of what was asked of it.
pub(super) type Candidate = (Entry, Vec<usize>);

/// Which batches may hold a key: their filters and the slices of indices, as far as they are remembered.
pub(super) struct Keys {
    filters: Cache<Filter>,
    slices: Cache<Slice>,
    /// All slices of an index, by its number.
    whole: Cache<Slices>,
}

impl Keys {
    /// Remembers at most so many bytes of filters, of single slices and of indices that were read whole.
    pub(super) fn new(filters: usize, slices: usize, whole: usize) -> Self {
        Self { filters: Cache::new(filters), slices: Cache::new(slices), whole: Cache::new(whole) }
    }

    /// Remembers nothing any more.
    pub(super) fn clear(&mut self) {
        self.filters.clear();
        self.slices.clear();
        self.whole.clear();
    }

    /// Of the batches of a kind with numbers in `range`, those that may hold some of the hashes of keys in the
    /// windows beside them; by number. One whose filter cannot be read may hold all.
    pub(super) fn candidates(
        &mut self,
        connection: &Connection,
        catalogue: &Catalogue,
        (kind, above, to): (Kind, i64, i64),
        asked: &[(u64, Window)],
        counters: &Counters,
    ) -> rusqlite::Result<Vec<Candidate>> {
        let Some(all) = asked.iter().map(|(_, window)| *window).reduce(Window::union) else {
            return Ok(Vec::new());
        };
        let is_asked = |entry: &&Entry| entry.id > above && entry.id <= to && entry.overlaps(all);
        let mut candidates = Vec::new();
        for entry in catalogue.of(kind).filter(is_asked).filter(|entry| !entry.is_indexed) {
            let filter = self.filter(connection, entry.id, counters)?;
            let may_answer = |(hash, window): &(u64, Window)| {
                entry.overlaps(*window) && filter.as_ref().is_none_or(|it| it.may_hold(*hash))
            };
            let hits: Vec<usize> =
                (0..asked.len()).filter(|place| may_answer(&asked[*place])).collect();
            if !hits.is_empty() {
                candidates.push((*entry, hits));
            }
        }
        for index in catalogue.indices().iter().filter(|index| index.kind == kind) {
            let Some(window) = index.window else { continue };
            if !all.overlaps(window.from, window.to) {
                continue;
            }
            let entries = index.batches.iter().map(|id| catalogue.entry(*id).filter(is_asked));
            let entries: Vec<Option<&Entry>> = entries.collect();
            if entries.iter().any(Option::is_some) {
                let found = self.holders(connection, index, &entries, asked, counters)?;
                candidates.extend(found);
            }
        }
        candidates.sort_unstable_by_key(|(entry, _)| entry.id);
        Ok(candidates)
    }

    /// Of the batches of an index, those that may hold an answer.
    fn holders(
        &mut self,
        connection: &Connection,
        index: &Index,
        entries: &[Option<&Entry>],
        asked: &[(u64, Window)],
        counters: &Counters,
    ) -> rusqlite::Result<Vec<Candidate>> {
        let overlaps =
            |window: Window| index.window.is_some_and(|it| window.overlaps(it.from, it.to));
        let mut hits: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
        // By hash, so that a slice is read once for all keys of its range.
        let mut places: Vec<usize> =
            (0..asked.len()).filter(|place| overlaps(asked[*place].1)).collect();
        places.sort_unstable_by_key(|place| asked[*place].0);
        let ranges =
            places.chunk_by(|one, other| range_of(asked[*one].0) == range_of(asked[*other].0));
        let whole = self.whole(connection, index, ranges.count(), counters)?;
        for place in places {
            let (hash, window) = &asked[place];
            let slice = match whole {
                Some(_) => None,
                None => {
                    let number = index.first_slice() + range_of(*hash) as i64;
                    self.slice(connection, number, counters)?
                }
            };
            let mut hit = |at: usize| {
                if entries.get(at).is_some_and(|it| it.is_some_and(|it| it.overlaps(*window))) {
                    hits[at].push(place);
                }
            };
            let told = match &whole {
                Some(whole) => whole.each_holder(*hash, &mut hit),
                None => slice.as_ref().and_then(|it| it.each_holder(*hash, &mut hit)),
            };
            if told.is_none() {
                // Some may have been told already, which is harmless.
                (0..entries.len()).for_each(&mut hit);
            }
        }
        let found = entries.iter().zip(hits).filter(|(_, hits)| !hits.is_empty());
        Ok(found.filter_map(|(entry, hits)| Some((*(*entry)?, hits))).collect())
    }

    fn filter(
        &mut self,
        connection: &Connection,
        batch: i64,
        counters: &Counters,
    ) -> rusqlite::Result<Option<Arc<Filter>>> {
        if let Some(filter) = self.filters.get(batch) {
            return Ok(Some(filter));
        }
        counters.filters_read.fetch_add(1, Ordering::Relaxed);
        let bytes = read(connection, FILTER, batch)?;
        let filter = bytes.and_then(Filter::from_bytes).map(Arc::new);
        Ok(filter.inspect(|it| self.filters.put(batch, it, it.weight())))
    }

    /// All slices of an index, if they are remembered or so many ranges are asked for that they are worth it.
    fn whole(
        &mut self,
        connection: &Connection,
        index: &Index,
        ranges: usize,
        counters: &Counters,
    ) -> rusqlite::Result<Option<Arc<Slices>>> {
        if let Some(whole) = self.whole.get(index.id) {
            return Ok(Some(whole));
        }
        if ranges <= RANGES_ONE_BY_ONE {
            return Ok(None);
        }
        let first = index.first_slice();
        let sql = "SELECT id, data FROM key_slice WHERE id BETWEEN ? AND ? ORDER BY id";
        let mut query = connection.prepare_cached(sql)?;
        let mut rows = query.query([first, first + RANGES as i64 - 1])?;
        let (mut whole, mut read) = (Slices::default(), 0);
        while let Some(row) = rows.next()? {
            let range = row.get::<_, i64>(0)? - first;
            read += 1;
            // What is no blob is as good as not there.
            let Ok(slice) = row.get_ref(1)?.as_blob() else { continue };
            if whole.push(range as usize, slice).is_none() {
                return Ok(None);
            }
        }
        counters.slices_read.fetch_add(read, Ordering::Relaxed);
        let whole = Arc::new(whole);
        self.whole.put(index.id, &whole, whole.weight());
        Ok(Some(whole))
    }

    fn slice(
        &mut self,
        connection: &Connection,
        number: i64,
        counters: &Counters,
    ) -> rusqlite::Result<Option<Arc<Slice>>> {
        if let Some(slice) = self.slices.get(number) {
            return Ok(Some(slice));
        }
        counters.slices_read.fetch_add(1, Ordering::Relaxed);
        let bytes = read(connection, "SELECT data FROM key_slice WHERE id = ?", number)?;
        let slice = bytes.map(|bytes| Arc::new(Slice::new(bytes)));
        Ok(slice.inspect(|it| self.slices.put(number, it, it.weight())))
    }
}

fn read(connection: &Connection, sql: &str, id: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()
}

impl Writer {
    /// Makes an index of compacted batches once there are enough of them, and removes one whose batches are gone.
    pub(super) fn index(&mut self, kind: Kind, done: &mut Maintained) -> rusqlite::Result<()> {
        let is_free = |entry: &&Entry| {
            entry.is_indexable && !entry.is_indexed && !self.unreadable.contains(&entry.id)
        };
        let mut entries: Vec<Entry> = self.catalogue.of(kind).filter(is_free).copied().collect();
        if entries.len() < BATCHES {
            return Ok(());
        }
        entries.sort_by_key(|entry| (entry.min_start, entry.id));
        entries.truncate(BATCHES);
        let mut filters = Vec::with_capacity(BATCHES);
        for entry in &entries {
            let bytes = read(&self.connection, FILTER, entry.id)?;
            // One that cannot be read is left out: its batch is asked itself.
            match bytes.and_then(Filter::from_bytes).filter(is_cuttable) {
                Some(filter) => filters.push((*entry, filter)),
                None => _ = self.unreadable.insert(entry.id),
            }
        }
        let (entries, filters): (Vec<Entry>, Vec<Filter>) = filters.into_iter().unzip();
        let mut pace = self.pace();
        let slices = cut(&filters, &mut pace);
        let transaction = write::begin(&mut self.connection)?;
        insert(&transaction, kind, &entries, &slices)?;
        transaction.commit()?;
        done.more = true;
        self.refresh()
    }

    /// Removes the indices of which no batch is left.
    pub(super) fn remove_indices(&mut self) -> rusqlite::Result<()> {
        let is_empty = |index: &&Index| index.window.is_none();
        let empty = self.catalogue.indices().iter().filter(is_empty);
        let empty: Vec<i64> = empty.map(|index| index.id).collect();
        if empty.is_empty() {
            return Ok(());
        }
        let transaction = write::begin(&mut self.connection)?;
        for id in empty {
            let first = id << RANGE_BITS;
            let sql = "DELETE FROM key_slice WHERE id BETWEEN ? AND ?";
            let last = first + RANGES as i64 - 1;
            transaction.prepare_cached(sql)?.execute([first, last])?;
            transaction.prepare_cached("DELETE FROM key_index WHERE id = ?")?.execute([id])?;
        }
        transaction.commit()?;
        self.refresh()
    }
}

/// The slices of filters that can be cut.
fn cut(filters: &[Filter], pace: &mut Pace) -> Vec<Vec<u8>> {
    let mut cuttings: Vec<Cutting<'_>> = filters.iter().map(Cutting::new).collect();
    (0..RANGES)
        .map(|_| {
            let mut slice = Vec::new();
            cuttings.iter_mut().for_each(|cutting| cutting.next(&mut slice));
            pace.step();
            slice
        })
        .collect()
}

/// Inserts an index in place of the filters of its batches.
fn insert(
    transaction: &Transaction<'_>,
    kind: Kind,
    entries: &[Entry],
    slices: &[Vec<u8>],
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO key_index (kind, batches) VALUES (?, ?)";
    transaction.prepare_cached(sql)?.execute(params![kind as i64, write_numbers(entries)])?;
    let first = transaction.last_insert_rowid() << RANGE_BITS;
    let sql = "INSERT INTO key_slice (id, data) VALUES (?, ?)";
    let mut query = transaction.prepare_cached(sql)?;
    for (number, slice) in (first..).zip(slices) {
        query.execute(params![number, slice])?;
    }
    let mut query = transaction.prepare_cached("DELETE FROM filter WHERE id = ?")?;
    entries.iter().try_for_each(|entry| query.execute([entry.id]).map(drop))
}
