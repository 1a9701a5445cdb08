//! The writer between the pipeline and the store: what is acknowledged is stored, what the store
//! refuses waits, what cannot wait is a gap, and absence is a gap.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use deeptrace_model::{Gap, GapCause};
use deeptrace_server::clock;
use deeptrace_server::pipeline::{Ingest, NotTaken};
use deeptrace_store::{Batch, Layer, Mode, Options, Store, StoreError, Window};

/// A real store on a disk that can be full, and which never takes a gap of [`UNFIT`] events.
struct Disk {
    store: Arc<dyn Store>,
    folder: std::path::PathBuf,
    is_full: AtomicBool,
}

const UNFIT: u64 = 666;

impl Layer for Disk {
    fn below(&self) -> &dyn Store {
        &*self.store
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.is_full.load(SeqCst) {
            return Err(StoreError::Full { place: self.folder.display().to_string() });
        }
        if batch.gaps.iter().any(|gap| gap.events == UNFIT) {
            let place = self.folder.display().to_string();
            return Err(StoreError::Unfit { place, reason: "mapper_parsing_exception".to_owned() });
        }
        self.store.write(batch)
    }
}

fn open(folder: &std::path::Path) -> Arc<dyn Store> {
    deeptrace_store::open("embedded", &Options::new(folder), Mode::Write).unwrap()
}

fn disk(folder: &std::path::Path, is_full: bool) -> Arc<Disk> {
    let is_full = AtomicBool::new(is_full);
    Arc::new(Disk { store: open(folder), folder: folder.to_owned(), is_full })
}

/// A batch that is recognised by its one gap.
fn batch(events: u64) -> Batch {
    let now = clock::now();
    let gap = Gap { from: now, to: now, cause: GapCause::RingFull, events, bytes: 0 };
    Batch { gaps: vec![gap], ..Batch::default() }
}

fn events(store: &dyn Store) -> Vec<u64> {
    let gaps = store.gaps(Window::ALL, 1_000).unwrap();
    let ours = gaps.iter().filter(|gap| gap.cause == GapCause::RingFull);
    ours.map(|gap| gap.events).collect()
}

#[test]
fn everything_sent_before_the_end_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (ingest, writer) = Ingest::start(Arc::clone(&store), None).unwrap();
    (1..=20).for_each(|events| ingest.send(batch(events)));
    // A clone that somebody still holds does not keep the writer from ending.
    writer.finish();
    assert_eq!(events(&*store), (1..=20).collect::<Vec<_>>());
    drop(ingest);
}

#[test]
fn what_a_full_disk_refuses_is_written_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path(), true);
    let store: Arc<dyn Store> = disk.clone();
    let (ingest, writer) = Ingest::start(store, None).unwrap();
    ingest.send(batch(1));
    let begun = Instant::now();
    while ingest.error().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(ingest.error().unwrap().contains("no space is left"));
    ingest.send(batch(2));
    disk.is_full.store(false, SeqCst);
    while ingest.error().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(15));
        std::thread::sleep(Duration::from_millis(10));
    }
    writer.finish();
    assert_eq!(events(&*disk), [1, 2]);
}

/// Who waits for the commit is told when it is in the store, and given it back when it is not: nothing
/// of it waits here.
#[test]
fn a_batch_is_committed_or_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path(), false);
    let store: Arc<dyn Store> = disk.clone();
    let (ingest, writer) = Ingest::start(store, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(ingest.commit(batch(1)).await, Ok(()));
        assert_eq!(events(&*disk), [1], "it is there when that is said");
        disk.is_full.store(true, SeqCst);
        for number in [2, 3] {
            // The second is refused at the door, because the first was.
            let refused = ingest.commit(batch(number)).await;
            assert!(matches!(refused, Err(NotTaken::Refused(why)) if why.contains("no space")));
        }
        disk.is_full.store(false, SeqCst);
        let begun = Instant::now();
        while ingest.commit(batch(4)).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(15), "it never takes anything again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    writer.finish();
    assert_eq!(events(&*disk), [1, 4]);
    let ended = runtime.block_on(ingest.commit(batch(5)));
    assert_eq!(ended, Err(NotTaken::Busy), "nobody writes any more");
}

/// What one agent sends and the store will never take does not keep out what the others send.
#[test]
fn who_sends_what_is_never_taken_is_told_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path(), false);
    let store: Arc<dyn Store> = disk.clone();
    let (ingest, writer) = Ingest::start(store, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, unfit, other) = runtime.block_on(async {
        tokio::join!(ingest.commit(batch(1)), ingest.commit(batch(UNFIT)), ingest.commit(batch(2)))
    });
    assert_eq!((one, other), (Ok(()), Ok(())));
    assert!(matches!(unfit, Err(NotTaken::Never(why)) if why.contains("mapper_parsing")));
    assert_eq!(ingest.error(), None, "the store works");
    writer.finish();
    assert_eq!(events(&*disk), [1, 2]);
}

#[test]
fn an_absence_of_the_agent_is_a_gap() {
    let cases = [
        (Duration::from_secs(5), Some(Duration::ZERO), 1),
        (Duration::from_secs(5), Some(Duration::from_secs(12)), 1),
        (Duration::from_secs(1), Some(Duration::ZERO), 0),
        (Duration::from_secs(5), None, 0),
    ];
    for (absence, agent, gaps) in cases {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let last = clock::now().minus(deeptrace_model::Duration(absence.as_nanos() as u64));
        store.heartbeat(last).unwrap();
        let (_ingest, writer) = Ingest::start(Arc::clone(&store), agent).unwrap();
        writer.finish();
        let found = store.gaps(Window::ALL, 10).unwrap();
        assert_eq!(found.len(), gaps, "{absence:?} {agent:?}: {found:?}");
        if let Some(gap) = found.first() {
            let held = deeptrace_model::Duration(agent.unwrap_or_default().as_nanos() as u64);
            assert_eq!((gap.cause, gap.from), (GapCause::AgentDown, last.minus(held)));
        }
    }
}
