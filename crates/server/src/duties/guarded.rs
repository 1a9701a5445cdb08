//! Guarded: a store into which nothing comes back that was erased, whoever writes to it.

use std::sync::Arc;

use deeptrace_model::WallTime;
use deeptrace_store::{Batch, Layer, Maintained, Store, StoreError};

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

impl Layer for Guarded {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let held = self.tombstones.held();
        match held.without(batch) {
            Some(left) => self.store.write(&left),
            None => self.store.write(batch),
        }
    }

    /// Called about once a second, so this is where other servers' tombstones come in.
    fn maintain(&self, now: WallTime) -> Result<Maintained, StoreError> {
        self.tombstones.refresh(&*self.store)?;
        self.store.maintain(now)
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        self.store.counters(out);
        out("ingest_erased_spans_total", self.tombstones.erased());
    }
}
