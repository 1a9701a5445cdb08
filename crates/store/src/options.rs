//! Options: where a store lies and how much it may keep.

use std::path::PathBuf;

use deeptrace_model::Duration;

/// Where a store lies and how much it may keep.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; made with mode 0700 if it is not there.
    pub folder: PathBuf,
    /// Spans that ended longer ago are removed.
    pub retention: Duration,
    /// Bytes on disk above which the oldest spans are removed.
    pub max_bytes: u64,
    /// Bytes of decoded batches and filters kept in memory for the next question.
    pub cache_bytes: usize,
    /// Whether writing gives way to a busy application on the same processor: it takes up to four times
    /// as long then.
    pub is_gentle: bool,
}

impl Options {
    /// Seven days, 10 GiB on disk and 48 MiB of memory, in `folder`; as fast as can be.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            retention: Duration::from_secs(7 * 24 * 3600),
            max_bytes: 10 << 30,
            cache_bytes: 48 << 20,
            is_gentle: false,
        }
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reading and writing; one at a time for a folder.
    Write,
    /// Reading only, also while another process writes.
    Read,
}
