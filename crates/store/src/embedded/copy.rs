//! Copy: the database as it was at one moment, into a backup and out of it.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::database::{self, FILE, failed};
use crate::{Mode, Options, StoreError};

/// Pages copied in one go: about ten milliseconds.
const STEP_PAGES: i32 = 512;
/// Between two such, so that whoever wants the processor or the disk gets it.
const REST: Duration = Duration::from_millis(5);
/// Name of a copy that is not whole.
const PART: &str = "spans.db.part";

/// Copies the database in `from` into `folder`. All of it is read in one transaction, so what is
/// committed meanwhile is not in the copy, and the log of the database grows until the end.
pub(super) fn backup(
    from: &Path,
    folder: &Path,
    progress: &mut dyn FnMut(f32),
) -> Result<(), StoreError> {
    let source = database::open_reader(from, Mode::Write)?;
    let part = folder.join(PART);
    let copied = Connection::open(&part)
        .and_then(|mut copy| copy_pages(&source, &mut copy, progress))
        .map_err(failed(folder));
    let whole = copied.and_then(|()| {
        File::open(&part).and_then(|file| file.sync_all()).map_err(io("write", &part))?;
        fs::rename(&part, folder.join(FILE)).map_err(io("rename", &part))?;
        sync_folder(folder)
    });
    if whole.is_err() {
        let _may_not_be_there = fs::remove_file(&part);
    }
    whole
}

fn copy_pages(
    source: &Connection,
    copy: &mut Connection,
    progress: &mut dyn FnMut(f32),
) -> rusqlite::Result<()> {
    // A transaction of our own keeps the state; without it each commit would start the copy anew.
    source.execute_batch("BEGIN; SELECT count(*) FROM meta;")?;
    // Whether the copy is whole is told by its name, not by a journal.
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    let steps = Backup::new(source, copy)?;
    loop {
        let result = steps.step(STEP_PAGES)?;
        let left = steps.progress();
        let share = f64::from(left.remaining) / f64::from(left.pagecount.max(1));
        progress((1.0 - share) as f32);
        match result {
            StepResult::Done => break,
            _ => std::thread::sleep(REST),
        }
    }
    drop(steps);
    source.execute_batch("COMMIT")
}

/// Makes a store in the folder of `options` out of what [`backup`] wrote.
pub(crate) fn restore(options: &Options, from: &Path) -> Result<(), StoreError> {
    let refused = |reason: String| StoreError::NoBackup { folder: from.to_owned(), reason };
    let source = from.join(FILE);
    if !source.is_file() {
        return Err(refused(format!("there is no {FILE} in it")));
    }
    let sound = database::open_reader(from, Mode::Read).map_err(|error| match error {
        StoreError::Newer { .. } | StoreError::Older { .. } => error,
        error => refused(error.to_string()),
    })?;
    let check: String = sound
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| refused(error.to_string()))?;
    drop(sound);
    if check != "ok" {
        return Err(refused(check));
    }
    let folder = &options.folder;
    let _lock = database::lock(folder, None)?;
    let target = folder.join(FILE);
    if fs::exists(&target).unwrap_or(true) {
        return Err(StoreError::Occupied { place: folder.display().to_string() });
    }
    let part = folder.join(PART);
    fs::copy(&source, &part).map_err(io("copy to", &part))?;
    File::open(&part).and_then(|file| file.sync_all()).map_err(io("write", &part))?;
    fs::rename(&part, &target).map_err(io("rename", &part))?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|it| it.sync_all()).map_err(io("write", folder))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}
