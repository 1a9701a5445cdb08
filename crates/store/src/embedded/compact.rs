//! Compact: full batches that are settled, several in one and compressed for long. What is written must be
//! fast, what lies for days must be small.

use deeptrace_model::{Duration, WallTime};

use super::{
    Counters,
    catalogue::{Entry, Kind},
    encode::BATCH_LEN_MAX,
    maintain::MERGED_TIME_MAX,
    write::{Target, Writer},
};
use crate::Maintained;

/// Spans or links of a compacted batch: more compress better, fewer are found faster.
const COMPACTED_LEN_MAX: usize = 4 * BATCH_LEN_MAX;
/// Level of zstd; what higher ones save, 1 in 100, costs twice the time.
const LEVEL: i32 = 9;
/// After its end, a batch waits so long for what comes late.
const SETTLED: Duration = Duration::from_secs(120);

impl Writer {
    /// Compacts one group of full batches, if there is one.
    pub(super) fn compact(
        &mut self,
        kind: Kind,
        now: WallTime,
        done: &mut Maintained,
        counters: &Counters,
    ) -> rusqlite::Result<()> {
        let entries: Vec<Entry> = self.catalogue.of(kind).copied().collect();
        let settled = now.minus(SETTLED);
        let Some(group) = compactable(&entries, settled, |id| self.unreadable.contains(&id)) else {
            return Ok(());
        };
        self.replace(
            kind,
            &group,
            Target { len_max: COMPACTED_LEN_MAX, level: LEVEL },
            done,
            counters,
        )
    }
}

/// The earliest neighbours in time that make a compacted batch, or all that are left of a time to which
/// nothing is added any more.
fn compactable(
    entries: &[Entry],
    settled: WallTime,
    is_unreadable: impl Fn(i64) -> bool,
) -> Option<Vec<Entry>> {
    let (full, most) = (BATCH_LEN_MAX as u64, COMPACTED_LEN_MAX as u64);
    let is_full = |entry: &&Entry| entry.count > full / 2 && entry.count <= full;
    let is_settled = |entry: &&Entry| entry.max_end < settled && !is_unreadable(entry.id);
    let mut full: Vec<Entry> = entries.iter().filter(is_full).filter(is_settled).copied().collect();
    full.sort_by_key(|entry| (entry.min_start, entry.id));
    let mut rest = full.as_slice();
    while let Some(first) = rest.first() {
        let mut count = 0;
        let mut fits = |entry: &&Entry| {
            count += entry.count;
            count <= most && entry.max_start.since(first.min_start) <= MERGED_TIME_MAX
        };
        let len = rest.iter().take_while(|entry| fits(entry)).count().max(1);
        let (group, after) = rest.split_at(len);
        let is_complete = !after.is_empty() || first.min_start.plus(MERGED_TIME_MAX) < settled;
        if len > 1 && is_complete {
            return Some(group.to_vec());
        }
        rest = after;
    }
    None
}
