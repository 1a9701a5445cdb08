//! `kill -9` at any moment loses at most what was not acknowledged.
//!
//! This test binary runs itself as the writer, which names every batch on its standard output
//! once it was acknowledged, and is killed in the middle of its work, again and again on the same
//! folder. Beside writing it removes spans and makes backups, and says so as well.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use deeptrace_model::WallTime;
use deeptrace_store::{
    Batch, LinkKey, LinkLookup, Mode, Options, Removal, SpanKey, SpanLookup, Store, TABLE, Window,
};

mod sample;
use sample::{BEGIN, SECOND, link, span};

const FOLDER: &str = "DEEPTRACE_TEST_CRASH_FOLDER";
const BACKEND: &str = "DEEPTRACE_TEST_CRASH_BACKEND";
const FROM: &str = "DEEPTRACE_TEST_CRASH_FROM";
const ROUNDS: u64 = 25;
const DAY: u64 = 24 * 3600 * SECOND;
/// Batch `n` holds the spans and links from `n * BATCH_LEN`.
const BATCH_LEN: u64 = 50;

fn batch(n: u64) -> Batch {
    let range = n * BATCH_LEN..(n + 1) * BATCH_LEN;
    Batch {
        spans: range.clone().map(span).collect(),
        links: range.filter(|n| n % 2 == 0).map(link).collect(),
        ..Batch::default()
    }
}

/// The writer, when this binary was started as one: writes until it is killed.
#[test]
fn writer() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let options = Options::new(folder);
    let name = std::env::var(BACKEND).unwrap();
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let store = deeptrace_store::open(&name, &options, Mode::Write).unwrap();
    for n in from.. {
        store.write(&batch(n)).unwrap();
        // The harness of tests captures `println!`.
        writeln!(std::io::stdout(), "acknowledged {n}").unwrap();
        store.heartbeat(WallTime(BEGIN + n)).unwrap();
        // All of it is settled: full batches are compacted as well.
        store.maintain(WallTime(BEGIN + DAY)).unwrap();
    }
}

/// Spans of batch `n` that are removed after it was written.
fn erased(n: u64) -> impl Iterator<Item = u64> {
    (n * BATCH_LEN..(n + 1) * BATCH_LEN).filter(|n| n.is_multiple_of(5))
}

fn by_id(numbers: impl Iterator<Item = u64>) -> Vec<SpanLookup> {
    numbers.map(|n| SpanLookup { key: SpanKey::Id(span(n).id), window: Window::ALL }).collect()
}

/// The eraser, when this binary was started as one: writes a batch, removes a part of it, purges and backs
/// up, over and over until it is killed.
#[test]
fn eraser() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let name = std::env::var(BACKEND).unwrap();
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let options = Options::new(&folder);
    let store = deeptrace_store::open(&name, &options, Mode::Write).unwrap();
    let say = |what: &str, n: u64| writeln!(std::io::stdout(), "{what} {n}").unwrap();
    for n in from.. {
        store.write(&batch(n)).unwrap();
        say("acknowledged", n);
        store.remove(Removal::Spans(&by_id(erased(n)))).unwrap();
        say("removed", n);
        store.maintain(WallTime(BEGIN)).unwrap();
        if n % 3 == 0 {
            store.purge().unwrap();
        }
        if n % 3 == 1 {
            let copy = Path::new(&folder).with_extension(format!("copy-{n}"));
            std::fs::create_dir(&copy).unwrap();
            store.backup(&copy, &mut |_| ()).unwrap();
            say("backed-up", n);
        }
    }
}

/// Starts this binary as `role` at batch `from`, kills it `life` after it has said so much, and returns
/// what it said.
fn killed(
    role: &str,
    backend: &str,
    folder: &Path,
    from: u64,
    (words, life): (usize, Duration),
) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([role, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(BACKEND, backend)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The harness says something first, and may have begun the line.
    let is_word = |line: &String| line.contains("acknowledged ") || line.contains("removed ");
    let (mut first, mut count) = (Vec::new(), 0);
    while count < words
        && let Some(line) = lines.next()
    {
        count += usize::from(is_word(&line));
        first.push(line);
    }
    let end = Instant::now() + life;
    let reader = std::thread::spawn(move || lines.collect::<Vec<String>>());
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    child.kill().unwrap();
    child.wait().unwrap();
    [first, reader.join().unwrap()].concat()
}

/// The numbers behind `word`.
fn numbers(said: &[String], word: &str) -> Vec<u64> {
    let number = |line: &String| line.split_once(&format!("{word} "))?.1.parse().ok();
    said.iter().filter_map(number).collect()
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    // Those that servers keep have a test with the server killed, in `elastic.rs`.
    for backend in TABLE.iter().filter(|backend| !backend.is_shared) {
        let folder = tempfile::tempdir().unwrap();
        let mut acknowledged = BTreeSet::new();
        let mut next = 0;
        for round in 0..ROUNDS {
            // Different moments of a batch's life: writing, committing, merging.
            let life = Duration::from_micros(500 + round * 7919 % 60_000);
            let least = 1 + (round % 3) as usize;
            let said = killed("writer", backend.name, folder.path(), next, (least, life));
            let new = numbers(&said, "acknowledged");
            assert!(new.len() >= least, "round {round}: the writer acknowledged {new:?}");
            acknowledged.extend(new);
            // The batch after the last acknowledged one may have been committed or not: it is
            // written again, and must count once.
            next = acknowledged.last().unwrap() + 1;

            let options = Options::new(folder.path());
            let store = deeptrace_store::open(backend.name, &options, Mode::Write).unwrap();
            let keys: Vec<SpanLookup> = acknowledged
                .iter()
                .flat_map(|n| n * BATCH_LEN..(n + 1) * BATCH_LEN)
                .map(|n| SpanLookup { key: SpanKey::Id(span(n).id), window: Window::ALL })
                .collect();
            let found = store.spans(&keys, usize::MAX).unwrap();
            assert_eq!(found.len(), keys.len(), "round {round}: acknowledged spans are missing");
            let links: Vec<LinkLookup> = acknowledged
                .iter()
                .flat_map(|n| n * BATCH_LEN..(n + 1) * BATCH_LEN)
                .filter(|n| n % 2 == 0)
                .map(|n| LinkLookup { key: LinkKey::Child(span(n).id), window: Window::ALL })
                .collect();
            assert_eq!(store.links(&links, usize::MAX).unwrap().len(), links.len());
            // Whatever else is there is a whole batch: the one that was not acknowledged.
            let spans = store.stats().unwrap().spans;
            let at_most = (acknowledged.len() as u64 + round + 1) * BATCH_LEN;
            assert!(
                spans <= at_most && spans.is_multiple_of(BATCH_LEN),
                "{spans} of {at_most} spans"
            );
            for n in
                acknowledged.iter().rev().take(2).flat_map(|n| n * BATCH_LEN..n * BATCH_LEN + 3)
            {
                let lookup = SpanLookup { key: SpanKey::Id(span(n).id), window: Window::ALL };
                assert_eq!(*store.spans(&[lookup], 9).unwrap()[0], span(n));
            }
        }
        assert!(acknowledged.len() as u64 > ROUNDS, "{} batches in all", acknowledged.len());
    }
}

#[test]
fn removing_purging_and_backing_up_lose_nothing_and_leave_no_half() {
    // Those that servers keep have a test with the server killed, in `elastic.rs`.
    for backend in TABLE.iter().filter(|backend| !backend.is_shared) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        let options = Options::new(&folder);
        let (mut acknowledged, mut removed, mut copied) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut next = 0;
        for round in 0..ROUNDS {
            // Different moments: of the first batches, and of what is done with each.
            let words = 1 + round as usize % 9;
            let life = Duration::from_micros(500 + round * 15_838 % 60_000);
            let said = killed("eraser", backend.name, &folder, next, (words, life));
            acknowledged.extend(numbers(&said, "acknowledged"));
            removed.extend(numbers(&said, "removed"));
            copied.extend(numbers(&said, "backed-up"));
            // One that was written and not acknowledged must not meet its own backup.
            next = acknowledged.last().unwrap() + 3;

            let store = deeptrace_store::open(backend.name, &options, Mode::Write).unwrap();
            check(&*store, &acknowledged, &removed);
            // What broke off is removed by the same call.
            let open: Vec<u64> = acknowledged.difference(&removed).copied().collect();
            for n in open {
                store.remove(Removal::Spans(&by_id(erased(n)))).unwrap();
                removed.insert(n);
            }
            check(&*store, &acknowledged, &removed);
        }
        assert!(removed.len() as u64 > ROUNDS, "{} removals in all", removed.len());
        let mut whole = 0;
        for entry in std::fs::read_dir(parent.path()).unwrap() {
            let path = entry.unwrap().path();
            let Some(n) = path.extension().and_then(|it| it.to_str()?.strip_prefix("copy-")) else {
                continue;
            };
            let n: u64 = n.parse().unwrap();
            let target = Options::new(parent.path().join(format!("restored-{n}")));
            match (backend.restore)(&target, &path) {
                Ok(()) => {
                    let copy = deeptrace_store::open(backend.name, &target, Mode::Read).unwrap();
                    let before: BTreeSet<u64> =
                        acknowledged.iter().copied().filter(|it| *it <= n).collect();
                    check(&*copy, &before, &before);
                    whole += 1;
                }
                Err(error) => assert!(!copied.contains(&n), "backup {n} was acknowledged: {error}"),
            }
        }
        assert!(whole > 0, "no backup was made in {ROUNDS} rounds");
    }
}

/// What was acknowledged is there but for what was removed, which is not.
fn check(store: &dyn Store, acknowledged: &BTreeSet<u64>, removed: &BTreeSet<u64>) {
    for n in acknowledged {
        let all = n * BATCH_LEN..(n + 1) * BATCH_LEN;
        let stays = by_id(all.filter(|it| !it.is_multiple_of(5)));
        assert_eq!(store.spans(&stays, usize::MAX).unwrap().len(), stays.len(), "batch {n}");
        let gone = store.spans(&by_id(erased(*n)), usize::MAX).unwrap();
        assert!(gone.is_empty() || !removed.contains(n), "{} came back in batch {n}", gone.len());
        let key = |it: u64| LinkLookup { key: LinkKey::Child(span(it).id), window: Window::ALL };
        let links = store.links(&erased(*n).map(key).collect::<Vec<_>>(), usize::MAX).unwrap();
        assert!(links.is_empty() || !removed.contains(n), "links of batch {n} are left");
    }
}
