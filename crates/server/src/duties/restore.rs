//! Restore: a data folder out of a backup, without what was erased since. Everything is made and checked
//! beside the data folder and moved there at the end, so that no half of it can be taken for the whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deeptrace_erase::{Receipt, State, Tombstone};
use deeptrace_store::{Mode, Options, Store};

use super::backup::{self, BackupError, Manifest, STORE};
use super::erase::{EraseError, remove_covered};
use super::{Tombstones, signing};

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// What was erased cannot be erased again.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] deeptrace_store::StoreError),
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] signing::SigningError),
    /// It is of another backend than the configured one.
    #[error(
        "the backup is of backend `{found}` and storage.backend is `{configured}`; export and import move spans between backends"
    )]
    Backend {
        /// In the backup.
        found: String,
        /// In the configuration.
        configured: String,
    },
    /// A receipt was changed.
    #[error("{}: {error}", path.display())]
    Receipt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: String,
    },
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// Of the backup.
    pub manifest: Manifest,
    /// Tombstones that were applied.
    pub tombstones: usize,
    /// Spans that were erased again.
    pub erased: u64,
    /// Where the configuration of the backup lies now, if it had one.
    pub config: Option<PathBuf>,
}

/// Restores the backup in `folder` into the data folder of `options`, which is not there or empty.
/// `receipts` are of erasures that the backup, and what lies beside it, may not know. `progress` is told
/// what is being done.
pub fn restore(
    folder: &Path,
    backend: &str,
    options: &Options,
    receipts: &[PathBuf],
    progress: &mut dyn FnMut(&str),
) -> Result<Restored, RestoreError> {
    let target = &options.folder;
    if !backup::is_empty(target)? {
        return Err(BackupError::NotEmpty { folder: target.clone() }.into());
    }
    progress("checking the backup");
    let manifest = backup::verify(folder)?;
    if manifest.backend != backend {
        let (found, configured) = (manifest.backend, backend.to_owned());
        return Err(RestoreError::Backend { found, configured });
    }
    let mut known = backup::tombstones(folder)?;
    for path in receipts {
        known.push(receipted(path)?);
    }
    // Beside the target, so that the same file system takes it by its name.
    let mut staged = target.clone().into_os_string();
    staged.push(".restoring");
    let staged = PathBuf::from(staged);
    if staged.exists() {
        fs::remove_dir_all(&staged).map_err(backup::io_error("remove", &staged))?;
    }
    backup::make_folder(&staged)?;
    progress("copying");
    let row = deeptrace_store::TABLE.iter().find(|row| row.name == backend);
    let row = row
        .ok_or_else(|| deeptrace_store::StoreError::UnknownBackend { name: backend.to_owned() })?;
    let staged_options = Options { folder: staged.clone(), ..options.clone() };
    (row.restore)(&staged_options, &folder.join(STORE))?;
    for name in [backup::CONFIG, signing::FILE] {
        if let Ok(bytes) = fs::read(folder.join(name)) {
            backup::write_file(&staged.join(name), &bytes)?;
        }
    }
    progress("erasing again what was erased since");
    let store = (row.open)(&staged_options, Mode::Write)?;
    let (tombstones, erased) = erase_again(&*store, &staged, known)?;
    drop(store);
    // What only a running process needs.
    let _may_not_be_there = fs::remove_file(staged.join("writer.lock"));
    move_in(&staged, target)?;
    let config = Some(target.join(backup::CONFIG)).filter(|path| path.exists());
    Ok(Restored { manifest, tombstones, erased, config })
}

fn receipted(path: &Path) -> Result<Tombstone, RestoreError> {
    let wrong = |error: String| RestoreError::Receipt { path: path.to_owned(), error };
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let receipt: Receipt =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    receipt.verify(None).map_err(|error| wrong(error.to_string()))?;
    Ok(receipt.statement.tombstone)
}

/// Applies the tombstones in the store and `more`; returns how many, and how many spans went.
fn erase_again(
    store: &dyn Store,
    staged: &Path,
    more: Vec<Tombstone>,
) -> Result<(usize, u64), RestoreError> {
    let tombstones = Tombstones::read(store)?;
    let mut all: Vec<Arc<Tombstone>> = tombstones.held().all().to_vec();
    all.extend(more.into_iter().map(Arc::new));
    all.sort_by(|a, b| a.id().cmp(b.id()));
    all.dedup_by(|a, b| a.id() == b.id());
    // Receipts are signed with it from now on; where it cannot be read nothing is put in place.
    signing::open(staged)?;
    let mut erased = 0;
    for tombstone in &all {
        erased += remove_covered(store, tombstone, &mut |_, _| ())?.spans;
        let done = Tombstone::clone(tombstone).in_state(State::Done);
        tombstones.set(store, &Arc::new(done))?;
    }
    if erased > 0 {
        store.purge()?;
    }
    Ok((all.len(), erased))
}

/// Gives the whole its name. Where the data folder cannot be replaced (it is mounted), its content is
/// moved there, the store last.
fn move_in(staged: &Path, target: &Path) -> Result<(), BackupError> {
    if fs::rename(staged, target).is_ok() {
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(staged)
        .and_then(|entries| entries.map(|entry| entry.map(|it| it.path())).collect())
        .map_err(backup::io_error("read", staged))?;
    let is_ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == backup::CONFIG || name == signing::FILE)
    };
    entries.sort_by_key(|path| !is_ours(path));
    backup::make_folder(target)?;
    for from in entries {
        let Some(name) = from.file_name() else { continue };
        let to = target.join(name);
        if fs::rename(&from, &to).is_err() {
            // A mounted folder is another file system.
            let part = target.join("restoring.part");
            fs::copy(&from, &part).map_err(backup::io_error("copy", &from))?;
            fs::File::open(&part)
                .and_then(|file| file.sync_all())
                .map_err(backup::io_error("write", &part))?;
            fs::rename(&part, &to).map_err(backup::io_error("rename", &part))?;
        }
    }
    fs::remove_dir_all(staged).map_err(backup::io_error("remove", staged))
}
