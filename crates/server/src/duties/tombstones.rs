//! Tombstones: what was erased from this store, kept in its documents, and asked before anything is
//! written to it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use deeptrace_erase::{Tombstone, strip};
use deeptrace_model::Span;
use deeptrace_store::{Batch, Expected, Store, StoreError};

/// Beginning of the names of their documents.
const PREFIX: &str = "tombstone/";
/// Tombstones that are known, at most; an erasure beyond it is refused.
pub const TOMBSTONES_MAX: usize = 10_000;
/// What another server erased is known here after this time at most.
pub const REFRESH: Duration = Duration::from_secs(5);
/// Documents read at once.
const PAGE: usize = 500;

/// All tombstones of a store.
#[derive(Default)]
pub struct Tombstones {
    known: RwLock<Vec<Arc<Tombstone>>>,
    read_at: Mutex<Option<Instant>>,
    erased: AtomicU64,
}

impl Tombstones {
    /// Those of `store`.
    pub fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let tombstones = Self::default();
        tombstones.refresh(store)?;
        Ok(tombstones)
    }

    /// Reads them anew, if that was not done within [`REFRESH`].
    pub fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut read_at = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        if read_at.is_some_and(|at| at.elapsed() < REFRESH) {
            return Ok(());
        }
        let all = stored(store)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = all;
        *read_at = Some(Instant::now());
        Ok(())
    }

    /// Keeps one. When it returns, nothing that it covers is being written through [`Tombstones::held`],
    /// nor will be.
    pub fn set(&self, store: &dyn Store, tombstone: &Arc<Tombstone>) -> Result<(), StoreError> {
        // What a refresh has read before must not take the place of what is put now.
        let _reading = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        let body = serde_json::to_vec(&**tombstone).unwrap_or_default();
        store.put_document(&format!("{PREFIX}{}", tombstone.id()), Some(&body), Expected::Any)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|other| other.id() != tombstone.id());
        known.push(Arc::clone(tombstone));
        Ok(())
    }

    /// All that are known now; none is added while they are held.
    pub fn held(&self) -> Held<'_> {
        Held { known: self.known.read().unwrap_or_else(PoisonError::into_inner), all: self }
    }

    /// Spans that came after they had been erased, and were not kept.
    pub fn erased(&self) -> u64 {
        self.erased.load(Relaxed)
    }
}

/// All tombstones that are in the documents of `store`.
fn stored(store: &dyn Store) -> Result<Vec<Arc<Tombstone>>, StoreError> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.documents(PREFIX, after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.name.clone());
        for document in &page {
            match serde_json::from_slice(&document.body) {
                Ok(tombstone) => all.push(Arc::new(tombstone)),
                Err(error) => {
                    tracing::error!(name = document.name, %error, "a tombstone cannot be read")
                }
            }
        }
    }
}

/// Tombstones while none is added.
pub struct Held<'a> {
    known: RwLockReadGuard<'a, Vec<Arc<Tombstone>>>,
    all: &'a Tombstones,
}

impl Held<'_> {
    /// The tombstones.
    pub fn all(&self) -> &[Arc<Tombstone>] {
        &self.known
    }

    /// `batch` without what was erased, with the links from and to it; `None` where all of it stays.
    pub fn without(&self, batch: &Batch) -> Option<Batch> {
        // What is new is covered by none, and nearly all that comes is new.
        let latest = self.known.iter().map(|it| it.at()).max()?;
        let is_gone = |span: &Span| {
            span.start <= latest && self.known.iter().any(|tombstone| tombstone.covers(span))
        };
        if !batch.spans.iter().any(is_gone) {
            return None;
        }
        let mut left = batch.clone();
        let erased = strip(&mut left.spans, &mut left.links, is_gone);
        self.all.erased.fetch_add(erased, Relaxed);
        Some(left)
    }
}
