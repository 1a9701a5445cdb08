//! Stored spans of a workload with known truth, correlated again: what was observed stays, the rest
//! becomes right, a second run writes nothing; and jobs, whatever happens to their server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deeptrace_correlate::{AUTO, algorithm};
use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
    Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, UnitId, WallTime, hash_bytes, hash64,
};
use deeptrace_server::again::{Done, Plan, correlate};
use deeptrace_server::jobs::{Job, JobError, Jobs, State};
use deeptrace_store::{Batch, Expected, Filter, LinkKey, LinkLookup, Mode, Options, Store, Window};
use deeptrace_workload::{SETS, Seen, simulate};
use tokio::sync::watch;

const BEGIN: u64 = 1_700_000_000_000_000_000;

/// Ids are hashes in life.
fn id(number: u64) -> SpanId {
    SpanId(hash64(&[number, 7]))
}

fn wall(time: i64) -> WallTime {
    WallTime(BEGIN + time as u64)
}

fn span(seen: &Seen) -> Span {
    let touch = |time: i64, thread: u32| Touch {
        event: EventId(seen.id),
        time: BootTime(time as u64),
        pid: Pid(1),
        tid: Tid(thread),
        unit: UnitId(0),
    };
    let [asked, answered] = seen.threads;
    Span {
        id: id(seen.id),
        kind: if seen.is_call { SpanKind::Client } else { SpanKind::Server },
        name: format!("GET /{}/{}", seen.peer.unwrap_or(seen.service), seen.operation).into(),
        service: seen.service.into(),
        protocol: "http".into(),
        start: wall(seen.start),
        end: wall(seen.end),
        status: SpanStatus::Ok,
        status_message: None,
        attributes: Vec::new().into(),
        request_size: 10,
        response_size: 20,
        request_payload: Default::default(),
        response_payload: Default::default(),
        process: ProcessKey {
            pid: Pid(hash_bytes(seen.service.as_bytes()) as u32),
            started: BootTime(1),
        },
        connection: ConnectionId(seen.id),
        exchange: Exchange {
            kind: ExchangeKind::Tcp,
            request: seen.exchange,
            response: Some(seen.exchange),
            stream: 0,
            request_hash: 1,
            confidence: 1.0,
        },
        request: [touch(seen.start, asked); 2],
        response: Some([touch(seen.end, answered); 2]),
        trace_context: None,
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
    }
}

fn link(seen: &Seen, parent: u64, method: Method) -> Link {
    Link {
        child: id(seen.id),
        parent: Some(id(parent)),
        child_start: wall(seen.start),
        method,
        relation: Relation::Child,
        confidence: 0.9,
        algorithm: "auto".into(),
        candidates: 3,
        generation: 0,
        is_final: true,
    }
}

/// A store with the workload `few`: the parents of two thirds of the calls were observed, the others
/// were guessed, all wrong.
struct Stored {
    store: Arc<dyn Store>,
    calls: Vec<Seen>,
    _folder: tempfile::TempDir,
}

fn is_observed(seen: &Seen) -> bool {
    !seen.id.is_multiple_of(3)
}

fn stored() -> Stored {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path());
    let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
    let set = SETS.iter().find(|set| set.name == "few").unwrap();
    let seen = simulate(&(set.make)(), 11);
    let calls: Vec<Seen> =
        seen.iter().filter(|it| it.is_call && it.parent.is_some()).cloned().collect();
    let some_request = seen.iter().find(|it| !it.is_call).unwrap().id;
    let links = calls.iter().map(|it| match is_observed(it) {
        true => link(it, it.parent.unwrap(), Method::Thread),
        false => link(it, some_request, Method::Inferred),
    });
    let links = links.collect();
    let batch = Batch { spans: seen.iter().map(span).collect(), links, gaps: Vec::new() };
    store.write(&batch).unwrap();
    Stored { store, calls, _folder: folder }
}

impl Stored {
    fn again(&self, name: &str) -> Done {
        let plan = Plan { window: Window::ALL, algorithm: algorithm(name).unwrap() };
        correlate(&*self.store, plan, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    /// The link of each call that wins.
    fn best(&self) -> BTreeMap<SpanId, Link> {
        let mut best: BTreeMap<SpanId, Link> = BTreeMap::new();
        for call in &self.calls {
            let key = LinkKey::Child(id(call.id));
            let lookup = LinkLookup { key, window: Window::ALL };
            for link in self.store.links(&[lookup], 100).unwrap() {
                if best.get(&link.child).is_none_or(|known| link.beats(known)) {
                    best.insert(link.child, link);
                }
            }
        }
        best
    }

    /// Share of the calls with a right parent, of those observed or of the others.
    fn right(&self, observed: bool) -> f64 {
        let best = self.best();
        let calls: Vec<&Seen> =
            self.calls.iter().filter(|it| is_observed(it) == observed).collect();
        let is_right = |it: &&&Seen| best[&id(it.id)].parent == it.parent.map(id);
        calls.iter().filter(is_right).count() as f64 / calls.len() as f64
    }
}

#[test]
fn guesses_become_right_and_what_was_observed_stays() {
    let stored = stored();
    assert_eq!((stored.right(true), stored.right(false)), (1.0, 0.0));
    let done = stored.again("auto");
    let right = stored.right(false);
    println!("{done:?}, right {right:.4}");
    assert_eq!(stored.right(true), 1.0);
    assert!(right > 0.97, "{right}");
    let observed = stored.calls.iter().filter(|it| is_observed(it)).count() as u64;
    assert_eq!(done.left_out_count, 0);
    assert_eq!((done.call_count, done.observed_count), (stored.calls.len() as u64, observed));
    assert!(done.tried_count > 100 && done.right_count * 100 > done.tried_count * 95);
    let best = stored.best();
    for call in stored.calls.iter().filter(|it| !is_observed(it)) {
        let link = &best[&id(call.id)];
        assert!(link.generation > 2 && link.method == Method::Inferred, "{link:?}");
    }
}

#[test]
fn a_second_run_writes_nothing_and_another_algorithm_is_on_top() {
    let stored = stored();
    stored.again("auto");
    let before = stored.best();
    let again = stored.again("auto");
    assert_eq!(again.link_count, 0, "{again:?}");
    assert_eq!(stored.best(), before);
    let other = stored.again("fifo");
    assert!(other.link_count > 0, "{other:?}");
    let names: Vec<String> =
        stored.best().values().map(|link| link.algorithm.to_string()).collect();
    assert!(names.iter().any(|name| name == "fifo"));
    assert_eq!(stored.right(true), 1.0);
}

#[test]
fn it_breaks_off_when_told_and_touches_the_window_only() {
    let stored = stored();
    let plan = Plan { window: Window::ALL, algorithm: AUTO };
    let broken = correlate(&*stored.store, plan, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!(broken.link_count, 0, "{broken:?}");
    let middle = stored.calls[stored.calls.len() / 2].start;
    let window = Window { from: wall(middle), to: WallTime(u64::MAX) };
    let plan = Plan { window, algorithm: AUTO };
    correlate(&*stored.store, plan, &mut |_| ControlFlow::Continue(())).unwrap();
    for link in stored.best().values() {
        assert_eq!(
            link.generation > 2,
            link.method == Method::Inferred && link.child_start >= wall(middle)
        );
    }
}

fn jobs(stored: &Stored) -> (Arc<Jobs>, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    (Arc::new(Jobs::new(Arc::clone(&stored.store), stopped, false)), stop)
}

fn wait(jobs: &Jobs, id: &str) -> Job {
    let begun = Instant::now();
    loop {
        let job = jobs.get(id).unwrap();
        if job.state != State::Running {
            return job;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{job:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_job_runs_to_its_end_and_one_at_a_time() {
    let stored = stored();
    let (jobs, _stop) = jobs(&stored);
    let job = jobs.begin(Window::ALL, AUTO).unwrap();
    match jobs.begin(Window::ALL, AUTO) {
        Err(JobError::Busy) => {}
        // It was done already.
        Ok(second) => assert_ne!(second.id, job.id),
        Err(error) => assert!(matches!(error, JobError::Busy), "{error}"),
    }
    let done = wait(&jobs, &job.id);
    assert_eq!((done.state, done.done.progress), (State::Done, 1.0), "{done:?}");
    assert!(done.done.link_count > 0 && stored.right(false) > 0.97);
    assert!(matches!(jobs.get("0123456789abcdef"), Err(JobError::Unknown)));
    assert!(matches!(jobs.get("../user/anna"), Err(JobError::Unknown)));
    assert!(!jobs.cancel(&job.id).unwrap().is_cancelled, "what has ended is not cancelled");
}

#[test]
fn a_job_of_a_server_that_has_ended_has_failed() {
    let stored = stored();
    let (jobs, stop) = jobs(&stored);
    stop.send_replace(true);
    let job = jobs.begin(Window::ALL, AUTO).unwrap();
    let ended = wait(&jobs, &job.id);
    assert_eq!(ended.state, State::Failed, "{ended:?}");
    // Killed before it could say so: its process is not there, or nothing was heard for long.
    for (server, updated) in [(None, ended.updated_unix_nano), (Some("elsewhere:1"), 1)] {
        let host = ended.server.rsplit_once(':').unwrap().0;
        let server = server.map_or_else(|| format!("{host}:4194305"), str::to_owned);
        let lost = Job {
            state: State::Running,
            error: None,
            server,
            updated_unix_nano: updated,
            ..ended.clone()
        };
        let (name, body) =
            (format!("correlation-job/{}", lost.id), serde_json::to_vec(&lost).unwrap());
        stored.store.put_document(&name, Some(&body), Expected::Any).unwrap();
        let found = jobs.get(&lost.id).unwrap();
        assert_eq!(found.state, State::Failed);
        assert!(found.error.unwrap().contains("run it again"));
    }
}

#[test]
fn jobs_are_remembered_within_a_limit() {
    let stored = stored();
    let (jobs, _stop) = jobs(&stored);
    let template =
        wait(&jobs, &jobs.begin(Window { from: WallTime(0), to: WallTime(1) }, AUTO).unwrap().id);
    for number in 0..120_u64 {
        let job = Job { id: format!("{number:016x}"), ..template.clone() };
        let name = format!("correlation-job/{}", job.id);
        stored
            .store
            .put_document(&name, Some(&serde_json::to_vec(&job).unwrap()), Expected::Any)
            .unwrap();
    }
    let last = jobs.begin(Window { from: WallTime(0), to: WallTime(1) }, AUTO).unwrap();
    wait(&jobs, &last.id);
    let left = stored.store.documents("correlation-job/", None, 1000).unwrap();
    assert_eq!(left.len(), 100);
    assert!(matches!(jobs.get("0000000000000000"), Err(JobError::Unknown)));
    assert_eq!(stored.store.scan(&Filter::default(), None, 1).unwrap().spans.len(), 1);
}
