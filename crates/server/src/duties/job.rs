//! Job: a duty that takes longer than an answer may, told by a document, so that every server over the
//! store can say how far it is.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deeptrace_store::{Expected, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock;

/// Beginning of the names of documents.
const PREFIX: &str = "duty-job/";
/// Jobs that are remembered; of more, those that began first are forgotten.
const REMEMBERED: usize = 100;
/// Between two notes of how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Between two notes that it is still at work, where there is nothing new to tell.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// At work; without news for two minutes its server has died.
    Running,
    /// Did it: see `result`.
    Done,
    /// Did not: see `error`.
    Failed,
}

/// A duty at work, or done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// 32 hex digits, the first half a time.
    pub id: String,
    /// `erase`, `preview`, `cleanup`, `backup`.
    pub kind: String,
    /// How far it is.
    pub state: JobState,
    /// When it began.
    pub started_unix_nano: u64,
    /// When this was written.
    pub updated_unix_nano: u64,
    /// How far it is, in words of its own: `looked_at` and `found` spans, or a `share` of the whole.
    pub progress: Value,
    /// What came of it.
    pub result: Option<Value>,
    /// Why nothing came of it.
    pub error: Option<String>,
}

/// Writes how far a job is.
pub struct Reporter<'a> {
    store: &'a dyn Store,
    job: Job,
    noted: Instant,
}

impl Job {
    /// A new one, noted in the store; forgets old ones.
    pub fn begin(store: &dyn Store, kind: &str) -> Result<Self, StoreError> {
        let all = store.documents(PREFIX, None, 2 * REMEMBERED)?;
        let surplus = (all.len() + 1).saturating_sub(REMEMBERED);
        for old in all.iter().take(surplus) {
            store.put_document(&old.name, None, Expected::Version(old.version))?;
        }
        let now = clock::now().0;
        // Two at the same nanosecond would be of two processes.
        let tail = deeptrace_model::hash64(&[now, u64::from(std::process::id())]);
        let job = Self {
            id: format!("{now:016x}{tail:016x}"),
            kind: kind.to_owned(),
            state: JobState::Running,
            started_unix_nano: now,
            updated_unix_nano: now,
            progress: Value::Null,
            result: None,
            error: None,
        };
        job.note(store)?;
        Ok(job)
    }

    /// The job of that id.
    pub fn read(store: &dyn Store, id: &str) -> Result<Option<Self>, StoreError> {
        let document = store.document(&format!("{PREFIX}{id}"))?;
        Ok(document.and_then(|document| serde_json::from_slice(&document.body).ok()))
    }

    fn note(&self, store: &dyn Store) -> Result<(), StoreError> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let name = format!("{PREFIX}{}", self.id);
        store.put_document(&name, Some(&body), Expected::Any).map(drop)
    }
}

impl<'a> Reporter<'a> {
    /// Of that job.
    pub fn new(store: &'a dyn Store, job: Job) -> Self {
        Self { store, job, noted: Instant::now() }
    }

    /// Does `work`, and notes meanwhile that it is still done, however long it has nothing to tell.
    pub fn run<T>(self, work: impl FnOnce(&mut dyn FnMut(Value)) -> T) -> (Self, T) {
        let reporter = Mutex::new(self);
        let lock = || reporter.lock().unwrap_or_else(PoisonError::into_inner);
        let (working, ended) = channel::<()>();
        let result = std::thread::scope(|scope| {
            scope.spawn(move || {
                while ended.recv_timeout(ALIVE_EVERY) == Err(RecvTimeoutError::Timeout) {
                    lock().note();
                }
            });
            let result = work(&mut |progress| lock().tell(progress));
            drop(working);
            result
        });
        (reporter.into_inner().unwrap_or_else(PoisonError::into_inner), result)
    }

    /// Notes how far it is, once a second at most.
    pub fn tell(&mut self, progress: Value) {
        if self.noted.elapsed() < NOTE_EVERY {
            return;
        }
        self.noted = Instant::now();
        self.job.progress = progress;
        self.note();
    }

    /// Notes the end.
    pub fn end(mut self, result: Result<Value, String>) {
        match result {
            Ok(result) => (self.job.state, self.job.result) = (JobState::Done, Some(result)),
            Err(error) => {
                tracing::error!(kind = self.job.kind, error, "a duty has failed");
                (self.job.state, self.job.error) = (JobState::Failed, Some(error));
            }
        }
        self.note();
    }

    fn note(&mut self) {
        self.job.updated_unix_nano = clock::now().0;
        if let Err(error) = self.job.note(self.store) {
            tracing::warn!(%error, kind = self.job.kind, "cannot note how far a duty is");
        }
    }
}
