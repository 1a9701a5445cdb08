//! Directory: users, tokens and sessions as the store has them, remembered for a moment, so that a
//! page of many requests does not ask the store as often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deeptrace_store::{Store, StoreError};
use serde::de::DeserializeOwned;

/// For how long a document is believed: what was revoked at another server is refused here after
/// this time at most.
const BELIEVED: Duration = Duration::from_secs(2);
/// Documents remembered, at most.
const DOCUMENTS_MAX: usize = 1_024;

/// The body of a document, if there is one, and since when that is known.
type Known = (Instant, Option<Arc<[u8]>>);

/// Users, tokens and sessions as the store has them.
pub(super) struct Directory {
    pub store: Arc<dyn Store>,
    known: Mutex<HashMap<String, Known>>,
}

impl Directory {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// The document of that name; `None` where there is none, or where it is of another version of
    /// the program. May ask the store, so not for the threads that serve.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let body = match self.remembered(name) {
            Some(body) => body,
            None => {
                let body = self.store.document(name)?.map(|found| Arc::from(found.body));
                self.remember(name, body.clone());
                body
            }
        };
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// What was changed here is known here at once.
    pub(super) fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn remembered(&self, name: &str) -> Option<Option<Arc<[u8]>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, body) = known.get(name)?;
        (since.elapsed() < BELIEVED).then(|| body.clone())
    }

    fn remember(&self, name: &str, body: Option<Arc<[u8]>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= DOCUMENTS_MAX {
            known.clear();
        }
        known.insert(name.to_owned(), (Instant::now(), body));
    }
}
