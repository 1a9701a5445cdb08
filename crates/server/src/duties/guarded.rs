//! Guarded: a store into which nothing comes back that was erased, whoever writes to it.

use std::path::Path;
use std::sync::Arc;

use deeptrace_model::{Gap, Link, Span, WallTime};
use deeptrace_store::{
    Batch, Cursor, Document, Expected, Filter, LinkLookup, Maintained, Operation, Page, Removal,
    Removed, Rollups, SpanLookup, Stats, Step, Store, StoreError, Window,
};

use super::Tombstones;

/// A store that asks its tombstones before it writes.
pub struct Guarded {
    store: Arc<dyn Store>,
    tombstones: Arc<Tombstones>,
}

impl Guarded {
    /// `store`, with what was erased from it so far.
    pub fn new(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let tombstones = Arc::new(Tombstones::read(&*store)?);
        Ok(Self { store, tombstones })
    }

    /// What was erased from it.
    pub fn tombstones(&self) -> Arc<Tombstones> {
        Arc::clone(&self.tombstones)
    }
}

impl Store for Guarded {
    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let held = self.tombstones.held();
        match held.without(batch) {
            Some(left) => self.store.write(&left),
            None => self.store.write(batch),
        }
    }

    fn spans(&self, lookups: &[SpanLookup], limit: usize) -> Result<Vec<Arc<Span>>, StoreError> {
        self.store.spans(lookups, limit)
    }

    fn links(&self, lookups: &[LinkLookup], limit: usize) -> Result<Vec<Link>, StoreError> {
        self.store.links(lookups, limit)
    }

    fn scan(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.store.scan(filter, after, limit)
    }

    fn gaps(&self, window: Window, limit: usize) -> Result<Vec<Gap>, StoreError> {
        self.store.gaps(window, limit)
    }

    fn operations(
        &self,
        window: Window,
        service: Option<&str>,
    ) -> Result<Vec<Operation>, StoreError> {
        self.store.operations(window, service)
    }

    fn rollups(
        &self,
        window: Window,
        step: Step,
        service: Option<&str>,
    ) -> Result<Rollups, StoreError> {
        self.store.rollups(window, step, service)
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        self.store.stats()
    }

    fn heartbeat(&self, now: WallTime) -> Result<(), StoreError> {
        self.store.heartbeat(now)
    }

    fn last_alive(&self) -> Result<Option<WallTime>, StoreError> {
        self.store.last_alive()
    }

    /// Called about once a second, so this is where other servers' tombstones come in.
    fn maintain(&self, now: WallTime) -> Result<Maintained, StoreError> {
        self.tombstones.refresh(&*self.store)?;
        self.store.maintain(now)
    }

    fn remove(&self, removal: Removal<'_>) -> Result<Removed, StoreError> {
        self.store.remove(removal)
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.store.purge()
    }

    fn backup(&self, folder: &Path, progress: &mut dyn FnMut(f32)) -> Result<(), StoreError> {
        self.store.backup(folder, progress)
    }

    fn document(&self, name: &str) -> Result<Option<Document>, StoreError> {
        self.store.document(name)
    }

    fn documents(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, StoreError> {
        self.store.documents(prefix, after, limit)
    }

    fn put_document(
        &self,
        name: &str,
        body: Option<&[u8]>,
        expected: Expected,
    ) -> Result<Option<u64>, StoreError> {
        self.store.put_document(name, body, expected)
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        self.store.counters(out);
        out("ingest_erased_spans_total", self.tombstones.erased());
    }
}
