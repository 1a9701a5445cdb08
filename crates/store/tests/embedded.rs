//! What only the embedded backend promises: its folder, its versions, a full disk, damage.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
    sync::Arc,
};

use deeptrace_model::WallTime;
use deeptrace_store::{
    Batch, Expected, Fault, Filter, LinkKey, LinkLookup, Mode, Options, Removal, Rollups, SpanKey,
    SpanLookup, Step, Store, StoreError, Window,
};

mod sample;
use sample::{BEGIN, SECOND, link, span};

fn open(folder: &Path, mode: Mode) -> Result<Arc<dyn Store>, StoreError> {
    deeptrace_store::open("embedded", &Options::new(folder), mode)
}

fn batch(from: u64, len: u64) -> Batch {
    let spans = (from..from + len).map(span).collect();
    Batch { spans, links: vec![link(from)], ..Batch::default() }
}

fn count(store: &dyn Store) -> usize {
    let (mut count, mut after) = (0, None);
    loop {
        let page = store.scan(&Filter::default(), after, 1000).unwrap();
        count += page.spans.len();
        after = page.next;
        if after.is_none() {
            return count;
        }
    }
}

fn counter(store: &dyn Store, wanted: &str) -> u64 {
    let mut found = None;
    store.counters(&mut |name, value| found = found.or((name == wanted).then_some(value)));
    found.unwrap()
}

#[test]
fn the_folder_is_made_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a/data");
    let store = open(&data, Mode::Write).unwrap();
    store.write(&batch(0, 10)).unwrap();
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn newer_and_foreign_files_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spans.db");
    drop(open(folder.path(), Mode::Write).unwrap());
    for found in [1, 7] {
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.execute_batch(&format!("PRAGMA user_version = {found}")).unwrap();
        drop(connection);
        let before = fs::read(&file).unwrap();
        for mode in [Mode::Write, Mode::Read] {
            let error = open(folder.path(), mode).err().unwrap();
            let is_right = match error {
                StoreError::Older { found: 1, supported: 6, .. } => found == 1,
                StoreError::Newer { found: 7, supported: 6, .. } => found == 7,
                _ => false,
            };
            assert!(is_right, "{error}");
            assert_eq!((error.fault(), error.retry()), (Fault::Caller, false));
        }
        assert!(fs::read(&file).unwrap() == before, "a refused store was changed");
    }

    for foreign in
        [&b"these are no spans, but more than a hundred bytes of text".repeat(9)[..], b"x"]
    {
        fs::write(&file, foreign).unwrap();
        for mode in [Mode::Write, Mode::Read] {
            let error = open(folder.path(), mode).err().unwrap();
            assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), foreign);
    }
    fs::remove_file(&file).unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(other);
    let error = open(folder.path(), Mode::Write).err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[test]
fn stores_of_older_versions_are_read_and_migrated() {
    for version in [2, 3, 5] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), Mode::Write).unwrap();
        store.write(&batch(0, 100)).unwrap();
        drop(store);
        let old = rusqlite::Connection::open(folder.path().join("spans.db")).unwrap();
        old.execute_batch("DROP TABLE key_index; DROP TABLE key_slice; DROP TABLE removed")
            .unwrap();
        if version < 4 {
            old.execute_batch("DROP TABLE rollup").unwrap();
        }
        if version < 3 {
            old.execute_batch("DROP TABLE document").unwrap();
        }
        old.pragma_update(None, "user_version", version).unwrap();
        drop(old);

        let reader = open(folder.path(), Mode::Read).unwrap();
        assert_eq!(count(&*reader), 100);
        assert_eq!(reader.documents("", None, 9).unwrap(), []);
        let rollups = reader.rollups(Window::ALL, Step::Hour, None).unwrap();
        assert_eq!(rollups == Rollups::default(), version < 4);
        let writer = open(folder.path(), Mode::Write).unwrap();
        writer.put_document("lease/backup", Some(b"us"), Expected::Absent).unwrap().unwrap();
        assert_eq!(count(&*writer), 100);
        assert_eq!(reader.documents("", None, 9).unwrap().len(), 1);
        let rollups = reader.rollups(Window::ALL, Step::Hour, None).unwrap();
        let operations = writer.operations(Window::ALL, None).unwrap();
        assert_eq!(rollups.operations.len(), operations.len());
        for (rollup, operation) in rollups.operations.iter().zip(operations) {
            let counted = (operation.spans, operation.errors, operation.total, operation.longest);
            let tally = &rollup.tally;
            assert_eq!((tally.spans, tally.errors, tally.total, tally.longest), counted);
            // Batches had counted their operations before there were sums, but no percentiles.
            assert_eq!(tally.quantile(0.5).is_none(), version < 4);
        }
        // What a newer program removes is seen by a reader that knew the older store.
        let lookup = SpanLookup { key: SpanKey::Id(span(5).id), window: Window::ALL };
        assert_eq!(writer.remove(Removal::Spans(&[lookup])).unwrap().spans, 1);
        assert_eq!((count(&*reader), count(&*writer)), (99, 99));
    }
}

#[test]
fn settled_batches_are_compacted_once_and_answer_as_before() {
    const DAY: u64 = 24 * 3600 * SECOND;
    const SPANS: u64 = 5 * 4096;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Mode::Write).unwrap();
    for from in (0..SPANS).step_by(4096) {
        let spans = (from..from + 4096).map(span).collect();
        let links = (from..from + 4096).filter(|n| n % 2 == 0).map(link).collect();
        store.write(&Batch { spans, links, ..Batch::default() }).unwrap();
    }
    let settle = || {
        let mut merged = 0;
        loop {
            let done = store.maintain(WallTime(BEGIN + DAY)).unwrap();
            merged += done.merged;
            if !done.more {
                return merged;
            }
        }
    };
    let ask = || {
        let mut spans = Vec::new();
        let mut after = None;
        loop {
            let page = store.scan(&Filter::default(), after, 1000).unwrap();
            spans.extend(page.spans);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let children = (0..SPANS)
            .step_by(64)
            .map(|n| LinkLookup { key: LinkKey::Child(span(n).id), window: Window::ALL });
        let links = store.links(&children.collect::<Vec<_>>(), usize::MAX).unwrap();
        (spans, links)
    };
    let before = (ask(), store.stats().unwrap());
    assert_eq!((before.0.0.len(), before.0.1.len()), (SPANS as usize, SPANS as usize / 64));
    assert!(settle() > 0);
    let after = (ask(), store.stats().unwrap());
    assert!(before.0 == after.0, "compaction changed an answer");
    assert!(after.1.bytes < before.1.bytes, "{:?} {:?}", before.1, after.1);
    let connection = rusqlite::Connection::open(folder.path().join("spans.db")).unwrap();
    let counts = |kinds: &str| -> Vec<u64> {
        let sql = format!("SELECT count FROM batch WHERE kind IN ({kinds}) ORDER BY min_start");
        let mut query = connection.prepare(&sql).unwrap();
        let rows = query.query_map([], |row| row.get::<_, i64>(0).map(|it| it as u64));
        rows.unwrap().map(Result::unwrap).collect()
    };
    // Links are half as many: two batches of them are merged into a full one first. All are compacted; the
    // filter of the last one, which is half full, has too few buckets to be cut.
    assert_eq!((counts("6"), counts("7"), counts("3")), (vec![4096; 5], vec![4096; 2], vec![2048]));
    assert!(counts("0, 1, 2, 4, 5").is_empty());
    assert_eq!(settle(), 0);
}

#[test]
fn keys_are_found_in_an_index_that_goes_with_its_batches() {
    const DAY: u64 = 24 * 3600 * SECOND;
    const LINKS: u64 = 64 * 4096;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Mode::Write).unwrap();
    for from in (0..LINKS).step_by(4096) {
        let links = (from..from + 4096).map(link).collect();
        store.write(&Batch { links, ..Batch::default() }).unwrap();
    }
    let settle = |store: &dyn Store, now| while store.maintain(WallTime(now)).unwrap().more {};
    settle(&*store, BEGIN + DAY);
    let connection = rusqlite::Connection::open(folder.path().join("spans.db")).unwrap();
    let rows = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((rows("key_index"), rows("key_slice"), rows("filter")), (1, 2048, 0));
    drop(store);

    let store = open(folder.path(), Mode::Write).unwrap();
    let asked = (0..LINKS).step_by(997);
    let lookups: Vec<LinkLookup> = (asked.clone())
        .flat_map(|n| [LinkKey::Child(span(n).id), LinkKey::Parent(span(n).id)])
        .map(|key| LinkLookup { key, window: Window::ALL })
        .collect();
    let found = store.links(&lookups, usize::MAX).unwrap();
    let expected: Vec<_> = asked.flat_map(|n| [link(n), link(n + 1)]).collect();
    assert!(found == expected, "{} links of {}", found.len(), expected.len());
    assert!(counter(&*store, "store_index_slices_read_total") > 100);
    assert_eq!(counter(&*store, "store_filters_read_total"), 0);
    // Of an id that nobody has, no batch is read, but by a rare mistake.
    let read = counter(&*store, "store_batches_read_total");
    let lookup = |n: u64| LinkLookup { key: LinkKey::Child(span(n).id), window: Window::ALL };
    let absent: Vec<LinkLookup> = (LINKS..LINKS + 20).map(lookup).collect();
    assert_eq!(store.links(&absent, usize::MAX).unwrap(), []);
    assert!(counter(&*store, "store_batches_read_total") < read + 5);

    let gone = SpanLookup { key: SpanKey::Id(span(5000).id), window: Window::ALL };
    let removed = store.remove(Removal::Spans(&[gone])).unwrap();
    assert_eq!((removed.spans, removed.links), (0, 2));
    let left: Vec<LinkLookup> = (4999..5003).map(lookup).collect();
    assert_eq!(store.links(&left, usize::MAX).unwrap(), [link(4999), link(5002)]);
    settle(&*store, BEGIN + 8 * DAY);
    assert_eq!((rows("batch"), rows("key_index"), rows("key_slice")), (0, 0, 0));
}

#[test]
fn a_damaged_batch_is_counted_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Mode::Write).unwrap();
    for n in 0..20 {
        store.write(&batch(n * 100, 100)).unwrap();
    }
    let connection = rusqlite::Connection::open(folder.path().join("spans.db")).unwrap();
    let bodies = "SELECT min(id), data FROM body JOIN batch USING (id) WHERE kind = 0";
    let (id, mut data): (i64, Vec<u8>) =
        connection.query_row(bodies, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let middle = data.len() / 2;
    data[middle] ^= 0x55;
    connection.execute("UPDATE body SET data = ? WHERE id = ?", (&data, id)).unwrap();
    assert_eq!(count(&*store), 1900);
    assert_eq!(count(&*store), 1900);
    assert_eq!(counter(&*store, "store_batches_damaged_total"), 1);
    // It is in nobody's way: the others are merged without it.
    let mut merged = 0;
    for _ in 0..10 {
        merged += store.maintain(WallTime(BEGIN)).unwrap().merged;
    }
    assert!(merged >= 16, "{merged}");
    assert_eq!(count(&*store), 1900);
}

/// The bytes of every file in `folder`, which has no folders in it.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.flat_map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn no_byte_of_what_was_removed_is_in_any_file_after_a_purge() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Mode::Write).unwrap();
    // Bytes that cannot be compressed, so that they lie in the files as they are; and a service, which
    // is in the counts of a batch as well.
    let random = |n: u64| -> Vec<u8> {
        (0..2048).flat_map(|at| deeptrace_model::hash64(&[n, at, 11]).to_le_bytes()).collect()
    };
    let secrets: Vec<(u64, Vec<u8>, String)> = (0..40)
        .map(|n| (n * 71, random(n), format!("{:016x}-clinic", deeptrace_model::hash64(&[n, 12]))))
        .collect();
    // Written in small batches that are merged, so that copies of it lie about.
    for from in (0..3000).step_by(50) {
        let mut batch = batch(from, 50);
        for (n, payload, service) in &secrets {
            if let Some(span) = batch.spans.iter_mut().find(|it| it.id == span(*n).id) {
                span.request_payload = payload.clone().into();
                span.service = service.as_str().into();
            }
        }
        store.write(&batch).unwrap();
        store.maintain(WallTime(BEGIN)).unwrap();
    }
    // How many payloads and services are in any file. A payload may go over several pages; parts of it
    // are looked for.
    let found = || {
        let bytes = all_bytes(folder.path());
        let has = |needle: &[u8]| memchr::memmem::find(&bytes, needle).is_some();
        let payloads =
            secrets.iter().filter(|(_, payload, _)| payload.chunks(32).step_by(64).any(has));
        let services = secrets.iter().filter(|(.., service)| has(service.as_bytes()));
        (payloads.count(), services.count())
    };
    let before = found();
    assert!(before.0 > 30 && before.1 > 30, "the search finds {before:?} of 40 that are there");

    let lookups: Vec<SpanLookup> = (secrets.iter())
        .map(|(n, ..)| SpanLookup { key: SpanKey::Id(span(*n).id), window: Window::ALL })
        .collect();
    let removed = store.remove(Removal::Spans(&lookups)).unwrap();
    assert_eq!(removed.spans, 40);
    let sums = store.rollups(Window::ALL, Step::Whole, None).unwrap();
    assert!(sums.operations.iter().all(|it| !it.operation.service.ends_with("-clinic")));
    assert!(sums.operations.iter().any(|it| it.operation.service == "users"));
    assert!(found().0 > 0, "nothing is left to be purged: the test shows nothing");
    store.purge().unwrap();
    assert_eq!(found(), (0, 0));
    assert_eq!(count(&*store), 3000 - 40);
    drop(store);
    assert_eq!(found(), (0, 0));
}

#[test]
fn a_batch_that_cannot_be_read_goes_if_it_may_hold_what_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Mode::Write).unwrap();
    store.write(&batch(0, 100)).unwrap();
    store.write(&batch(100, 100)).unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("spans.db")).unwrap();
    let bodies =
        "UPDATE body SET data = zeroblob(90) WHERE id IN (SELECT id FROM batch WHERE kind = 0)";
    assert_eq!(connection.execute(bodies, []).unwrap(), 2);
    let lookup = SpanLookup { key: SpanKey::Id(span(5).id), window: Window::ALL };
    let removed = store.remove(Removal::Spans(&[lookup])).unwrap();
    assert_eq!((removed.spans, removed.unreadable), (100, 100));
    assert_eq!(store.stats().unwrap().spans, 100);
}

#[test]
fn a_reader_keeps_its_state_while_the_store_is_purged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), Mode::Write).unwrap();
    let reader = open(folder.path(), Mode::Read).unwrap();
    store.write(&batch(0, 1000)).unwrap();
    assert_eq!(count(&*reader), 1000);
    let lookup = SpanLookup { key: SpanKey::Id(span(5).id), window: Window::ALL };
    store.remove(Removal::Spans(&[lookup])).unwrap();
    store.purge().unwrap();
    assert_eq!((count(&*reader), count(&*store)), (999, 999));
    assert_eq!(reader.spans(&[lookup], 9).unwrap(), []);
}

/// A small file system of its own, unmounted at the end.
struct Small(tempfile::TempDir);

impl Small {
    /// `None` where we may not mount.
    fn mount(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]);
        let is_mounted = command.arg(folder.path()).output().is_ok_and(|it| it.status.success());
        is_mounted.then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "umount {}",
            self.0.path().display()
        );
    }
}

#[test]
fn a_full_disk_is_an_error_and_writing_goes_on_when_there_is_space() {
    let Some(small) = Small::mount(8 << 20) else {
        eprintln!("SKIPPED: a full disk needs root, to mount a small one");
        return;
    };
    let data = small.0.path().join("data");
    let ballast = small.0.path().join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let store = open(&data, Mode::Write).unwrap();
    let mut written = 0;
    let error = loop {
        match store.write(&batch(written, 1000)) {
            Ok(()) => written += 1000,
            Err(error) => break error,
        }
        assert!(written < 1_000_000, "the disk never filled");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!((error.fault(), error.retry()), (Fault::Host, true));
    assert!(store.write(&batch(written, 1000)).is_err());
    // Nothing is half there, and reading goes on.
    assert_eq!(count(&*store) as u64, written);
    assert_eq!(store.stats().unwrap().links, written / 1000);

    fs::remove_file(&ballast).unwrap();
    store.write(&batch(written, 1000)).unwrap();
    assert_eq!(count(&*store) as u64, written + 1000);
    drop(store);
    let store = open(&data, Mode::Write).unwrap();
    assert_eq!(count(&*store) as u64, written + 1000);
}

#[test]
fn a_store_on_a_full_disk_opens_again() {
    let Some(small) = Small::mount(4 << 20) else {
        eprintln!("SKIPPED: a full disk needs root, to mount a small one");
        return;
    };
    let store = open(small.0.path(), Mode::Write).unwrap();
    store.write(&batch(0, 1000)).unwrap();
    drop(store);
    let free = small.0.path().join("ballast");
    let mut len = 4 << 20;
    while len > 0 {
        let before = fs::metadata(&free).map_or(0, |it| it.len());
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&free)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &vec![1; len]))
            .unwrap_or_default();
        len = if fs::metadata(&free).unwrap().size() > before { len } else { len / 2 };
    }
    let reader = open(small.0.path(), Mode::Read);
    match open(small.0.path(), Mode::Write) {
        Ok(store) => {
            assert_eq!(count(&*store), 1000);
            assert!(store.write(&batch(1000, 1000)).is_err());
        }
        Err(error) => assert!(matches!(error, StoreError::Full { .. }), "{error}"),
    }
    drop(reader);
    fs::remove_file(&free).unwrap();
    let store = open(small.0.path(), Mode::Write).unwrap();
    store.write(&batch(1000, 1000)).unwrap();
    assert_eq!(count(&*store), 2000);
}
