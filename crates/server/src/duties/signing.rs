//! Signing: the key in the data folder that signs receipts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use deeptrace_erase::{Key, KeyError, NoRandom};

use super::backup;

/// Its file, readable for its owner only.
pub const FILE: &str = "erase.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file holds something else.
    #[error("{}: {error}; move it away to have a new one made", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: KeyError,
    },
    /// None can be made.
    #[error(transparent)]
    Random(#[from] NoRandom),
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] backup::BackupError),
}

/// The key of a data folder; made where there is none.
pub fn open(data_dir: &Path) -> Result<Key, SigningError> {
    if let Some(key) = read(data_dir)? {
        return Ok(key);
    }
    let (key, text) = Key::make()?;
    backup::write_file(&data_dir.join(FILE), format!("{text}\n").as_bytes())?;
    Ok(key)
}

/// The key of a data folder; `None` where there is none.
pub fn read(data_dir: &Path) -> Result<Option<Key>, SigningError> {
    let path = data_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match Key::read(&text) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(SigningError::Foreign { path, error }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(backup::io_error("read", &path)(error).into()),
    }
}
