//! The configuration file, looked at every other second: whoever changes it need not tell us.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks.
pub const LOOK: Duration = Duration::from_secs(2);

/// Which version of a file it is: its inode, length, and time of change (seconds, nanoseconds). A file that is put
/// in the place of another, also through a link, is another one.
type Version = (u64, u64, i64, i64);

/// A file that may change.
pub struct Watched {
    path: Option<PathBuf>,
    /// The one that is known.
    known: Option<Version>,
    /// The one that was there at the last look.
    seen: Option<Version>,
}

impl Watched {
    /// As it is now. No file never changes.
    pub fn new(path: Option<PathBuf>) -> Self {
        let mut watched = Self { path, known: None, seen: None };
        (watched.known, watched.seen) = (watched.version(), watched.version());
        watched
    }

    /// Whether there is another one than before, which nobody is still writing: it was the same at the last look.
    /// One that is gone is no reason to change anything.
    pub fn has_changed(&mut self) -> bool {
        let now = self.version();
        let is_written = now.is_some() && now == std::mem::replace(&mut self.seen, now);
        is_written && now != std::mem::replace(&mut self.known, now)
    }

    fn version(&self) -> Option<Version> {
        let metadata = std::fs::metadata(self.path.as_ref()?).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_has_changed_once_when_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeptrace.toml");
        fs::write(&path, "one").unwrap();
        let mut watched = Watched::new(Some(path.clone()));
        assert!(!watched.has_changed() && !watched.has_changed());
        fs::write(&path, "a longer one").unwrap();
        assert!(!watched.has_changed(), "somebody may still be writing");
        assert!(watched.has_changed() && !watched.has_changed());
        // As editors and configuration maps do it.
        fs::write(folder.path().join("new"), "a longer one").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!watched.has_changed() && watched.has_changed());
        fs::remove_file(&path).unwrap();
        assert!(!watched.has_changed() && !watched.has_changed());
        assert!(!Watched::new(None).has_changed());
    }
}
