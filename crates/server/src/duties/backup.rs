//! Backup: the store, the configuration and the key that signs receipts, in a folder of their own, with
//! a manifest that has a checksum of each file. Written last, the manifest says that the rest is whole.
//!
//! ```text
//! FOLDER/tombstones.jsonl     what was erased after backups were made, applied when one is restored
//! FOLDER/NAME/manifest.json
//! FOLDER/NAME/deeptrace.toml  if there is one
//! FOLDER/NAME/erase.key
//! FOLDER/NAME/store/…         what the backend wrote
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use deeptrace_erase::Tombstone;
use deeptrace_model::WallTime;
use deeptrace_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::access::hex;

/// Says that a backup is whole.
const MANIFEST: &str = "manifest.json";
/// The configuration in a backup.
pub const CONFIG: &str = "deeptrace.toml";
/// What the store's backend wrote.
pub const STORE: &str = "store";
/// What was erased after the backups beside it were made.
const TOMBSTONES: &str = "tombstones.jsonl";
/// Bytes of a line in it, at most; a tombstone is smaller.
const LINE_LEN_MAX: u64 = 2 << 20;
/// Files of a backup, at most.
const FILES_MAX: usize = 100_000;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this form; 1.
    pub version: u32,
    /// Version of the program.
    pub deeptrace: String,
    /// When it was begun: what was written before is in it.
    pub created_unix_nano: u64,
    /// Name of the storage backend.
    pub backend: String,
    /// Spans in it, about.
    pub spans: u64,
    /// All files beside the manifest, by path.
    pub files: Vec<FileSum>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSum {
    /// Below the backup's folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// 64 hex digits.
    pub sha256: String,
}

/// Why there is no backup, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something is where it was to be written.
    #[error("{} is not empty; give a folder that is not there yet", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// It is no backup, or no whole one.
    #[error("{} is no whole backup: {reason}", folder.display())]
    NotWhole {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The operating system refused.
    #[error("{action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// Writes a backup of `store` into `folder`, which is not there or empty. `files` go with it: the name in
/// the backup and where it is now; those that are not there are left out.
pub fn write(
    store: &dyn Store,
    backend: &str,
    version: &str,
    folder: &Path,
    files: &[(&str, PathBuf)],
    now: WallTime,
    progress: &mut dyn FnMut(f32),
) -> Result<Manifest, BackupError> {
    make_folder(folder)?;
    if !is_empty(folder)? {
        return Err(BackupError::NotEmpty { folder: folder.to_owned() });
    }
    let inner = folder.join(STORE);
    make_folder(&inner)?;
    let spans = store.stats()?.spans;
    store.backup(&inner, progress)?;
    for (name, from) in files {
        match fs::read(from) {
            Ok(bytes) => write_file(&folder.join(name), &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read", from)(error)),
        }
    }
    let manifest = Manifest {
        version: 1,
        deeptrace: version.to_owned(),
        created_unix_nano: now.0,
        backend: backend.to_owned(),
        spans,
        files: sums(folder)?,
    };
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    let part = folder.join("manifest.json.part");
    write_file(&part, text.as_bytes())?;
    fs::rename(&part, folder.join(MANIFEST)).map_err(io_error("rename", &part))?;
    sync(folder)?;
    Ok(manifest)
}

/// Checks that a backup is whole, byte for byte.
pub fn verify(folder: &Path) -> Result<Manifest, BackupError> {
    let refused = |reason: String| BackupError::NotWhole { folder: folder.to_owned(), reason };
    let text = match fs::read_to_string(folder.join(MANIFEST)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused(format!("there is no {MANIFEST} in it")));
        }
        text => text.map_err(io_error("read", &folder.join(MANIFEST)))?,
    };
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| refused(format!("{MANIFEST}: {error}")))?;
    if manifest.version != 1 {
        return Err(refused(format!(
            "it is of form {}, and this program reads 1; use a newer deeptrace",
            manifest.version
        )));
    }
    let found = sums(folder)?;
    for file in &manifest.files {
        match found.iter().find(|it| it.path == file.path) {
            None => return Err(refused(format!("{} is missing", file.path))),
            Some(it) if it != file => return Err(refused(format!("{} was changed", file.path))),
            Some(_) => {}
        }
    }
    Ok(manifest)
}

/// Whether a folder is not there or has nothing in it.
pub fn is_empty(folder: &Path) -> Result<bool, BackupError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io_error("read", folder)(error)),
    }
}

/// Adds a tombstone to those that are applied when a backup in `folder` is restored.
pub fn add_tombstone(folder: &Path, tombstone: &Tombstone) -> io::Result<()> {
    let mut line = serde_json::to_vec(tombstone)?;
    line.push(b'\n');
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(folder.join(TOMBSTONES))?;
    file.write_all(&line)?;
    file.sync_all()
}

/// The tombstones that are kept beside the backup in `folder`.
pub fn tombstones(folder: &Path) -> Result<Vec<Tombstone>, BackupError> {
    let Some(parent) = folder.canonicalize().ok().and_then(|it| it.parent().map(Path::to_owned))
    else {
        return Ok(Vec::new());
    };
    let path = parent.join(TOMBSTONES);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    let (mut all, mut reader, mut line) = (Vec::new(), BufReader::new(file), Vec::new());
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_LEN_MAX).read_until(b'\n', &mut line);
        if read.map_err(io_error("read", &path))? == 0 {
            return Ok(all);
        }
        // A line that is cut was never acknowledged.
        if line.ends_with(b"\n") {
            let tombstone =
                serde_json::from_slice(&line).map_err(|error| BackupError::NotWhole {
                    folder: parent.clone(),
                    reason: format!("{TOMBSTONES}: {error}"),
                })?;
            all.push(tombstone);
        }
    }
}

/// All files below `folder` but the manifest, by path.
fn sums(folder: &Path) -> Result<Vec<FileSum>, BackupError> {
    let (mut all, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).map_err(io_error("read", &inner))? {
            let path = entry.map_err(io_error("read", &inner))?.path();
            let kind = fs::symlink_metadata(&path).map_err(io_error("read", &path))?;
            if kind.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            if name == MANIFEST {
                continue;
            }
            if all.len() == FILES_MAX {
                let reason = format!("it has more than {FILES_MAX} files");
                return Err(BackupError::NotWhole { folder: folder.to_owned(), reason });
            }
            all.push(sum(&path, name).map_err(io_error("read", &path))?);
        }
    }
    all.sort_by(|a: &FileSum, b| a.path.cmp(&b.path));
    Ok(all)
}

fn sum(path: &Path, name: String) -> io::Result<FileSum> {
    let mut file = File::open(path)?;
    let (mut hash, mut piece, mut bytes) = (Sha256::new(), vec![0; 1 << 16], 0);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            let digits = hex(&hash.finalize());
            return Ok(FileSum { path: name, bytes, sha256: digits });
        }
        hash.update(&piece[..read]);
        bytes += read as u64;
    }
}

/// Makes a folder for its owner only.
pub fn make_folder(folder: &Path) -> Result<(), BackupError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(io_error("create folder", folder))
}

/// Writes a file for its owner only.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(io_error("write", path))
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|it| it.sync_all()).map_err(io_error("write", folder))
}

/// An error of the system, with what was tried.
pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::Io { action, path, error }
}
