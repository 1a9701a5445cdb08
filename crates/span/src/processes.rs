//! Processes: who made a call, under the names people know.

use std::collections::VecDeque;
use std::sync::Arc;

use deeptrace_model::{BootTime, Duration, Pid, Process, ProcessKey, Text};
use rustc_hash::FxHashMap;

/// Processes known at once; more are named by their pid.
const PROCESSES_MAX: usize = 32_768;

/// A process that ended is remembered so long: its last messages may still be on their way.
const LINGER: Duration = Duration::from_secs(5);

/// A process, with the name that its spans share.
#[derive(Debug)]
pub(crate) struct Known {
    pub process: Process,
    /// `service.name`; empty where not even the kernel gives a name.
    pub service: Text,
}

/// Processes by pid, the newest of each.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    known: FxHashMap<Pid, Arc<Known>>,
    ended: VecDeque<(BootTime, ProcessKey)>,
    /// Processes that were not remembered because there were too many.
    pub shed: u64,
}

impl Processes {
    /// A process became known, or changed.
    pub fn insert(&mut self, process: &Process) {
        let pid = process.key.pid;
        if self.known.len() >= PROCESSES_MAX && !self.known.contains_key(&pid) {
            self.shed += 1;
            return;
        }
        let name = if process.service.is_empty() { &process.comm } else { &process.service };
        let known = Known { service: Text::new(name), process: process.clone() };
        self.known.insert(pid, Arc::new(known));
    }

    /// A process ended.
    pub fn exit(&mut self, pid: Pid, time: BootTime) {
        if let Some(process) = self.known.get(&pid) {
            self.ended.push_back((time.plus(LINGER), process.process.key));
        }
    }

    /// Forgets those that ended long enough ago. A pid that is in use again stays.
    pub fn tick(&mut self, now: BootTime) {
        while self.ended.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.ended.pop_front() else { break };
            if self.known.get(&key.pid).is_some_and(|known| known.process.key == key) {
                self.known.remove(&key.pid);
            }
        }
    }

    /// The process that has this pid now.
    pub fn get(&self, pid: Pid) -> Option<&Arc<Known>> {
        self.known.get(&pid)
    }
}
