//! Jobs: stored spans that are correlated again in the background, one at a time on each server. What
//! is known of a job is a document in the store, so every server can tell of it and cancel it.
//!
//! A server that ends takes its job with it: the next one that looks finds it failed. What such a job
//! has written stays, and running it again writes only the rest.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::{Duration as Time, Instant};

use deeptrace_correlate::{Row, algorithm};
use deeptrace_model::{Duration, WallTime};
use deeptrace_store::{Document, Expected, Store, StoreError, Window};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::again::{self, Done, Plan};
use crate::clock;

/// Names of the documents begin so; the id follows.
const PREFIX: &str = "correlation-job/";
/// Jobs that are remembered; the oldest make room.
const REMEMBERED_MAX: usize = 100;
/// How often a running job says that it still is.
const TOLD: Time = Time::from_secs(2);
/// A job of which nothing was heard for so long has ended with its server.
const SILENT: Duration = Duration::from_secs(60);
/// How often a document is tried to be changed that somebody else changes.
const TRIES: usize = 8;

/// What is known of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// 16 hex digits; later jobs have higher ones.
    pub id: String,
    /// How it is.
    pub state: State,
    /// Why it failed.
    pub error: Option<String>,
    /// Who answers.
    pub algorithm: String,
    /// Calls that start from then on, nanoseconds since the Unix epoch,
    pub start_time_unix_nano: u64,
    /// until then.
    pub end_time_unix_nano: u64,
    /// When it was asked for.
    pub created_unix_nano: u64,
    /// When it was heard of last.
    pub updated_unix_nano: u64,
    /// The server that runs it: host and process id.
    pub server: String,
    /// Somebody wants it to end.
    pub is_cancelled: bool,
    /// What was done so far.
    #[serde(flatten)]
    pub done: Done,
}

/// How a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    Running,
    /// It came to its end.
    Done,
    /// It did not; see `error`.
    Failed,
    /// Somebody wanted it to end.
    Cancelled,
}

/// Why a job was not begun, or not found.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// One at a time.
    #[error("this server correlates already; wait for the job, or cancel it")]
    Busy,
    /// There is none of this id.
    #[error("there is no job of this id; the last {REMEMBERED_MAX} are remembered")]
    Unknown,
    /// Somebody else changes the document all the time.
    #[error("the job's document changes too often; try again")]
    Contended,
    /// No thread could be started.
    #[error("cannot start a thread for the job: {0}")]
    Thread(std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs jobs, and knows of those of other servers.
pub struct Jobs {
    store: Arc<dyn Store>,
    server: String,
    stopped: watch::Receiver<bool>,
    /// Whether a watched application may be on the same processor.
    is_gentle: bool,
    is_busy: AtomicBool,
}

impl Jobs {
    /// Over `store`, until `stopped` turns true.
    pub fn new(store: Arc<dyn Store>, stopped: watch::Receiver<bool>, is_gentle: bool) -> Self {
        let server = format!("{}:{}", host(), std::process::id());
        Self { store, server, stopped, is_gentle, is_busy: AtomicBool::new(false) }
    }

    /// Begins a job in the background.
    pub fn begin(
        self: &Arc<Self>,
        window: Window,
        algorithm: &'static Row,
    ) -> Result<Job, JobError> {
        if self.is_busy.swap(true, AcqRel) {
            return Err(JobError::Busy);
        }
        let begun = self.spawn(window, algorithm);
        if begun.is_err() {
            self.is_busy.store(false, Release);
        }
        begun
    }

    fn spawn(self: &Arc<Self>, window: Window, row: &'static Row) -> Result<Job, JobError> {
        self.make_room()?;
        let now = clock::now();
        let mut job = Job {
            id: String::new(),
            state: State::Running,
            error: None,
            algorithm: row.name.to_owned(),
            start_time_unix_nano: window.from.0,
            end_time_unix_nano: window.to.0.min(now.0),
            created_unix_nano: now.0,
            updated_unix_nano: now.0,
            server: self.server.clone(),
            is_cancelled: false,
            done: Done::default(),
        };
        // Two servers may begin in the same nanosecond.
        for later in 0..TRIES as u64 {
            job.id = format!("{:016x}", now.0 + later);
            if self.put(&job, Expected::Absent)? {
                let (jobs, own) = (Arc::clone(self), job.clone());
                std::thread::Builder::new()
                    .name("deeptrace-again".to_owned())
                    .spawn(move || work(&jobs, &own))
                    .map_err(JobError::Thread)?;
                tracing::info!(
                    job = job.id,
                    algorithm = row.name,
                    "correlating stored spans again"
                );
                return Ok(job);
            }
        }
        Err(JobError::Contended)
    }

    /// What is known of the job.
    pub fn get(&self, id: &str) -> Result<Job, JobError> {
        let document = self.document(id)?;
        let job = read(&document).ok_or(JobError::Unknown)?;
        match self.why_ended(&job) {
            Some(why) => self.change(id, &mut |job| {
                if job.state == State::Running {
                    (job.state, job.error) = (State::Failed, Some(why.to_owned()));
                }
            }),
            None => Ok(job),
        }
    }

    /// Has the job end soon; one that has ended stays as it is.
    pub fn cancel(&self, id: &str) -> Result<Job, JobError> {
        self.get(id)?;
        self.change(id, &mut |job| job.is_cancelled |= job.state == State::Running)
    }

    /// Why a job that says it runs does not, if so.
    fn why_ended(&self, job: &Job) -> Option<&'static str> {
        let is_ours = job.server == self.server && self.is_busy.load(Acquire);
        if job.state != State::Running || is_ours {
            return None;
        }
        let is_silent = clock::now().since(WallTime(job.updated_unix_nano)) > SILENT;
        let was_here = job.server.rsplit_once(':').filter(|(name, _)| *name == host());
        let is_gone = was_here.is_some_and(|(_, pid)| {
            pid == std::process::id().to_string()
                || !std::path::Path::new("/proc").join(pid).exists()
        });
        (is_silent || is_gone).then_some("its server has ended; run it again")
    }

    fn document(&self, id: &str) -> Result<Document, JobError> {
        // What is no id must not become another document.
        let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let found = if is_id { self.store.document(&format!("{PREFIX}{id}"))? } else { None };
        found.ok_or(JobError::Unknown)
    }

    /// Changes what is stored of the job, whoever else does at the same time.
    fn change(&self, id: &str, act: &mut dyn FnMut(&mut Job)) -> Result<Job, JobError> {
        for _ in 0..TRIES {
            let document = self.document(id)?;
            let mut job = read(&document).ok_or(JobError::Unknown)?;
            act(&mut job);
            if self.put(&job, Expected::Version(document.version))? {
                return Ok(job);
            }
        }
        Err(JobError::Contended)
    }

    fn put(&self, job: &Job, expected: Expected) -> Result<bool, StoreError> {
        let body = serde_json::to_vec(job).unwrap_or_default();
        let name = format!("{PREFIX}{}", job.id);
        Ok(self.store.put_document(&name, Some(&body), expected)?.is_some())
    }

    /// Forgets the oldest jobs that have ended.
    fn make_room(&self) -> Result<(), StoreError> {
        let all = self.store.documents(PREFIX, None, REMEMBERED_MAX * 2)?;
        for document in all.iter().take((all.len() + 1).saturating_sub(REMEMBERED_MAX)) {
            let is_running = read(document)
                .is_some_and(|job| job.state == State::Running && self.why_ended(&job).is_none());
            if !is_running {
                let expected = Expected::Version(document.version);
                self.store.put_document(&document.name, None, expected)?;
            }
        }
        Ok(())
    }
}

/// The thread of a job.
fn work(jobs: &Jobs, job: &Job) {
    let ended = run(jobs, job);
    let (state, error) = match &ended {
        Ok((_, end)) => end.clone(),
        Err(error) => (State::Failed, Some(error.to_string())),
    };
    tracing::info!(job = job.id, ?state, error, "correlating stored spans again has ended");
    let told = jobs.change(&job.id, &mut |job| {
        (job.state, job.error) = (state, error.clone());
        job.updated_unix_nano = clock::now().0;
        if let Ok((done, _)) = &ended {
            job.done = *done;
        }
    });
    if let Err(error) = told {
        tracing::warn!(job = job.id, %error, "cannot store how a job has ended");
    }
    jobs.is_busy.store(false, Release);
}

type End = (State, Option<String>);

fn run(jobs: &Jobs, job: &Job) -> Result<(Done, End), JobError> {
    let algorithm = algorithm(&job.algorithm).ok_or(JobError::Unknown)?;
    let window =
        Window { from: WallTime(job.start_time_unix_nano), to: WallTime(job.end_time_unix_nano) };
    let mut told = Instant::now();
    let mut piece = Instant::now();
    let mut end: End = (State::Done, None);
    let mut watch = |done: &Done| {
        if *jobs.stopped.borrow() {
            end = (State::Failed, Some("its server has ended; run it again".to_owned()));
            return ControlFlow::Break(());
        }
        if told.elapsed() >= TOLD {
            told = Instant::now();
            let changed = jobs.change(&job.id, &mut |job| {
                job.done = *done;
                job.updated_unix_nano = clock::now().0;
            });
            match changed {
                Ok(job) if job.is_cancelled => {
                    end = (State::Cancelled, None);
                    return ControlFlow::Break(());
                }
                Ok(_) => {}
                // It goes on: links are written all the same, and the end is told once more.
                Err(error) => tracing::warn!(job = job.id, %error, "cannot store a job's progress"),
            }
        }
        if jobs.is_gentle {
            std::thread::sleep(piece.elapsed());
        }
        piece = Instant::now();
        ControlFlow::Continue(())
    };
    let done = again::correlate(&*jobs.store, Plan { window, algorithm }, &mut watch)?;
    Ok((done, end))
}

fn read(document: &Document) -> Option<Job> {
    serde_json::from_slice(&document.body).ok()
}

/// The name of this host.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
