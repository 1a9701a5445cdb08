//! `StoreError`: what went wrong, whose fault it is, and whether to try again.

use std::path::PathBuf;

use crate::Holder;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever asked: the configuration or the call is wrong.
    Caller,
    /// The host: no space, no permission, a bad disk.
    Host,
    /// What is stored cannot be read.
    Data,
    /// This program.
    Program,
}

/// What went wrong; the text fits after "failed to open the store:" and the like.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No row of the table has this name.
    #[error(
        "no storage backend is named `{name}`; choose one of: {}",
        crate::TABLE.iter().map(|backend| backend.name).collect::<Vec<_>>().join(", ")
    )]
    UnknownBackend {
        /// What was asked for.
        name: String,
    },
    /// Another process writes to this folder.
    #[error(
        "data folder {} is in use{}; stop that one or choose another --data-dir",
        folder.display(),
        holder.as_ref().map(|holder| format!(" by process {}", holder.pid)).unwrap_or_default()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// That process, where it can be told.
        holder: Option<Holder>,
    },
    /// There is no store to read.
    #[error(
        "no spans are stored in {place}; start `deeptrace run`, or give its --data-dir and --config"
    )]
    Absent {
        /// The folder, or the indices.
        place: String,
    },
    /// Written by a newer version of the program.
    #[error(
        "{place} has schema version {found}, this program reads up to {supported}; use a newer deeptrace"
    )]
    Newer {
        /// The folder, or the indices.
        place: String,
        /// Version in the store.
        found: u32,
        /// The highest that this program reads.
        supported: u32,
    },
    /// Written by a version of the program that this one cannot read.
    #[error(
        "{} has schema version {found}, of which no release was made, and this program reads {supported}; \
         move it away or choose another --data-dir",
        folder.display()
    )]
    Older {
        /// The folder.
        folder: PathBuf,
        /// Version in the store.
        found: u32,
        /// The only one that this program reads.
        supported: u32,
    },
    /// A file of that name is there, and it is no store.
    #[error("{} is not a deeptrace store; choose another --data-dir", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// No space is left; nothing of the batch was written.
    #[error("no space is left on the disk of {place}; free some, or lower storage.max_bytes")]
    Full {
        /// The folder, or the indices.
        place: String,
    },
    /// The folder holds no whole backup of this kind of store.
    #[error("{} is no backup that can be restored: {reason}", folder.display())]
    NoBackup {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A store is already where one was to be made.
    #[error("there is a store in {place} already; choose another place")]
    Occupied {
        /// The folder, or the indices.
        place: String,
    },
    /// The store was opened for reading.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// A document is larger than documents may be.
    #[error("a document of {bytes} bytes does not fit into {limit}")]
    DocumentSize {
        /// Bytes of its name or body.
        bytes: usize,
        /// As many are allowed.
        limit: usize,
    },
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What the configuration says of a server cannot be used.
    #[error("{key}: {reason}")]
    Configuration {
        /// Dotted key.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// No server of the store answers.
    #[error(
        "{place} cannot be reached: {reason}; is it running, and are elasticsearch.hosts right?"
    )]
    Unreachable {
        /// Addresses.
        place: String,
        /// What happened at the last one.
        reason: String,
    },
    /// A server of the store cannot do it now.
    #[error("{place} is not ready or has too much to do: {reason}")]
    Busy {
        /// Its address.
        place: String,
        /// What it said.
        reason: String,
    },
    /// A server of the store does not let us.
    #[error(
        "{place} does not let us {action}: {reason}; check elasticsearch.username and password or api_key, \
         and what they may do"
    )]
    Denied {
        /// Its address.
        place: String,
        /// What was asked.
        action: String,
        /// What it said.
        reason: String,
    },
    /// A server of the store refused what should have been right.
    #[error("{place} refused {action}: {reason}")]
    Refused {
        /// Its address.
        place: String,
        /// What was asked.
        action: String,
        /// What it said.
        reason: String,
    },
    /// A server of the store takes everything but a record of this batch, now and later.
    #[error("{place} will never take a record: {reason}")]
    Unfit {
        /// Its address.
        place: String,
        /// What it said.
        reason: String,
    },
    /// What answers is no server that we know.
    #[error("{place} is neither OpenSearch nor Elasticsearch 7.8 or later: {reason}")]
    Unknown {
        /// Its address.
        place: String,
        /// What is missing.
        reason: String,
    },
    /// SQLite failed in a way that has no name here.
    #[error("database in {}: {source}", folder.display())]
    Database {
        /// The folder.
        folder: PathBuf,
        /// What it said.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::UnknownBackend { .. }
            | Self::InUse { .. }
            | Self::Absent { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Foreign { .. }
            | Self::NoBackup { .. }
            | Self::Occupied { .. }
            | Self::Configuration { .. }
            | Self::Denied { .. }
            | Self::Unknown { .. } => Fault::Caller,
            Self::Full { .. } | Self::Io { .. } | Self::Unreachable { .. } | Self::Busy { .. } => {
                Fault::Host
            }
            Self::ReadOnly
            | Self::DocumentSize { .. }
            | Self::Refused { .. }
            | Self::Unfit { .. } => Fault::Program,
            Self::Database { source, .. } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    Fault::Data
                }
                Some(
                    rusqlite::ErrorCode::SystemIoFailure
                    | rusqlite::ErrorCode::CannotOpen
                    | rusqlite::ErrorCode::PermissionDenied
                    | rusqlite::ErrorCode::DatabaseBusy,
                ) => Fault::Host,
                _ => Fault::Program,
            },
        }
    }

    /// Whether the same call may succeed later without anything being changed in the call.
    pub fn retry(&self) -> bool {
        match self {
            Self::InUse { .. }
            | Self::Full { .. }
            | Self::Io { .. }
            | Self::Unreachable { .. }
            | Self::Busy { .. } => true,
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    rusqlite::ErrorCode::SystemIoFailure
                        | rusqlite::ErrorCode::DatabaseBusy
                        | rusqlite::ErrorCode::DatabaseLocked
                        | rusqlite::ErrorCode::OutOfMemory
                )
            ),
            _ => false,
        }
    }
}
