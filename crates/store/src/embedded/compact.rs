//! Compact: batches that are settled, compressed for long. What is written must be fast, what lies for days
//! must be small. A batch keeps its spans: several in one would be smaller still, but one question then unpacks
//! all of them, which was measured too slow.

use deeptrace_model::{Duration, WallTime};

use super::{
    Counters,
    catalogue::{Entry, Kind},
    encode::BATCH_LEN_MAX,
    maintain::MERGED_TIME_MAX,
    write::Writer,
};
use crate::Maintained;

/// Level of zstd; what higher ones save, 1 in 100, costs twice the time.
const LEVEL: i32 = 9;
/// After its end, a batch waits so long for what comes late and may be merged with it.
const SETTLED: Duration = Duration::from_secs(120);

impl Writer {
    /// Compacts the first batch that is to be, if there is one.
    pub(super) fn compact(
        &mut self,
        kind: Kind,
        now: WallTime,
        done: &mut Maintained,
        counters: &Counters,
    ) -> rusqlite::Result<()> {
        let is_next =
            |entry: &&Entry| is_compactable(entry, now) && !self.unreadable.contains(&entry.id);
        let next = self.catalogue.of(kind).find(is_next).copied();
        match next {
            Some(entry) => self.replace(kind, &[entry], LEVEL, done, counters),
            None => Ok(()),
        }
    }
}

/// Whether it is too large to be merged, or too old to find others, and settled.
fn is_compactable(entry: &Entry, now: WallTime) -> bool {
    let is_full = entry.count > BATCH_LEN_MAX as u64 / 2;
    let waits = if is_full { SETTLED } else { Duration(2 * MERGED_TIME_MAX.0) };
    !entry.is_compacted && entry.max_end < now.minus(waits)
}
