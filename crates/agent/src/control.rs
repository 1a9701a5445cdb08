//! What the API asks of the running pipeline. The pipeline owns capture, so it answers itself,
//! between two polls of its source, and needs no lock.

use std::time::Duration;

use deeptrace_model::Pid;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;

/// A process with the verdict on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Process id.
    pub pid: u32,
    /// Parent's id.
    pub parent_pid: u32,
    /// Name as the kernel gives it.
    pub comm: String,
    /// Path of the executable.
    pub executable: String,
    /// `service.name`.
    pub service: String,
    /// Which rule gave it that name.
    pub service_source: String,
    /// The container, if any.
    pub container_id: Option<String>,
    /// Whether it is watched.
    pub watched: bool,
    /// Which rule decided that.
    pub watched_by: String,
    /// The TLS libraries found in it.
    #[serde(default)]
    pub tls: Vec<TlsLibrary>,
    /// What is told beside its socket calls, where these left calls unexplained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// A TLS library of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsLibrary {
    /// As people know it.
    pub library: String,
    /// The file, as the process knows it.
    pub path: String,
    /// Whether its plaintext is seen.
    pub plaintext: bool,
    /// Why not, or at which cost.
    pub detail: String,
}

/// What is told of who works for whom inside a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Kinds in use, as `[correlation.evidence]` names them.
    pub kinds: Vec<String>,
    /// The language's runtime that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Why there is not more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A kernel program that we loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its id, as `bpftool prog list` prints it.
    pub id: u32,
    /// Its name, beginning with `deeptrace`.
    pub name: String,
    /// Its type, in the kernel's words.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is attached to; empty: to nothing.
    pub attached_to: String,
    /// How often it ran; zero where the kernel does not count (`kernel.bpf_stats_enabled`).
    pub runs: u64,
    /// How long it ran in all, nanoseconds; zero where the kernel does not count.
    pub run_time_ns: u64,
}

/// A kernel map that we made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Map {
    /// Its id, as `bpftool map list` prints it.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its type, in the kernel's words.
    #[serde(rename = "type")]
    pub kind: String,
    /// Entries that it can hold.
    pub max_entries: u32,
    /// Kernel memory, bytes.
    pub memory_bytes: u64,
}

/// What is asked.
#[derive(Debug)]
pub enum Ask {
    /// Watch this process and its children from now on, whatever the configuration says.
    Watch(Pid),
    /// Do not watch it any more.
    Unwatch(Pid),
    /// Capture on or off.
    Capture(bool),
    /// Take this configuration, as far as it changes without a restart.
    Apply(Box<Config>),
    /// Name every process, with the rule that decided on it.
    Processes,
    /// Name the kernel programs.
    Programs,
    /// Name the kernel maps.
    Maps,
}

/// The answer to an [`Ask`].
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// It is done.
    Done,
    /// To [`Ask::Processes`], by id.
    Processes(Vec<Watched>),
    /// To [`Ask::Programs`].
    Programs(Vec<Program>),
    /// To [`Ask::Maps`].
    Maps(Vec<Map>),
}

/// Why an [`Ask`] was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such process, or nothing about it to do.
    #[error("{0}")]
    NotFound(String),
    /// The kernel refused.
    #[error("{0}")]
    Refused(String),
    /// The pipeline is busy, starting or ending.
    #[error("the pipeline does not answer; try again, and look at /status if it stays so")]
    Busy,
}

/// An [`Ask`] on its way; the pipeline MUST answer it.
#[derive(Debug)]
pub struct Order {
    /// What is asked.
    pub ask: Ask,
    reply: oneshot::Sender<Result<Answer, ControlError>>,
}

impl Order {
    /// Answers; whoever asked may have given up meanwhile.
    pub fn answer(self, answer: Result<Answer, ControlError>) {
        let _ = self.reply.send(answer);
    }

    /// Answers with what `act` makes of the question.
    pub fn answer_with(self, act: impl FnOnce(&Ask) -> Result<Answer, ControlError>) {
        let answer = act(&self.ask);
        self.answer(answer);
    }
}

/// Orders that can wait for the pipeline; more are refused.
const ORDERS_MAX: usize = 16;
/// The pipeline polls its source at least every 100 ms.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The asking end.
#[derive(Clone, Debug)]
pub struct Control(mpsc::Sender<Order>);

/// The answering end, for the pipeline.
#[derive(Debug)]
pub struct Orders(mpsc::Receiver<Order>);

/// Both ends.
pub fn channel() -> (Control, Orders) {
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    (Control(sender), Orders(receiver))
}

impl Control {
    /// Asks and waits for the answer.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Order { ask, reply }).map_err(|_| ControlError::Busy)?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
        answer.map_err(|_| ControlError::Busy)?.map_err(|_| ControlError::Busy)?
    }

    /// The same for a thread outside the runtime.
    pub fn ask_blocking(&self, ask: Ask) -> Result<Answer, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Order { ask, reply }).map_err(|_| ControlError::Busy)?;
        answer.blocking_recv().map_err(|_| ControlError::Busy)?
    }
}

impl Orders {
    /// The next order, if one waits.
    pub fn try_next(&mut self) -> Option<Order> {
        self.0.try_recv().ok()
    }
}
