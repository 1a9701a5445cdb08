//! Spans and links at rest: the trait [`Store`], and [`TABLE`] of its backends.
//!
//! Everything that a store promises is written at [`Store`] and held by one suite,
//! `tests/conformance.rs`, that loops over the table.
#![forbid(unsafe_code)]

mod batch;
mod document;
mod durations;
mod elastic;
mod embedded;
mod error;
mod holder;
mod joining;
mod layer;
mod lookup;
mod options;
mod removal;
mod rollup;
mod scan;
mod store;

use std::{path::Path, sync::Arc};

pub use batch::{Batch, Health, Maintained, Operation, OperationSums, Stats};
pub use document::{DOCUMENT_BODY_MAX, DOCUMENT_NAME_MAX, Document, Expected};
pub use durations::Durations;
pub use error::{Fault, StoreError};
pub use holder::Holder;
pub use layer::Layer;
pub use lookup::{LinkKey, LinkLookup, SpanKey, SpanLookup, Window};
pub use options::{Elasticsearch, Mode, Options};
pub use removal::{Removal, Removed};
pub use rollup::{
    Callee, EdgeKey, EdgeRollup, KEYS_MAX, OTHER, OperationKey, OperationRollup, Rollups, Step,
    Tally,
};
pub use scan::{Cursor, CursorError, Filter, Page};
pub use store::Store;

/// Opens a store.
pub type Open = fn(&Options, Mode) -> Result<Arc<dyn Store>, StoreError>;

/// Makes a store out of the folder that [`Store::backup`] wrote, where there is none yet. Refuses
/// what is no whole backup with [`StoreError::NoBackup`] and changes nothing then.
pub type Restore = fn(&Options, &Path) -> Result<(), StoreError>;

/// A way to keep spans: one row of [`TABLE`].
#[derive(Clone, Copy)]
pub struct Backend {
    /// Name in the configuration, `storage.backend`.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Whether several servers may write at once; otherwise a second one is refused.
    pub is_shared: bool,
    /// Opens it.
    pub open: Open,
    /// Makes it out of a backup.
    pub restore: Restore,
}

/// All backends; the first is the default.
pub const TABLE: &[Backend] = &[embedded::BACKEND, elastic::BACKEND];

/// Opens the backend of that name.
pub fn open(name: &str, options: &Options, mode: Mode) -> Result<Arc<dyn Store>, StoreError> {
    match TABLE.iter().find(|backend| backend.name == name) {
        Some(backend) => (backend.open)(options, mode),
        None => Err(StoreError::UnknownBackend { name: name.to_owned() }),
    }
}
