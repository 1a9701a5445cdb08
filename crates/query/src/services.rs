//! Services: who was seen, with counts.

use std::collections::BTreeMap;

use deeptrace_model::SpanKind;
use deeptrace_store::{Store, StoreError, Window};

/// A service, with what was seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `service.name`.
    pub name: String,
    /// Its spans.
    pub spans: u64,
    /// Requests that it served.
    pub requests: u64,
    /// Requests that it served and answered with an error.
    pub errors: u64,
    /// Names of its operations, of any kind.
    pub operations: u64,
}

/// Services seen in `window`, by name. Counts are those of [`Store::operations`].
pub fn services(store: &dyn Store, window: Window) -> Result<Vec<Service>, StoreError> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for operation in store.operations(window, None)? {
        let service = services.entry(operation.service.clone()).or_default();
        service.name = operation.service;
        service.spans += operation.spans;
        service.operations += 1;
        if operation.kind == SpanKind::Server {
            service.requests += operation.spans;
            service.errors += operation.errors;
        }
    }
    Ok(services.into_values().collect())
}
