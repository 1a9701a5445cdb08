//! Remove: spans and links out of the batches that hold them, in pieces between which others write.
//!
//! A batch that holds some of what goes is written anew without it, in the transaction that removes it.
//! Going by rising batch numbers meets each batch once: what is written meanwhile gets higher ones.

use std::{collections::BTreeSet, path::Path};

use deeptrace_model::{Link, Span, SpanId, Text, WallTime};
use rusqlite::OptionalExtension;

use super::{
    catalogue::{Entry, Kind},
    database,
    encode::{self, Row, WRITTEN_LEVEL},
    filter::{Filter, link_hash, span_hash},
    maintain, write,
    write::Writer,
};
use crate::{LinkKey, Removed, SpanKey, SpanLookup, Window};

/// Batches of one piece that are read or removed, at most: some ten milliseconds.
const PIECE_LEN: usize = 16;
/// Batches of one piece whose filters are asked, at most.
const PIECE_ASKED: usize = 512;

/// What goes.
pub(super) enum Doomed {
    /// These spans, and links from and to them.
    Spans {
        /// Those that are there.
        ids: BTreeSet<SpanId>,
        /// Keys under which they were looked up, for batches that cannot be read.
        asked: Vec<(u64, Window)>,
        /// Services and names of those that are gone.
        names: BTreeSet<(Text, Text)>,
    },
    /// Spans that ended before it, and links of children that are not there any more.
    Before {
        limit: WallTime,
        /// Spans that started before it and are still there: found while spans are removed.
        staying: BTreeSet<SpanId>,
    },
}

/// What is done with one batch.
enum Verdict {
    Stays,
    Goes,
    /// Has to be read.
    Perhaps,
}

impl Doomed {
    /// Spans of `lookups`, of which `found` are there.
    pub(super) fn spans(lookups: &[SpanLookup], found: BTreeSet<SpanId>) -> Self {
        let keys = lookups.iter().map(|it| (span_hash(&it.key), it.window));
        let ids = found.iter().map(|id| (span_hash(&SpanKey::Id(*id)), Window::ALL));
        Self::Spans { asked: keys.chain(ids).collect(), ids: found, names: BTreeSet::new() }
    }

    fn verdict(&self, entry: &Entry, filter: impl FnOnce() -> Filter) -> Verdict {
        match (self, entry.kind) {
            (Self::Spans { asked, .. }, Kind::Spans) => {
                let in_time: Vec<u64> = (asked.iter())
                    .filter(|(_, window)| entry.overlaps(*window))
                    .map(|(hash, _)| *hash)
                    .collect();
                perhaps(&in_time, filter)
            }
            (Self::Spans { ids, .. }, Kind::Links) => {
                let keys = ids.iter().flat_map(|id| [LinkKey::Child(*id), LinkKey::Parent(*id)]);
                perhaps(&keys.map(|key| link_hash(&key)).collect::<Vec<_>>(), filter)
            }
            (Self::Before { limit, .. }, _) if entry.min_start >= *limit => Verdict::Stays,
            (Self::Before { limit, .. }, Kind::Spans) if entry.max_end < *limit => Verdict::Goes,
            (Self::Before { .. }, Kind::Spans) => Verdict::Perhaps,
            (Self::Before { limit, staying }, Kind::Links) => {
                let keys = staying.iter().map(|id| link_hash(&LinkKey::Child(*id)));
                match perhaps(&keys.collect::<Vec<_>>(), filter) {
                    Verdict::Stays if entry.max_start < *limit => Verdict::Goes,
                    _ => Verdict::Perhaps,
                }
            }
        }
    }

    fn has_span(&mut self, span: &Span) -> bool {
        match self {
            Self::Spans { ids, names, .. } => {
                let is_it = ids.contains(&span.id);
                if is_it {
                    names.insert((span.service.clone(), span.name.clone()));
                }
                is_it
            }
            Self::Before { limit, .. } if span.end < *limit => true,
            Self::Before { limit, staying } => {
                if span.start < *limit {
                    staying.insert(span.id);
                }
                false
            }
        }
    }

    fn has_link(&self, link: &Link) -> bool {
        match self {
            Self::Spans { ids, .. } => {
                ids.contains(&link.child) || link.parent.is_some_and(|it| ids.contains(&it))
            }
            Self::Before { limit, staying } => {
                link.child_start < *limit && !staying.contains(&link.child)
            }
        }
    }

    /// Whether a batch that cannot be read goes as a whole.
    fn takes_unreadable(&self) -> bool {
        matches!(self, Self::Spans { .. })
    }
}

fn perhaps(hashes: &[u64], filter: impl FnOnce() -> Filter) -> Verdict {
    if hashes.is_empty() {
        return Verdict::Stays;
    }
    let filter = filter();
    match hashes.iter().any(|hash| filter.may_hold(*hash)) {
        true => Verdict::Perhaps,
        false => Verdict::Stays,
    }
}

impl Writer {
    /// Removes what goes out of some batches of a kind with numbers above `behind`, and counts it.
    /// Returns the number that it came to; `None` at the end.
    pub(super) fn remove_piece(
        &mut self,
        kind: Kind,
        behind: i64,
        doomed: &mut Doomed,
        removed: &mut Removed,
    ) -> rusqlite::Result<Option<i64>> {
        self.refresh()?;
        let next = |entry: &&Entry| entry.id > behind;
        let entries: Vec<Entry> =
            self.catalogue.of(kind).filter(next).take(PIECE_ASKED).copied().collect();
        let (mut gone, mut rows, mut reached) = (Vec::new(), Vec::new(), None);
        let mut count = Removed::default();
        let mut looked_at = 0;
        for entry in entries {
            if looked_at == PIECE_LEN {
                break;
            }
            reached = Some(entry.id);
            let filter = self.filter(entry.id)?;
            let is_readable = filter.is_some();
            let all = || filter.unwrap_or_default();
            let verdict = match doomed.verdict(&entry, all) {
                Verdict::Stays if !is_readable && doomed.takes_unreadable() => Verdict::Perhaps,
                verdict => verdict,
            };
            if matches!(verdict, Verdict::Stays) {
                continue;
            }
            looked_at += 1;
            let before = entry.count;
            let left = match verdict {
                Verdict::Goes => Some(Vec::new()),
                _ => self.without(&entry, doomed, &mut count)?,
            };
            let Some(left) = left else { continue };
            let now: u64 = left.iter().map(|row: &Row| row.entry.count).sum();
            match kind {
                Kind::Spans => count.spans += before.saturating_sub(now),
                Kind::Links => count.links += before.saturating_sub(now),
            }
            gone.push(entry);
            rows.extend(left);
        }
        if !gone.is_empty() {
            let transaction = write::begin(&mut self.connection)?;
            maintain::delete(&transaction, &gone)?;
            rows.iter().try_for_each(|row| write::insert(&transaction, row))?;
            transaction.commit()?;
            gone.iter().for_each(|entry| {
                self.unreadable.remove(&entry.id);
            });
        }
        removed.add(count);
        Ok(reached)
    }

    /// A batch without what goes; `None` if nothing does.
    fn without(
        &mut self,
        entry: &Entry,
        doomed: &mut Doomed,
        count: &mut Removed,
    ) -> rusqlite::Result<Option<Vec<Row>>> {
        let body = self.body(entry.id)?;
        let unreadable = |count: &mut Removed| {
            let goes = doomed.takes_unreadable();
            count.unreadable += if goes { entry.count } else { 0 };
            goes.then(Vec::new)
        };
        match entry.kind {
            Kind::Spans => {
                let Ok(block) = encode::read_spans(&body, &mut self.decompressor) else {
                    return Ok(unreadable(count));
                };
                let all = (0..block.len()).map(|index| block.span(index));
                let left: Vec<Span> = all.filter(|span| !doomed.has_span(span)).collect();
                if left.len() == block.len() {
                    return Ok(None);
                }
                let left: Vec<&Span> = left.iter().collect();
                let mut pace = self.pace();
                self.encode(&left, WRITTEN_LEVEL, &mut pace).map_err(write::unfit).map(Some)
            }
            Kind::Links => {
                let Ok(links) = encode::read_links(&body, &mut self.decompressor) else {
                    return Ok(unreadable(count));
                };
                let left: Vec<&Link> = links.iter().filter(|it| !doomed.has_link(it)).collect();
                if left.len() == links.len() {
                    return Ok(None);
                }
                let mut pace = self.pace();
                self.encode_links(&left, WRITTEN_LEVEL, &mut pace).map_err(write::unfit).map(Some)
            }
        }
    }

    /// The filter of a batch; `None` if it cannot be read.
    fn filter(&self, id: i64) -> rusqlite::Result<Option<Filter>> {
        let mut query = self.connection.prepare_cached("SELECT data FROM filter WHERE id = ?")?;
        let data: Option<Vec<u8>> = query.query_row([id], |row| row.get(0)).optional()?;
        Ok(data.and_then(Filter::from_bytes))
    }

    /// Removes gaps that ended before `limit`.
    pub(super) fn remove_gaps(&mut self, limit: WallTime) -> rusqlite::Result<u64> {
        let sql = "DELETE FROM gap WHERE until < ?";
        let count = self.connection.prepare_cached(sql)?.execute([database::moment(limit)])?;
        Ok(count as u64)
    }

    /// Writes the whole database anew and empties its log, so that nothing is left of what was removed.
    /// What SQLite writes meanwhile lies in `folder`, deleted before it is written to.
    pub(super) fn purge(&mut self, folder: &Path) -> rusqlite::Result<()> {
        let folder = folder.to_string_lossy();
        self.connection.pragma_update(None, "temp_store_directory", &*folder)?;
        self.connection.execute_batch("VACUUM")?;
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy = self.connection.query_row(sql, [], |row| row.get::<_, i64>(0))? != 0;
        if is_busy {
            // Somebody reads from the log: as when it is waited for in vain.
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            let said = "somebody has been reading for ten seconds";
            return Err(rusqlite::Error::SqliteFailure(code, Some(said.to_owned())));
        }
        Ok(())
    }
}
