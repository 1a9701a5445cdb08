//! Layer: a store over another one, which does itself only what it changes.

use std::path::Path;
use std::sync::Arc;

use deeptrace_model::{Gap, Link, Span, WallTime};

use crate::{
    Batch, Cursor, Document, Expected, Filter, Health, LinkLookup, Maintained, Operation, Page,
    Removal, Removed, Rollups, SpanLookup, Stats, Step, Store, StoreError, Window,
};

macro_rules! layer {
    ($(fn $name:ident(&self $(, $argument:ident: $type:ty)*) $(-> $result:ty)?;)*) => {
        /// A store over another one. Whatever has this is a [`Store`].
        pub trait Layer: Send + Sync {
            /// The store that does the rest.
            fn below(&self) -> &dyn Store;

            $(
                #[doc = concat!("As [`Store::", stringify!($name), "`]; unless said otherwise as below.")]
                fn $name(&self $(, $argument: $type)*) $(-> $result)? {
                    self.below().$name($($argument),*)
                }
            )*
        }

        impl<L: Layer> Store for L {
            $(
                fn $name(&self $(, $argument: $type)*) $(-> $result)? {
                    Layer::$name(self $(, $argument)*)
                }
            )*
        }
    };
}

// Every method of the trait, also those that it has a default for: the store below may have its own.
layer! {
    fn write(&self, batch: &Batch) -> Result<(), StoreError>;
    fn spans(&self, lookups: &[SpanLookup], limit: usize) -> Result<Vec<Arc<Span>>, StoreError>;
    fn links(&self, lookups: &[LinkLookup], limit: usize) -> Result<Vec<Link>, StoreError>;
    fn scan(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> Result<Page, StoreError>;
    fn look_up(
        &self,
        spans: &[SpanLookup],
        links: &[LinkLookup],
        limit: usize
    ) -> Result<(Vec<Arc<Span>>, Vec<Link>), StoreError>;
    fn gaps(&self, window: Window, limit: usize) -> Result<Vec<Gap>, StoreError>;
    fn operations(&self, window: Window, service: Option<&str>) -> Result<Vec<Operation>, StoreError>;
    fn rollups(&self, window: Window, step: Step, service: Option<&str>) -> Result<Rollups, StoreError>;
    fn stats(&self) -> Result<Stats, StoreError>;
    fn health(&self) -> Result<Option<Health>, StoreError>;
    fn heartbeat(&self, now: WallTime) -> Result<(), StoreError>;
    fn last_alive(&self) -> Result<Option<WallTime>, StoreError>;
    fn maintain(&self, now: WallTime) -> Result<Maintained, StoreError>;
    fn remove(&self, removal: Removal<'_>) -> Result<Removed, StoreError>;
    fn purge(&self) -> Result<(), StoreError>;
    fn backup(&self, folder: &Path, progress: &mut dyn FnMut(f32)) -> Result<(), StoreError>;
    fn document(&self, name: &str) -> Result<Option<Document>, StoreError>;
    fn documents(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize
    ) -> Result<Vec<Document>, StoreError>;
    fn put_document(
        &self,
        name: &str,
        body: Option<&[u8]>,
        expected: Expected
    ) -> Result<Option<u64>, StoreError>;
    fn counters(&self, out: &mut dyn FnMut(&'static str, u64));
}
