//! Processes: who made a call, under the names people know.

use std::collections::VecDeque;
use std::sync::Arc;

use deeptrace_model::{BootTime, Duration, Pid, Process, ProcessKey};
use rustc_hash::FxHashMap;

/// Processes known at once; more are named by their pid.
const PROCESSES_MAX: usize = 32_768;

/// A process that ended is remembered so long: its last messages may still be on their way.
const LINGER: Duration = Duration::from_secs(5);

/// Processes by pid, the newest of each.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    known: FxHashMap<Pid, Arc<Process>>,
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
        self.known.insert(pid, Arc::new(process.clone()));
    }

    /// A process ended.
    pub fn exit(&mut self, pid: Pid, time: BootTime) {
        if let Some(process) = self.known.get(&pid) {
            self.ended.push_back((time.plus(LINGER), process.key));
        }
    }

    /// Forgets those that ended long enough ago. A pid that is in use again stays.
    pub fn tick(&mut self, now: BootTime) {
        while self.ended.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.ended.pop_front() else { break };
            if self.known.get(&key.pid).is_some_and(|process| process.key == key) {
                self.known.remove(&key.pid);
            }
        }
    }

    /// The process that has this pid now.
    pub fn get(&self, pid: Pid) -> Option<&Arc<Process>> {
        self.known.get(&pid)
    }
}
