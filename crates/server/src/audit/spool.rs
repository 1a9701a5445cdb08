//! Spool: commands that open the data folder themselves leave their lines in a file beside it, one
//! JSON object a line; the server takes them into its chain within a second, or when it starts.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::line::Draft;

/// Bytes of the file, at most: no server has taken it for long then.
const BYTES_MAX: u64 = 4 << 20;
/// Its name in the data folder.
const NAME: &str = "audit.spool";

/// Leaves a line of a command for the server.
pub fn note(folder: &Path, draft: Draft) -> io::Result<()> {
    let mut file = open(&folder.join(NAME))?;
    flock(&file, FlockOperation::LockExclusive)?;
    if file.metadata()?.len() > BYTES_MAX {
        return Err(io::Error::other("the spool is full; start a server, which takes it in"));
    }
    let mut line = serde_json::to_vec(&draft.bounded())?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)
}

/// The file of a data folder.
pub(super) struct Spool(PathBuf);

impl Spool {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder.join(NAME))
    }

    /// Gives what is there to `keep`, and empties the file where that kept it. Who dies in between
    /// keeps it twice, never not at all.
    pub(super) fn take(&self, keep: impl FnOnce(&[Draft]) -> bool) -> io::Result<()> {
        match std::fs::metadata(&self.0) {
            Ok(metadata) if metadata.len() > 0 => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
        let mut file = open(&self.0)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let mut text = String::new();
        (&mut file).take(2 * BYTES_MAX).read_to_string(&mut text)?;
        let drafts = text.lines().filter_map(|line| serde_json::from_str::<Draft>(line).ok());
        let drafts: Vec<Draft> = drafts.map(Draft::bounded).collect();
        if keep(&drafts) {
            file.set_len(0)?;
        }
        Ok(())
    }
}
