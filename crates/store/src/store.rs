//! Store: the contract of all backends.

use std::{path::Path, sync::Arc};

use deeptrace_model::{Gap, Link, Span, WallTime};

use crate::{
    Batch, Cursor, Document, Expected, Filter, Health, LinkLookup, Maintained, Operation, Page,
    Removal, Removed, Rollups, SpanLookup, Stats, Step, StoreError, Window,
};

/// Spans, links and gaps at rest.
///
/// Any number of threads may call it at once. A store reads no clock: what depends on the time
/// of day is given it. Spans and links are immutable; a span that is written twice is in every
/// answer once. An answer MUST NOT depend on how the spans were spread over batches, nor on
/// merging, caching or opening again.
pub trait Store: Send + Sync {
    /// Writes all of `batch` or nothing. When it returns `Ok`, the batch MUST survive the end of
    /// the process at any moment, and every lookup that begins afterwards MUST find it. After an
    /// error nothing of it may be found, but where other servers keep it that know no transactions:
    /// there a part may be, and writing it again MUST be harmless. The store MUST stay usable. MUST
    /// NOT panic on a full disk; `StoreError::Full` then.
    fn write(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Spans of any of the lookups, each once, by start and then id; at most `limit`, the
    /// earliest first kept. MUST return every span that was acknowledged, has the key and
    /// overlaps the window; MUST NOT return any other.
    fn spans(&self, lookups: &[SpanLookup], limit: usize) -> Result<Vec<Arc<Span>>, StoreError>;

    /// Links of any of the lookups, equal ones once, by child start, child, parent and
    /// generation; at most `limit`. MUST return all decisions for a child, not only the best.
    fn links(&self, lookups: &[LinkLookup], limit: usize) -> Result<Vec<Link>, StoreError>;

    /// Spans that pass `filter`, newest first, at most `limit`, beginning behind `after`. Going
    /// from page to page MUST give every span once that was there at the first page.
    fn scan(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Spans as by [`spans`](Self::spans) and links as by [`links`](Self::links), both at most `limit`: one
    /// depth of a trace, for stores that are far away and asked once.
    fn look_up(
        &self,
        spans: &[SpanLookup],
        links: &[LinkLookup],
        limit: usize,
    ) -> Result<(Vec<Arc<Span>>, Vec<Link>), StoreError> {
        let spans = if spans.is_empty() { Vec::new() } else { self.spans(spans, limit)? };
        let links = if links.is_empty() { Vec::new() } else { self.links(links, limit)? };
        Ok((spans, links))
    }

    /// Gaps that overlap `window`, by start, at most `limit`.
    fn gaps(&self, window: Window, limit: usize) -> Result<Vec<Gap>, StoreError>;

    /// Operations seen in `window`, of one service or of all, by service, name and kind. The
    /// window is widened to whole batches, so counts may include spans that lie beside it.
    fn operations(
        &self,
        window: Window,
        service: Option<&str>,
    ) -> Result<Vec<Operation>, StoreError>;

    /// Sums of the spans that start in `window`, widened to whole minutes, for each step of it: by
    /// operation, and by calls between services; of all, or of what concerns one service. Answers
    /// in the time that the sums take, or, where servers keep no sums, of a bounded number of the
    /// latest spans. A span that was written twice may count twice, and
    /// a call is known once both its sides were written, or one waited ten seconds for the other.
    fn rollups(
        &self,
        window: Window,
        step: Step,
        service: Option<&str>,
    ) -> Result<Rollups, StoreError>;

    /// What is in the store.
    fn stats(&self) -> Result<Stats, StoreError>;

    /// How the cluster is that keeps the store; `None` where there is none.
    fn health(&self) -> Result<Option<Health>, StoreError> {
        Ok(None)
    }

    /// Notes that the writer is alive at `now`, to be found by whoever opens the store next; of a
    /// shared store, on the same host.
    fn heartbeat(&self, now: WallTime) -> Result<(), StoreError>;

    /// The last heartbeat; `None` if there was none.
    fn last_alive(&self) -> Result<Option<WallTime>, StoreError>;

    /// Removes what is older than the retention at `now` or more than the store may hold, oldest
    /// first, and merges small batches. Does a bounded piece of work, some tens of milliseconds;
    /// to be called about once a second by the writer.
    fn maintain(&self, now: WallTime) -> Result<Maintained, StoreError>;

    /// Removes what `removal` names and was there when it began, with everything derived from it:
    /// no answer that begins afterwards may hold it. Works in pieces, between which others write;
    /// after an error, or the end of the process, a part is removed, whole spans only, and the same
    /// call removes the rest. MUST NOT remove any other span. What cannot be read and may have been
    /// meant is removed as well.
    fn remove(&self, removal: Removal<'_>) -> Result<Removed, StoreError>;

    /// Writes anew what holds bytes of what was removed, by whatever call: when it returns, none is
    /// left in any file or index of the store. May take as long as writing the whole store; works in
    /// pieces, between which others write. After an error, or the end of the process, everything is
    /// there, and the same call begins anew.
    fn purge(&self) -> Result<(), StoreError>;

    /// Writes a copy of all that was acknowledged before into `folder`, which is there and empty,
    /// while others read and write; `progress` is told parts of the whole, 0 to 1. The backend's
    /// `restore` makes a store of it that gives the same answers. Without `Ok` it is no backup.
    fn backup(&self, folder: &Path, progress: &mut dyn FnMut(f32)) -> Result<(), StoreError>;

    /// The document of that name.
    fn document(&self, name: &str) -> Result<Option<Document>, StoreError>;

    /// Documents whose names begin with `prefix`, by the bytes of their names, those behind
    /// `after` only; at most `limit`. MUST show every write that was acknowledged before.
    fn documents(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError>;

    /// Puts a document, or removes it where `body` is `None`; acknowledged like a batch. Returns
    /// its new version, or `None` when what is stored is not as `expected`, and then changes
    /// nothing. Of several that expect the same at once, in whatever process, exactly one MUST
    /// succeed. A name or body beyond its limit is [`StoreError::DocumentSize`].
    fn put_document(
        &self,
        name: &str,
        body: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Option<u64>, StoreError>;

    /// What was counted since opening, under Prometheus-style names.
    fn counters(&self, out: &mut dyn FnMut(&'static str, u64));
}
