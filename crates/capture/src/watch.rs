//! Which processes are watched, and by which rule.

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::Pid;
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::container::container_id;
use crate::process::Facts;

/// What the configuration says about what is watched.
///
/// Without `pids` and `include` everything is watched that is not excluded. Exclusion beats
/// inclusion; what was added or removed by hand beats both. What was removed by hand is removed with
/// its children, as the kernel has it: those of them that have no program of their own look the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// These processes, with their children.
    pub pids: BTreeSet<Pid>,
    /// Names as the kernel gives them (`/proc/PID/comm`) or executables' file names; `*` and `?`
    /// are wildcards.
    pub include: Vec<String>,
    /// The same, never watched.
    pub exclude: Vec<String>,
    /// Whether processes in containers are watched.
    pub containers: bool,
}

/// A name that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a pattern: {problem}")]
pub struct RuleError {
    /// The name.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Whether a process is watched, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is.
    pub watched: bool,
    /// The rule that said so: `default`, `pids`, `include nginx*`, `exclude systemd`, `by hand` …
    pub rule: String,
    /// Whether it was said by hand, of the process itself or of one that it descends from.
    pub by_hand: bool,
}

/// [`Rules`] made ready, and what was said by hand since.
#[derive(Debug)]
pub struct Watcher {
    rules: Rules,
    include: GlobSet,
    exclude: GlobSet,
    by_hand: BTreeMap<Pid, bool>,
    own: Pid,
}

impl Watcher {
    /// Makes `rules` ready; `own` is the process that is never watched: ours.
    pub fn new(rules: Rules, own: Pid) -> Result<Self, RuleError> {
        let (include, exclude) = (compile(&rules.include)?, compile(&rules.exclude)?);
        Ok(Self { rules, include, exclude, by_hand: BTreeMap::new(), own })
    }

    /// Takes other rules; what was said by hand stays. Bad rules change nothing.
    pub fn set_rules(&mut self, rules: Rules) -> Result<(), RuleError> {
        let by_hand = std::mem::take(&mut self.by_hand);
        match Self::new(rules, self.own) {
            Ok(fresh) => *self = Self { by_hand, ..fresh },
            Err(error) => {
                self.by_hand = by_hand;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Watches `pid`, or does not, whatever the rules say.
    pub fn set_by_hand(&mut self, pid: Pid, watched: bool) {
        self.by_hand.insert(pid, watched);
    }

    /// Forgets what was said of a process that ended.
    pub fn forget(&mut self, pid: Pid) {
        self.by_hand.remove(&pid);
    }

    /// Whether these are the rules in effect.
    pub fn follows(&self, rules: &Rules) -> bool {
        self.rules == *rules
    }

    /// Whether processes that no rule names are watched.
    pub fn watches_by_default(&self) -> bool {
        self.rules.pids.is_empty() && self.rules.include.is_empty()
    }

    /// Whether a process is watched. `parent` is the verdict on its parent: children of processes
    /// named by pid or by hand are watched as well.
    pub fn verdict(&self, facts: &Facts, parent: Option<&Verdict>) -> Verdict {
        let pid = facts.key.pid;
        let say = |watched, rule: &str| Verdict { watched, rule: rule.to_owned(), by_hand: false };
        let as_parent = |parent: &Verdict| Verdict {
            watched: parent.watched,
            rule: format!("child of {}", facts.parent.0),
            by_hand: parent.by_hand,
        };
        if pid == self.own {
            return say(false, "own process");
        }
        if let Some(watched) = self.by_hand.get(&pid) {
            return Verdict { by_hand: true, ..say(*watched, "by hand") };
        }
        if self.rules.pids.contains(&pid) {
            return say(true, "pids");
        }
        if facts.is_kernel_thread() {
            return say(false, "thread of the kernel");
        }
        if let Some(parent) = parent.filter(|parent| parent.by_hand && !parent.watched) {
            return as_parent(parent);
        }
        if let Some(pattern) = matching(&self.exclude, &self.rules.exclude, facts) {
            return say(false, &format!("exclude {pattern}"));
        }
        if !self.rules.containers && container_id(&facts.cgroup).is_some() {
            return say(false, "in a container");
        }
        if let Some(pattern) = matching(&self.include, &self.rules.include, facts) {
            return say(true, &format!("include {pattern}"));
        }
        match parent {
            Some(parent) if parent.watched && !self.watches_by_default() => as_parent(parent),
            _ => say(self.watches_by_default(), "default"),
        }
    }
}

fn compile(patterns: &[String]) -> Result<GlobSet, RuleError> {
    let error = |pattern: &String, error: globset::Error| RuleError {
        pattern: pattern.clone(),
        problem: error.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|e| error(pattern, e))?);
    }
    set.build().map_err(|e| error(&patterns.join(", "), e))
}

fn matching<'a>(set: &GlobSet, patterns: &'a [String], facts: &Facts) -> Option<&'a str> {
    let file = facts.executable.rsplit('/').next().unwrap_or_default();
    let first = set.matches(&facts.comm).into_iter().chain(set.matches(file)).min()?;
    patterns.get(first).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pid: u32, parent: u32, comm: &str, executable: &str, cgroup: &str) -> Facts {
        let mut facts =
            Facts { comm: comm.into(), executable: executable.into(), ..Facts::default() };
        facts.key.pid = Pid(pid);
        facts.parent = Pid(parent);
        facts.cgroup = cgroup.into();
        facts
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn rules_decide_in_their_order() {
        let docker = format!("0::/docker/{}", "a".repeat(64));
        // (pids, include, exclude, containers) (process) → verdict
        let table = [
            ("", "", "", true, (7, 1, "nginx", "/usr/sbin/nginx", ""), (true, "default")),
            (
                "",
                "",
                "ngin*",
                true,
                (7, 1, "nginx", "/usr/sbin/nginx", ""),
                (false, "exclude ngin*"),
            ),
            ("", "redis nginx", "", true, (7, 1, "nginx", "", ""), (true, "include nginx")),
            ("", "redis", "", true, (7, 1, "nginx", "", ""), (false, "default")),
            (
                "",
                "python3.?",
                "",
                true,
                (7, 1, "gunicorn", "/usr/bin/python3.9", ""),
                (true, "include python3.?"),
            ),
            ("7", "", "nginx", true, (7, 1, "nginx", "", ""), (true, "pids")),
            ("7", "", "", true, (8, 9, "nginx", "", ""), (false, "default")),
            ("7", "", "", true, (8, 7, "nginx", "", ""), (true, "child of 7")),
            ("", "", "", false, (8, 1, "nginx", "", docker.as_str()), (false, "in a container")),
            ("", "", "", true, (8, 2, "kworker", "", ""), (false, "thread of the kernel")),
            ("", "", "", true, (99, 1, "deeptrace", "", ""), (false, "own process")),
        ];
        for (pids, include, exclude, containers, process, (watched, rule)) in table {
            let rules = Rules {
                pids: pids.split_whitespace().map(|pid| Pid(pid.parse().unwrap())).collect(),
                include: words(include),
                exclude: words(exclude),
                containers,
            };
            let watcher = Watcher::new(rules, Pid(99)).unwrap();
            let (pid, parent, comm, executable, cgroup) = process;
            let facts = facts(pid, parent, comm, executable, cgroup);
            let is_watched = pids == parent.to_string();
            let above = Verdict { watched: is_watched, rule: String::new(), by_hand: false };
            let got = watcher.verdict(&facts, Some(&above));
            assert_eq!((got.watched, got.rule.as_str()), (watched, rule), "{facts:?}");
        }
    }

    #[test]
    fn by_hand_beats_rules_and_survives_them() {
        let mut watcher = Watcher::new(Rules::default(), Pid(99)).unwrap();
        watcher.set_by_hand(Pid(7), false);
        watcher.set_rules(Rules { include: words("nginx"), ..Rules::default() }).unwrap();
        let nginx = facts(7, 1, "nginx", "", "");
        assert!(!watcher.verdict(&nginx, None).watched);
        // Its children neither, until somebody says otherwise of one of them.
        let above = watcher.verdict(&nginx, None);
        let worker = facts(8, 7, "nginx", "", "");
        let below = watcher.verdict(&worker, Some(&above));
        assert_eq!((below.watched, below.rule.as_str()), (false, "child of 7"));
        let child = facts(9, 8, "nginx", "", "");
        assert!(!watcher.verdict(&child, Some(&below)).watched);
        watcher.set_by_hand(Pid(8), true);
        assert!(watcher.verdict(&worker, Some(&above)).watched);
        watcher.forget(Pid(7));
        assert!(watcher.verdict(&nginx, None).watched);
        let bad = Rules { include: words("[a"), ..Rules::default() };
        assert!(watcher.set_rules(bad).unwrap_err().to_string().contains("[a"));
        assert!(watcher.verdict(&nginx, None).watched);
    }
}
