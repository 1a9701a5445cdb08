//! Process: who made a call, under the names people know.

use serde::{Deserialize, Serialize};

use crate::{BootTime, Pid};

/// A process for ever: pids are reused, start times are not.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ProcessKey {
    /// Process id.
    pub pid: Pid,
    /// When it started, in boot time (field 22 of `/proc/PID/stat`).
    pub started: BootTime,
}

/// A process that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Identity.
    pub key: ProcessKey,
    /// Parent process.
    pub parent: Pid,
    /// Name as the kernel gives it (`/proc/PID/comm`, 15 bytes).
    pub comm: String,
    /// Path of the executable as its own root sees it; empty where unreadable.
    pub executable: String,
    /// Name for people: `service.name`.
    pub service: String,
    /// Which rule gave the service its name, e.g. `environment`, `container`, `executable`.
    pub service_source: String,
    /// Container id, 64 hex digits, where the cgroup names one.
    pub container_id: Option<String>,
    /// Why it is watched: the rule that matched, e.g. `default`, `pids`, `include nginx*`.
    pub watched_by: String,
}
