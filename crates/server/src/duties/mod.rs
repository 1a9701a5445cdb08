//! Duties: data is removed, erased, backed up and taken in. The same for a running server, whose API
//! starts them as jobs, and for a command on the data folder.

mod backup;
mod daily;
mod erase;
mod guarded;
mod import;
mod job;
mod restore;
mod routes;
mod signing;
mod tombstones;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use deeptrace_erase::{Key, Receipt, State, Target};
use deeptrace_model::{Duration, WallTime};
use deeptrace_query::Limits;
use deeptrace_store::{Expected, Removal, Removed, Store, StoreError};
use serde_json::{Value, json};
use tokio::sync::watch;

pub use backup::{BackupError, FileSum, Manifest};
pub use erase::{EraseError, Eraser, Preview, remove_covered};
pub use guarded::Guarded;
pub use import::{Imported, SPANS_MAX, import};
pub use job::{Job, JobState, Reporter};
pub use restore::{RestoreError, Restored, restore};
pub use routes::routes;
pub use signing::SigningError;
pub use tombstones::{Held, Tombstones};

use crate::config::BackupPlan;

/// Document with the folders that hold backups, beside the configured one.
const FOLDERS: &str = "backup/folders";
/// Folders remembered in it, at most; of more the oldest is forgotten.
const FOLDERS_MAX: usize = 100;

/// Why a duty was not done.
#[derive(Debug, thiserror::Error)]
pub enum DutyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An erasure did not come to its end.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// There is no backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Nothing to sign with.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// Another one is at work.
    #[error("another duty is at work in this server; try again when it is done")]
    Busy,
    /// A path that means something else to every process.
    #[error("give an absolute path; {} is none", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
}

/// Where the duties are done.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the storage backend.
    pub backend: &'static str,
    /// Whether other servers write to the same store.
    pub is_shared: bool,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
    /// The daily backup, if one was configured.
    pub plan: Option<BackupPlan>,
    /// Version of the program.
    pub version: &'static str,
}

/// What can be done with the data of one store.
pub struct Duties {
    store: Arc<dyn Store>,
    tombstones: Arc<Tombstones>,
    place: Place,
    key: Mutex<Option<Arc<Key>>>,
    is_busy: AtomicBool,
    backups: AtomicU64,
    backup_failures: AtomicU64,
}

/// Given back when it is dropped.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Duties {
    /// The duties of a store at `place`.
    pub fn new(store: Arc<Guarded>, place: Place) -> Self {
        let tombstones = store.tombstones();
        Self {
            store,
            tombstones,
            place,
            key: Mutex::default(),
            is_busy: AtomicBool::new(false),
            backups: AtomicU64::new(0),
            backup_failures: AtomicU64::new(0),
        }
    }

    /// Starts what a server does by itself until `stop` turns true: erasures that broke off are ended, and
    /// the daily backup is made.
    pub fn start(self: &Arc<Self>, stop: watch::Receiver<bool>) -> std::io::Result<JoinHandle<()>> {
        let duties = Arc::clone(self);
        let work = move || {
            if let Err(error) = duties.finish_erasures() {
                tracing::error!(%error, "an erasure that broke off was not ended");
            }
            if let Some(plan) = &duties.place.plan {
                daily::run(&duties, plan, &stop);
            }
        };
        std::thread::Builder::new().name("deeptrace-duties".to_owned()).spawn(work)
    }

    /// Starts `work` as a job.
    pub fn begin(
        self: &Arc<Self>,
        kind: &str,
        work: impl FnOnce(&Self, &mut dyn FnMut(Value)) -> Result<Value, DutyError> + Send + 'static,
    ) -> Result<Job, DutyError> {
        if self.is_busy.swap(true, Ordering::Acquire) {
            return Err(DutyError::Busy);
        }
        let busy = Busy(&self.is_busy);
        let job = Job::begin(&*self.store, kind)?;
        let (duties, started) = (Arc::clone(self), job.clone());
        let run = move || {
            let _busy = Busy(&duties.is_busy);
            let reporter = Reporter::new(&*duties.store, started);
            let (reporter, result) = reporter.run(|progress| work(&duties, progress));
            reporter.end(result.map_err(|error| error.to_string()));
        };
        let spawned = std::thread::Builder::new().name("deeptrace-duty".to_owned()).spawn(run);
        match spawned {
            Ok(_) => std::mem::forget(busy),
            Err(error) => {
                let (action, path) = ("start a thread for", self.place.data_dir.clone());
                return Err(BackupError::Io { action, path, error }.into());
            }
        }
        Ok(job)
    }

    /// The job of that id.
    pub fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        Job::read(&*self.store, id)
    }

    /// What erasing `target` would remove.
    pub fn preview(
        &self,
        target: &Target,
        progress: erase::Progress<'_>,
    ) -> Result<Preview, DutyError> {
        let key = self.key()?;
        Ok(self.eraser(&key).preview(target, crate::clock::now(), progress)?)
    }

    /// Erases `target`.
    pub fn erase(
        &self,
        target: &Target,
        progress: erase::Progress<'_>,
    ) -> Result<Receipt, DutyError> {
        let (key, folders) = (self.key()?, self.folders()?);
        let receipt = self.eraser(&key).erase(target, &folders, progress)?;
        let statement = &receipt.statement;
        tracing::info!(field = %target.field, spans = statement.spans, tombstone = statement.tombstone.id(),
            "erased");
        Ok(receipt)
    }

    /// Removes spans that ended before `limit`.
    pub fn cleanup(&self, limit: WallTime) -> Result<Removed, DutyError> {
        Ok(self.store.remove(Removal::Before(limit))?)
    }

    /// Writes a backup into `folder`, and remembers where.
    pub fn backup(
        &self,
        folder: &Path,
        progress: &mut dyn FnMut(f32),
    ) -> Result<Manifest, DutyError> {
        if !folder.is_absolute() {
            return Err(DutyError::Relative { path: folder.to_owned() });
        }
        let Place { backend, data_dir, config, version, .. } = &self.place;
        // Made now, if it was not: a receipt is of use only with its key.
        self.key()?;
        let mut files = vec![(signing::FILE, data_dir.join(signing::FILE))];
        files.extend(config.clone().map(|path| (backup::CONFIG, path)));
        let now = crate::clock::now();
        let manifest =
            backup::write(&*self.store, backend, version, folder, &files, now, progress)?;
        self.remember(folder)?;
        Ok(manifest)
    }

    /// Takes in spans that were exported.
    pub fn import(&self, spans: Vec<deeptrace_model::TraceSpan>) -> Result<Imported, StoreError> {
        import(&*self.store, &self.tombstones, spans)
    }

    /// What was counted since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("backups_total", self.backups.load(Ordering::Relaxed));
        out("backup_failures_total", self.backup_failures.load(Ordering::Relaxed));
    }

    fn count_backup(&self, is_made: bool) {
        let counter = if is_made { &self.backups } else { &self.backup_failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn finish_erasures(&self) -> Result<(), DutyError> {
        let open: Vec<_> = {
            let held = self.tombstones.held();
            held.all().iter().filter(|it| it.state() == State::Open).cloned().collect()
        };
        if open.is_empty() {
            return Ok(());
        }
        let (key, folders) = (self.key()?, self.folders()?);
        for tombstone in open {
            tracing::info!(tombstone = tombstone.id(), "ending an erasure that broke off");
            self.eraser(&key).finish(tombstone, &folders, &mut |_, _| ())?;
        }
        Ok(())
    }

    fn eraser<'a>(&'a self, key: &'a Key) -> Eraser<'a> {
        Eraser {
            store: &*self.store,
            backend: self.place.backend,
            is_shared: self.place.is_shared,
            tombstones: &self.tombstones,
            key,
            // What is unlikely to be of a trace is not erased with it.
            limits: Limits::default(),
            version: self.place.version,
        }
    }

    fn key(&self) -> Result<Arc<Key>, DutyError> {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*key {
            return Ok(Arc::clone(key));
        }
        Ok(Arc::clone(key.insert(Arc::new(signing::open(&self.place.data_dir)?))))
    }

    /// Folders that hold backups and are there now.
    fn folders(&self) -> Result<Vec<PathBuf>, DutyError> {
        let mut folders = self.remembered()?.0;
        folders.extend(self.place.plan.as_ref().map(|plan| plan.folder.clone()));
        folders.retain(|folder| folder.is_dir());
        folders.sort();
        folders.dedup();
        Ok(folders)
    }

    fn remembered(&self) -> Result<(Vec<PathBuf>, Expected), DutyError> {
        Ok(match self.store.document(FOLDERS)? {
            Some(document) => {
                let folders = serde_json::from_slice(&document.body).unwrap_or_default();
                (folders, Expected::Version(document.version))
            }
            None => (Vec::new(), Expected::Absent),
        })
    }

    fn remember(&self, backup: &Path) -> Result<(), DutyError> {
        let Some(folder) = backup.parent() else { return Ok(()) };
        loop {
            let (mut folders, expected) = self.remembered()?;
            folders.retain(|known| known != folder);
            folders.push(folder.to_owned());
            let surplus = folders.len().saturating_sub(FOLDERS_MAX);
            folders.drain(..surplus);
            let body = json!(folders).to_string();
            if self.store.put_document(FOLDERS, Some(body.as_bytes()), expected)?.is_some() {
                return Ok(());
            }
        }
    }
}

/// The public key of receipts signed in a data folder; `None` where none was.
pub fn public_key(data_dir: &Path) -> Result<Option<[u8; 32]>, SigningError> {
    Ok(signing::read(data_dir)?.map(|key| key.public()))
}

/// The moment before which `days` days lie, counted back from now.
pub fn days_ago(days: u64) -> WallTime {
    crate::clock::now().minus(Duration::from_secs(days.saturating_mul(24 * 3600)))
}
