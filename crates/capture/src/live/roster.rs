//! Roster: every process with the verdict on it, and which of them were introduced downstream.

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::{Pid, Process, ProcessKey};

use super::TlsLibrary;
use super::kernel::Kernel;
use crate::SourceError;
use crate::process::{Facts, pids, read};
use crate::service::Names;
use crate::watch::{RuleError, Rules, Verdict, Watcher};

/// A process with the verdict on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The process; `watched_by` is the rule that decided, also where it is not watched.
    pub process: Process,
    /// Whether it is watched.
    pub watched: bool,
    /// The TLS libraries found in it; none where it is not watched.
    pub tls: Vec<TlsLibrary>,
}

/// Every process that was looked at.
pub(super) struct Roster {
    watcher: Watcher,
    names: Names,
    verdicts: BTreeMap<Pid, Verdict>,
    /// Who forked a process, with the verdict on it at that time: it may be gone by now.
    heirs: BTreeMap<Pid, (Pid, Verdict)>,
    introduced: BTreeMap<Pid, ()>,
    refused: u64,
}

impl Roster {
    pub(super) fn new(rules: Rules, names: Names) -> Result<Self, SourceError> {
        let watcher = Watcher::new(rules, Pid(std::process::id())).map_err(bad_rule)?;
        Ok(Self {
            watcher,
            names,
            verdicts: BTreeMap::new(),
            heirs: BTreeMap::new(),
            introduced: BTreeMap::new(),
            refused: 0,
        })
    }

    pub(super) fn set_rules(&mut self, rules: Rules, names: Names) -> Result<(), SourceError> {
        let differ = !self.watcher.follows(&rules);
        self.watcher.set_rules(rules).map_err(bad_rule)?;
        if differ {
            // What the old rules said of a parent must not outlive them.
            self.heirs.clear();
        }
        self.names = names;
        Ok(())
    }

    pub(super) fn watches_by_default(&self) -> bool {
        self.watcher.watches_by_default()
    }

    /// Looks at every process there is and writes the verdicts that differ from the default.
    pub(super) fn scan(&mut self, kernel: &Kernel) {
        self.verdicts.clear();
        self.introduced.clear();
        for facts in parents_first() {
            self.judge(kernel, &facts);
        }
    }

    /// Decides on a process and tells the kernel.
    fn judge(&mut self, kernel: &Kernel, facts: &Facts) -> Verdict {
        let pid = facts.key.pid;
        let verdict = self.watcher.verdict(facts, self.parent(facts));
        let differs = verdict.watched != self.watcher.watches_by_default();
        let told = kernel.set_verdict(pid, differs.then_some(verdict.watched));
        self.refused += u64::from(!told);
        self.verdicts.insert(pid, verdict.clone());
        verdict
    }

    /// The verdict on the process that `facts` was forked from: as it is now, or as it was if that
    /// process is gone, and somebody else is the parent.
    fn parent(&self, facts: &Facts) -> Option<&Verdict> {
        let above = self.verdicts.get(&facts.parent);
        match self.heirs.get(&facts.key.pid) {
            Some((parent, _)) if *parent == facts.parent && above.is_some() => above,
            Some((_, verdict)) => Some(verdict),
            None => above,
        }
    }

    /// The processes that are watched, as far as they were looked at.
    pub(super) fn watched_pids(&self) -> impl Iterator<Item = Pid> {
        self.verdicts.iter().filter(|(_, verdict)| verdict.watched).map(|(pid, _)| *pid)
    }

    /// Whether a process is watched that was looked at.
    pub(super) fn is_watched(&self, pid: Pid) -> bool {
        self.verdicts.get(&pid).is_some_and(|verdict| verdict.watched)
    }

    /// Whether downstream knows the process.
    pub(super) fn is_introduced(&self, pid: Pid) -> bool {
        self.introduced.contains_key(&pid)
    }

    /// Decides on a process that was heard of. `None`: it is not watched. One that has ended already
    /// is known by the name that the kernel gave along.
    pub(super) fn introduce(&mut self, kernel: &Kernel, pid: Pid, comm: &str) -> Option<Process> {
        let facts = read(pid);
        let ended = facts.is_none();
        let facts = facts.unwrap_or_else(|| self.remembered(pid, comm));
        let verdict = if ended {
            self.watcher.verdict(&facts, self.parent(&facts))
        } else {
            self.judge(kernel, &facts)
        };
        if !verdict.watched {
            return None;
        }
        let mut process = facts.describe(&self.names, &verdict.rule);
        if ended {
            process.service = if comm.is_empty() { format!("pid-{}", pid.0) } else { comm.into() };
            process.service_source = "kernel".into();
        }
        self.introduced.insert(pid, ());
        Some(process)
    }

    /// What is known of a process that ended before it could be looked at.
    fn remembered(&self, pid: Pid, comm: &str) -> Facts {
        let parent = self.heirs.get(&pid).map_or(Pid(0), |(parent, _)| *parent);
        let key = ProcessKey { pid, ..ProcessKey::default() };
        Facts { key, parent, comm: comm.to_owned(), ..Facts::default() }
    }

    /// A process has another program now.
    pub(super) fn changed(&mut self, kernel: &Kernel, pid: Pid) {
        self.introduced.remove(&pid);
        if let Some(facts) = read(pid) {
            self.judge(kernel, &facts);
        }
    }

    /// A process was forked; whoever had its pid before is gone.
    pub(super) fn born(&mut self, pid: Pid, parent: Pid) {
        self.introduced.remove(&pid);
        self.verdicts.remove(&pid);
        let heir = self.heirs.get(&parent).map(|(_, verdict)| verdict);
        if let Some(verdict) = self.verdicts.get(&parent).or(heir).cloned() {
            self.heirs.insert(pid, (parent, verdict));
        }
    }

    /// A process ended. True: downstream knew it.
    pub(super) fn ended(&mut self, pid: Pid) -> bool {
        self.watcher.forget(pid);
        self.verdicts.remove(&pid);
        self.heirs.remove(&pid);
        self.introduced.remove(&pid).is_some()
    }

    /// Says by hand whether a process is watched, with the children that it has.
    pub(super) fn set_by_hand(
        &mut self,
        kernel: &Kernel,
        pid: Pid,
        watched: bool,
    ) -> Option<Watched> {
        let facts = read(pid)?;
        self.watcher.set_by_hand(pid, watched);
        self.introduced.remove(&pid);
        let verdict = self.judge(kernel, &facts);
        let mut family = BTreeSet::from([pid]);
        for facts in parents_first() {
            if family.contains(&facts.parent) && family.insert(facts.key.pid) {
                self.introduced.remove(&facts.key.pid);
                self.judge(kernel, &facts);
            }
        }
        Some(self.watched(&facts, &verdict))
    }

    /// Every process there is, by pid.
    pub(super) fn all(&mut self) -> Vec<Watched> {
        let everyone: Vec<Facts> = pids().into_iter().filter_map(read).collect();
        let judged = |facts: &Facts| {
            let verdict = self.watcher.verdict(facts, self.parent(facts));
            self.watched(facts, &verdict)
        };
        everyone.iter().filter(|facts| !facts.is_kernel_thread()).map(judged).collect()
    }

    fn watched(&self, facts: &Facts, verdict: &Verdict) -> Watched {
        let process = facts.describe(&self.names, &verdict.rule);
        Watched { process, watched: verdict.watched, tls: Vec::new() }
    }

    /// Verdicts that the kernel's map had no room for.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

/// Every process there is, each after its parent: that started earlier, also where pids have begun
/// anew. A child whose parent has ended is judged without it.
fn parents_first() -> Vec<Facts> {
    let mut all: Vec<Facts> = pids().into_iter().filter_map(read).collect();
    all.sort_by_key(|facts| (facts.key.started, facts.key.pid));
    all
}

fn bad_rule(error: RuleError) -> SourceError {
    SourceError::Kernel {
        problem: error.to_string(),
        remedy: "correct include_processes and exclude_processes".into(),
    }
}
