//! Daily: a backup once a day, by the one server that holds the lease. Of its own backups it keeps the
//! newest; others in the folder are not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deeptrace_http::format_time;
use deeptrace_model::WallTime;
use deeptrace_store::{Expected, Store, StoreError};
use tokio::sync::watch;

use super::{Duties, DutyError, backup};
use crate::clock;
use crate::config::BackupPlan;
use crate::lease::Lease;

/// How long the duty rests when its holder dies.
const TERM: Duration = Duration::from_secs(60);
/// Between two looks at the lease and the clock.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// After a failure.
const RETRY: Duration = Duration::from_secs(600);
/// Document with the day of the last one.
const LAST: &str = "backup/last";
/// Beginning of the names of its folders.
const PREFIX: &str = "deeptrace-";
/// End of the names of those that are not whole.
const PART: &str = ".part";
const DAY_S: u64 = 24 * 3600;

/// Makes backups by `plan` until `stop` turns true.
pub fn run(duties: &Arc<Duties>, plan: &BackupPlan, stop: &watch::Receiver<bool>) {
    let mut lease = Lease::new(Arc::clone(&duties.store), "backup", TERM);
    let mut rest_until = Instant::now();
    while !*stop.borrow() {
        if Instant::now() >= rest_until {
            match make_if_due(duties, plan, &mut lease) {
                Ok(()) => rest_until = Instant::now() + LOOK_EVERY,
                Err(error) => {
                    tracing::error!(%error, "the daily backup has failed; trying again in ten minutes");
                    duties.count_backup(false);
                    rest_until = Instant::now() + RETRY;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    if let Err(error) = lease.release() {
        tracing::debug!(%error, "the lease of backups ends by itself");
    }
}

fn make_if_due(
    duties: &Arc<Duties>,
    plan: &BackupPlan,
    lease: &mut Lease,
) -> Result<(), DutyError> {
    let now = clock::now();
    if !lease.hold(Instant::now())? || !is_due(now, plan.minute_of_day, last(&*duties.store)?) {
        return Ok(());
    }
    let name = format!("{PREFIX}{}", format_time(now)[..19].replace(':', "-"));
    let part = plan.folder.join(format!("{name}{PART}"));
    let mut renewed = Instant::now();
    duties.backup(&part, &mut |_| {
        if renewed.elapsed() > TERM / 4 {
            renewed = Instant::now();
            if let Err(error) = lease.hold(renewed) {
                tracing::warn!(%error, "cannot hold on to the lease of backups");
            }
        }
    })?;
    let whole = plan.folder.join(&name);
    fs::rename(&part, &whole).map_err(backup::io_error("rename", &part))?;
    let body = day(now).to_string();
    duties.store.put_document(LAST, Some(body.as_bytes()), Expected::Any)?;
    duties.count_backup(true);
    tracing::info!(folder = %whole.display(), "made the daily backup");
    forget(&plan.folder, plan.keep)
}

/// Days since the epoch, UTC.
fn day(time: WallTime) -> u64 {
    time.0 / 1_000_000_000 / DAY_S
}

/// Whether today's is to be made: its minute has come, and the last one is of an earlier day.
fn is_due(now: WallTime, minute_of_day: u32, last: Option<u64>) -> bool {
    let second_of_day = now.0 / 1_000_000_000 % DAY_S;
    second_of_day >= u64::from(minute_of_day) * 60 && last.is_none_or(|last| last < day(now))
}

fn last(store: &dyn Store) -> Result<Option<u64>, StoreError> {
    let document = store.document(LAST)?;
    Ok(document.and_then(|it| String::from_utf8(it.body).ok()?.parse().ok()))
}

/// Removes the oldest of its backups beyond `keep`, and what was left of those that broke off.
fn forget(folder: &Path, keep: usize) -> Result<(), DutyError> {
    let entries = fs::read_dir(folder).map_err(backup::io_error("read", folder))?;
    let mut ours: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.to_owned();
            (name.starts_with(PREFIX) && path.is_dir()).then_some((name, path))
        })
        .collect();
    ours.sort();
    let (parts, whole): (Vec<_>, Vec<_>) =
        ours.into_iter().partition(|(name, _)| name.ends_with(PART));
    let surplus = whole.len().saturating_sub(keep);
    for (_, path) in parts.iter().chain(whole.iter().take(surplus)) {
        fs::remove_dir_all(path).map_err(backup::io_error("remove", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_day_after_its_minute_also_when_it_was_missed() {
        let at = |day: u64, hour: u64| WallTime((day * DAY_S + hour * 3600) * 1_000_000_000);
        let three = 3 * 60;
        for (now, last, is_due) in [
            (at(20_000, 2), None, false),
            (at(20_000, 3), None, true),
            (at(20_000, 3), Some(19_999), true),
            (at(20_000, 9), Some(19_990), true),
            (at(20_000, 9), Some(20_000), false),
            (at(20_001, 2), Some(20_000), false),
        ] {
            assert_eq!(super::is_due(now, three, last), is_due, "{now:?} {last:?}");
        }
    }

    #[test]
    fn the_newest_stay_and_so_does_what_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "deeptrace-2026-01-01T03-00-00",
            "deeptrace-2026-01-02T03-00-00",
            "deeptrace-2026-01-03T03-00-00",
            "deeptrace-2026-01-03T02-00-00.part",
            "by-hand",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        forget(folder.path(), 2).unwrap();
        let left = fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> =
            left.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let kept = ["by-hand", "deeptrace-2026-01-02T03-00-00", "deeptrace-2026-01-03T03-00-00"];
        assert_eq!(left, kept);
    }
}
