//! Remove: spans and links out of the batches that hold them, in pieces between which others write.
//!
//! A batch that holds some of what goes is written anew without it, in the transaction that removes it.
//! Going by rising batch numbers meets each batch once: what is written meanwhile gets higher ones.

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::{Duration, Link, Span, SpanId, Text, WallTime};

use super::{
    Counters,
    catalogue::{Entry, Kind},
    database,
    encode::{self, Row},
    filter::{link_hash, span_hash},
    index::Keys,
    maintain, write,
    write::Writer,
};
use crate::{LinkKey, Removed, SpanKey, SpanLookup, Window};

/// Batches of one piece that go as a whole, at most: some ten milliseconds.
const PIECE_GOES: usize = 64;
/// Batches of one piece that are read, and written anew without what goes, at most: the same.
const PIECE_READ: usize = 2;
/// Batches of one piece whose filters are asked, at most.
const PIECE_ASKED: usize = 512;

/// Bytes of slices that one piece remembers: those of the last keys, which are asked in order.
const SLICES_BYTES: usize = 1 << 20;
/// A span that was written twice may have times that differ so much.
const SLACK: Duration = Duration::from_secs(1);

/// What goes.
pub(super) enum Doomed {
    /// These spans, and links from and to them.
    Spans {
        /// Those that are there, with the time of each.
        ids: BTreeMap<SpanId, Window>,
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
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Stays,
    Goes,
    /// Has to be read.
    Perhaps,
}

impl Doomed {
    /// Spans of `lookups`, of which `found` are there.
    pub(super) fn spans(lookups: &[SpanLookup], found: BTreeMap<SpanId, Window>) -> Self {
        let keys = lookups.iter().map(|it| (span_hash(&it.key), it.window));
        let ids = found.iter().map(|(id, window)| (span_hash(&SpanKey::Id(*id)), *window));
        Self::Spans { asked: keys.chain(ids).collect(), ids: found, names: BTreeSet::new() }
    }

    /// When a span of that time may have been in any of its records.
    pub(super) fn window(span: &Span) -> Window {
        Window::around(span, SLACK)
    }

    /// Hashes of keys, with their windows, that decide on batches of a kind.
    fn asked(&self, kind: Kind) -> Vec<(u64, Window)> {
        let always = |key: LinkKey| (link_hash(&key), Window::ALL);
        match (self, kind) {
            (Self::Spans { asked, .. }, Kind::Spans) => asked.clone(),
            (Self::Spans { ids, .. }, Kind::Links) => {
                let keys = ids.keys().flat_map(|id| [LinkKey::Child(*id), LinkKey::Parent(*id)]);
                keys.map(always).collect()
            }
            (Self::Before { .. }, Kind::Spans) => Vec::new(),
            (Self::Before { staying, .. }, Kind::Links) => {
                staying.iter().map(|id| always(LinkKey::Child(*id))).collect()
            }
        }
    }

    /// `may_hold`: whether it may hold something of what was asked.
    fn verdict(&self, entry: &Entry, may_hold: bool) -> Verdict {
        match (self, entry.kind) {
            (Self::Spans { .. }, _) if may_hold => Verdict::Perhaps,
            (Self::Spans { .. }, _) => Verdict::Stays,
            (Self::Before { limit, .. }, _) if entry.min_start >= *limit => Verdict::Stays,
            (Self::Before { limit, .. }, Kind::Spans) if entry.max_end < *limit => Verdict::Goes,
            (Self::Before { .. }, Kind::Spans) => Verdict::Perhaps,
            (Self::Before { limit, .. }, Kind::Links) => {
                match !may_hold && entry.max_start < *limit {
                    true => Verdict::Goes,
                    false => Verdict::Perhaps,
                }
            }
        }
    }

    fn has_span(&mut self, span: &Span) -> bool {
        match self {
            Self::Spans { ids, names, .. } => {
                let is_it = ids.contains_key(&span.id);
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
                ids.contains_key(&link.child) || link.parent.is_some_and(|it| ids.contains_key(&it))
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

impl Writer {
    /// Removes what goes out of some batches of a kind with numbers above `behind`, and counts it.
    /// Returns the number that it came to; `None` at the end.
    pub(super) fn remove_piece(
        &mut self,
        (kind, behind): (Kind, i64),
        doomed: &mut Doomed,
        removed: &mut Removed,
        counters: &Counters,
    ) -> rusqlite::Result<Option<i64>> {
        self.refresh()?;
        let next = |entry: &&Entry| entry.id > behind;
        let entries: Vec<Entry> =
            self.catalogue.of(kind).filter(next).take(PIECE_ASKED).copied().collect();
        let Some(last) = entries.last() else { return Ok(None) };
        let candidates = Keys::new(0, SLICES_BYTES, 0).candidates(
            &self.connection,
            &self.catalogue,
            (kind, behind, last.id),
            &doomed.asked(kind),
            counters,
        )?;
        let holders: BTreeSet<i64> = candidates.iter().map(|(entry, _)| entry.id).collect();
        let (mut gone, mut rows, mut reached) = (Vec::new(), Vec::new(), None);
        let mut count = Removed::default();
        let (mut goes, mut read) = (0, 0);
        for entry in entries {
            if goes == PIECE_GOES || read == PIECE_READ {
                break;
            }
            reached = Some(entry.id);
            let verdict = doomed.verdict(&entry, holders.contains(&entry.id));
            match verdict {
                Verdict::Stays => continue,
                Verdict::Goes => goes += 1,
                Verdict::Perhaps => read += 1,
            }
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
                let block = encode::read_spans(&body, &mut self.decompressor).ok();
                let Some(all) = block.and_then(|block| block.spans()) else {
                    return Ok(unreadable(count));
                };
                let left: Vec<&Span> = all.iter().filter(|span| !doomed.has_span(span)).collect();
                if left.len() == all.len() {
                    return Ok(None);
                }
                let mut pace = self.pace();
                self.encode(&left, &mut pace).map_err(write::unfit).map(Some)
            }
            Kind::Links => {
                let links = encode::read_links(&body, &mut self.decompressor).ok();
                let Some(links) = links.and_then(|links| links.all()) else {
                    return Ok(unreadable(count));
                };
                let left: Vec<&Link> = links.iter().filter(|it| !doomed.has_link(it)).collect();
                if left.len() == links.len() {
                    return Ok(None);
                }
                let mut pace = self.pace();
                self.encode_links(&left, &mut pace).map_err(write::unfit).map(Some)
            }
        }
    }

    /// Removes gaps that ended before `limit`.
    pub(super) fn remove_gaps(&mut self, limit: WallTime) -> rusqlite::Result<u64> {
        let sql = "DELETE FROM gap WHERE until < ?";
        let count = self.connection.prepare_cached(sql)?.execute([database::moment(limit)])?;
        Ok(count as u64)
    }
}
