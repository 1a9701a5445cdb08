//! Compact: batches that are settled, compressed for long. What is written must be fast, what lies for days
//! must be small. A batch keeps its spans, as they are: several in one would be smaller still, but one question then
//! unpacks all of them, which was measured too slow.

use std::sync::atomic::Ordering;

use deeptrace_model::{Duration, WallTime};
use rusqlite::OptionalExtension;

use super::{
    Counters,
    catalogue::Entry,
    encode::{self, BATCH_LEN_MAX, Packer, Row},
    index,
    maintain::MERGED_TIME_MAX,
    write::{self, Writer},
};
use crate::Maintained;

/// Level of zstd; what higher ones save, 1 in 100, costs twice the time.
const LEVEL: i32 = 9;
/// After its end, a batch waits so long for what comes late and may be merged with it.
const SETTLED: Duration = Duration::from_secs(120);

impl Writer {
    /// Compacts the first batch that is to be, of either kind, if there is one.
    pub(super) fn compact(
        &mut self,
        now: WallTime,
        done: &mut Maintained,
        counters: &Counters,
    ) -> rusqlite::Result<()> {
        let is_next =
            |entry: &&Entry| is_compactable(entry, now) && !self.unreadable.contains(&entry.id);
        let next = self.catalogue.entries().iter().find(is_next).copied();
        let Some(entry) = next else { return Ok(()) };
        match self.compacted(&entry)? {
            Some(row) => self.replace(&[entry], &[row], done),
            None => {
                self.unreadable.insert(entry.id);
                counters.merge_failures.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// The batch, compressed for long; `None` if it cannot be read.
    fn compacted(&mut self, entry: &Entry) -> rusqlite::Result<Option<Row>> {
        let sql = "SELECT operations, filter.data, body.data FROM batch
                   JOIN filter USING (id) JOIN body USING (id) WHERE id = ?";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let read = self.connection.prepare_cached(sql)?.query_row([entry.id], read).optional()?;
        let Some((operations, filter, body)): Option<(Vec<u8>, Vec<u8>, Vec<u8>)> = read else {
            return Ok(None);
        };
        let mut packer = Packer::new(LEVEL).map_err(|error| write::unfit(error.to_string()))?;
        let mut pace = self.pace();
        let body = encode::pack_anew(&body, &mut packer, &mut self.decompressor, &mut pace);
        let is_indexable = index::is_indexable(&filter);
        let entry = Entry { is_compacted: true, is_indexable, ..*entry };
        Ok(body.ok().map(|body| Row { entry, operations, filter, body }))
    }
}

/// Whether it is too large to be merged, or too old to find others, and settled.
fn is_compactable(entry: &Entry, now: WallTime) -> bool {
    let is_full = entry.count > BATCH_LEN_MAX as u64 / 2;
    let waits = if is_full { SETTLED } else { Duration(2 * MERGED_TIME_MAX.0) };
    !entry.is_compacted && entry.max_end < now.minus(waits)
}
