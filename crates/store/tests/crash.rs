//! `kill -9` at any moment loses at most what was not acknowledged.
//!
//! This test binary runs itself as the writer, which names every batch on its standard output
//! once it was acknowledged, and is killed in the middle of its work, again and again on the same
//! folder.
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
    Batch, LinkKey, LinkLookup, Mode, Options, SpanKey, SpanLookup, TABLE, Window,
};

mod sample;
use sample::{BEGIN, link, span};

const FOLDER: &str = "DEEPTRACE_TEST_CRASH_FOLDER";
const BACKEND: &str = "DEEPTRACE_TEST_CRASH_BACKEND";
const FROM: &str = "DEEPTRACE_TEST_CRASH_FROM";
const ROUNDS: u64 = 25;
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
        store.maintain(WallTime(BEGIN)).unwrap();
    }
}

/// Starts the writer at batch `from`, kills it after `life` and returns what it acknowledged.
fn killed(backend: &str, folder: &Path, from: u64, life: Duration) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(BACKEND, backend)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: String| {
        // The harness may have begun the line.
        let (_, number) = line.split_once("acknowledged ")?;
        number.parse().ok()
    };
    // Its life begins with the first batch, or every round might die before one.
    let first = lines.by_ref().map_while(Result::ok).find_map(number);
    let mut acknowledged: Vec<u64> = first.into_iter().collect();
    let end = Instant::now() + life;
    let reader = std::thread::spawn(move || {
        lines.map_while(Result::ok).filter_map(number).collect::<Vec<u64>>()
    });
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(reader.join().unwrap());
    acknowledged
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    for backend in TABLE {
        let folder = tempfile::tempdir().unwrap();
        let mut acknowledged = BTreeSet::new();
        let mut next = 0;
        for round in 0..ROUNDS {
            // Different moments of a batch's life: writing, committing, merging.
            let life = Duration::from_micros(500 + round * 7919 % 60_000);
            let new = killed(backend.name, folder.path(), next, life);
            assert!(!new.is_empty(), "round {round}: the writer acknowledged nothing");
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
