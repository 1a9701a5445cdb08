//! Database: the SQLite file in the data folder, its lock, schema and versions.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use deeptrace_model::WallTime;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use rustix::fs::{FlockOperation, flock};

use super::{catalogue, index, rollups};
use crate::holder::{Holder, LOCK};
use crate::{Mode, StoreError};

/// The database in the data folder.
pub(super) const FILE: &str = "spans.db";
/// "dtrc": what `file` and we know a store by.
const APPLICATION_ID: i32 = 0x6474_7263;
/// Version of the tables and of what is in their blobs.
pub(super) const SCHEMA_VERSION: u32 = 6;
/// The oldest version that is read, and brought up to the current one when it is opened for writing.
const SCHEMA_OLDEST: u32 = 2;

const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    -- One row a batch of spans (kind 0) or links (kind 1), with 2 added where it is compacted and 4 where
    -- its filter can be in an index. Times are nanoseconds since the epoch.
    CREATE TABLE batch (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind INTEGER NOT NULL,
        min_start INTEGER NOT NULL,
        max_start INTEGER NOT NULL,
        max_end INTEGER NOT NULL,
        longest INTEGER NOT NULL,
        count INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        services INTEGER NOT NULL,
        names INTEGER NOT NULL,
        operations BLOB NOT NULL
    );
    CREATE TABLE filter (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE body (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE gap (
        since INTEGER NOT NULL, until INTEGER NOT NULL, cause INTEGER NOT NULL,
        events INTEGER NOT NULL, bytes INTEGER NOT NULL
    );
    CREATE INDEX gap_until ON gap (until);
";

/// What version 4 added.
const ROLLUPS: &str = rollups::TABLE;
/// What version 6 added.
const INDICES: &str = index::TABLES;
const REMOVED: &str = catalogue::REMOVED;
/// What version 3 added.
const DOCUMENTS: &str = "
    CREATE TABLE document (
        name TEXT PRIMARY KEY, version INTEGER NOT NULL, body BLOB NOT NULL
    ) WITHOUT ROWID;
";

/// Makes the folder and takes its lock, which is held until the file is dropped; `address` is where this
/// process is asked meanwhile.
pub(super) fn lock(folder: &Path, address: Option<&str>) -> Result<File, StoreError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| StoreError::Io { action, path, source }
    };
    if !folder.is_dir() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(io("create folder", folder))?;
    }
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(io("open", &path))?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(io("lock", &path)(error.into()));
        }
        let mut text = String::new();
        let holder = file.read_to_string(&mut text).ok().and_then(|_| Holder::parse(&text));
        return Err(StoreError::InUse { folder: folder.to_owned(), holder });
    }
    // The note is a courtesy to other commands: on a full disk the store opens without it.
    let noted = file.set_len(0).and_then(|()| file.rewind());
    if noted.is_ok() {
        let _unnoted = writeln!(file, "{}", Holder::us(address));
    }
    Ok(file)
}

/// Opens the database for writing; the lock is held. Makes it if it is not there.
pub(super) fn open_writer(folder: &Path) -> Result<Connection, StoreError> {
    let path = folder.join(FILE);
    refuse_foreign(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(failed(folder))?;
    match check(&connection, folder, &path)? {
        0 => create(&connection).map_err(failed(folder))?,
        version => {
            connection.execute_batch("PRAGMA journal_mode = WAL").map_err(failed(folder))?;
            migrate(&connection, version).map_err(failed(folder))?;
        }
    }
    // Every commit reaches the disk before it is acknowledged. The log keeps its size, so that
    // old spans can be removed even when the disk is full.
    let settings = "
        PRAGMA synchronous = FULL;
        PRAGMA wal_autocheckpoint = 1000;
        PRAGMA cache_size = -2048;
        PRAGMA busy_timeout = 10000;
    ";
    connection.execute_batch(settings).map_err(failed(folder))?;
    Ok(connection)
}

/// Opens the database for reading, beside a writer of this or another process.
pub(super) fn open_reader(folder: &Path, mode: Mode) -> Result<Connection, StoreError> {
    let path = folder.join(FILE);
    if !fs::exists(&path).unwrap_or(true) {
        return Err(StoreError::Absent { place: folder.display().to_string() });
    }
    // The writer has looked already, and closing the file would end the locks that SQLite has on it
    // for the whole process (fcntl(2), "Record locks").
    if mode == Mode::Read {
        refuse_foreign(&path)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(failed(folder))?;
    let version = check(&connection, folder, &path)?;
    if mode == Mode::Read && version == 0 {
        return Err(StoreError::Absent { place: folder.display().to_string() });
    }
    let settings = "PRAGMA cache_size = -2048; PRAGMA busy_timeout = 10000; PRAGMA query_only = 1;";
    connection.execute_batch(settings).map_err(failed(folder))?;
    Ok(connection)
}

/// A very short file would be taken for an empty database, and overwritten.
fn refuse_foreign(path: &Path) -> Result<(), StoreError> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut head = Vec::new();
    let read = match File::open(path) {
        Ok(file) => file.take(MAGIC.len() as u64).read_to_end(&mut head).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    read.map_err(|source| StoreError::Io { action: "read", path: path.to_owned(), source })?;
    match MAGIC.starts_with(&head) {
        true => Ok(()),
        false => Err(StoreError::Foreign { path: path.to_owned() }),
    }
}

/// Version of the schema, zero for an empty file; an error if it is not ours to read.
fn check(connection: &Connection, folder: &Path, path: &Path) -> Result<u32, StoreError> {
    let foreign = || StoreError::Foreign { path: path.to_owned() };
    let pragma = |name| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(|error| {
            match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase) => foreign(),
                _ => failed(folder)(error),
            }
        })
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let empty = pragma("schema_version")? == 0;
    if empty {
        return Ok(0);
    }
    if application != APPLICATION_ID || version < 1 {
        return Err(foreign());
    }
    let found = version as u32;
    if found > SCHEMA_VERSION {
        let (place, supported) = (folder.display().to_string(), SCHEMA_VERSION);
        return Err(StoreError::Newer { place, found, supported });
    }
    if found < SCHEMA_OLDEST {
        let (folder, supported) = (folder.to_owned(), SCHEMA_VERSION);
        return Err(StoreError::Older { folder, found, supported });
    }
    Ok(found)
}

/// Makes the tables, all in one transaction.
fn create(connection: &Connection) -> rusqlite::Result<()> {
    // These three cannot be changed once a page is written.
    connection.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;",
    )?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {SCHEMA} {DOCUMENTS} {ROLLUPS} {INDICES} {REMOVED}
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    ))
}

/// Brings the tables from `version` to the current one, all in one transaction.
fn migrate(connection: &Connection, version: u32) -> rusqlite::Result<()> {
    if version == SCHEMA_VERSION {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = add(connection, version)
        .and_then(|()| connection.pragma_update(None, "user_version", SCHEMA_VERSION));
    // What was not committed is undone when the connection is closed.
    migrated.and_then(|()| connection.execute_batch("COMMIT"))
}

/// Adds what `version` lacks. Version 5 has no more tables: it compacts batches, which says a bit of
/// `batch.kind`, and bodies say their form.
fn add(connection: &Connection, version: u32) -> rusqlite::Result<()> {
    if version < 3 {
        connection.execute_batch(DOCUMENTS)?;
    }
    if version < 4 {
        connection.execute_batch(ROLLUPS)?;
        rollups::migrate(connection)?;
    }
    if version < 6 {
        connection.execute_batch(INDICES)?;
        connection.execute_batch(REMOVED)?;
        connection.execute_batch("DELETE FROM meta WHERE key = 'removals'")?;
    }
    Ok(())
}

/// Whether there is a table of that name: not all are in a store of an older version that was opened for
/// reading.
pub(super) fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?";
    Ok(connection.prepare_cached(sql)?.query_row([name], |_| Ok(())).optional()?.is_some())
}

/// What an error of SQLite means to our callers.
pub(super) fn failed(folder: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    let folder = folder.to_owned();
    // Growing the shared index of the log fails with this code when the disk is full.
    const SHM_SIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
    move |source| match &source {
        rusqlite::Error::SqliteFailure(error, _)
            if error.code == ErrorCode::DiskFull || error.extended_code == SHM_SIZE =>
        {
            StoreError::Full { place: folder.display().to_string() }
        }
        _ => StoreError::Database { folder: folder.clone(), source },
    }
}

/// A time that SQLite compares: later than the year 2262 is the year 2262.
pub(super) fn moment(time: WallTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Gives free pages back to the file system, so many at most; returns how many are left.
pub(super) fn give_back(connection: &Connection, pages: i64) -> rusqlite::Result<i64> {
    let mut query = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    // It gives one back for each row that is asked for.
    let mut rows = query.query([])?;
    while rows.next()?.is_some() {}
    connection.pragma_query_value(None, "freelist_count", |row| row.get(0))
}

/// Bytes of the pages that hold something.
pub(super) fn bytes_in_use(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).max(0) as u64)
}
