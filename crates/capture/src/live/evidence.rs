//! Evidence: what beyond socket calls can be told of a process, each kind with a name by which it is
//! switched off.

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Wake-ups of threads by futex(2).
    Wakes,
    /// The context that CPython runs in.
    Contexts,
    /// Copies of CPython's contexts: a probe.
    Copies,
    /// Items that go through CPython's queues: probes.
    Queues,
    /// Greenlets of gevent.
    Greenlets,
    /// Goroutines, who makes which of them ready, and who makes which: probes.
    Tasks,
    /// Java's virtual threads.
    VirtualThreads,
    /// Tasks of tokio, who wakes which of them, and who makes which: probes.
    Tokio,
}

/// All kinds, with the names that people use.
pub const EVIDENCE: &[(Evidence, &str)] = &[
    (Evidence::Wakes, "wakes"),
    (Evidence::Contexts, "contexts"),
    (Evidence::Copies, "copies"),
    (Evidence::Queues, "queues"),
    (Evidence::Greenlets, "greenlets"),
    (Evidence::Tasks, "goroutines"),
    (Evidence::VirtualThreads, "virtual_threads"),
    (Evidence::Tokio, "tokio"),
];

impl Evidence {
    /// As in `[correlation.evidence]`.
    pub fn as_str(self) -> &'static str {
        EVIDENCE.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// What may be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Kinds that are switched off.
    pub off: Vec<Evidence>,
    /// What the probes in one process may cost: microseconds of CPU a second.
    pub budget_us_per_s: u64,
    /// Makes what is known of runtimes wrong, to see that it costs answers only: a place (0 is the slot, then
    /// `dt_follow.at`), and by how many bytes.
    pub off_by: Option<(usize, i64)>,
}

impl Default for Allowed {
    fn default() -> Self {
        Self { off: Vec::new(), budget_us_per_s: 50_000, off_by: None }
    }
}

impl Allowed {
    pub(super) fn has(&self, kind: Evidence) -> bool {
        !self.off.contains(&kind)
    }
}
