//! TLS: plaintext of encrypted connections, from probes at the functions of TLS libraries.
//!
//! A library is a row (`library.rs`), found in the processes that are watched (`finder.rs`), probed once
//! for all of them, and let go when nobody uses it any more. Nothing is written to a process: the kernel
//! runs our program when the function is called. What a session encrypts is joined to its socket
//! (`join.rs`) and to its records (`flow.rs`).

mod finder;
mod flow;
mod gnutls;
mod go;
mod image;
mod join;
mod library;
mod openssl;
mod pclntab;

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::{BootTime, Duration, Pid};
use libbpf_rs::Link;

use self::finder::{Answer, FileKey, Finder, Found};
pub(super) use self::join::Join;
use self::library::{KINDS, Probe, ProbeKind, Reason};
use super::kernel::Kernel;
use super::probe::Probing;

/// Files that are probed at once.
const ATTACHMENTS_MAX: usize = 128;
/// How long a file stays probed that no process uses: programs that run for a moment come again.
const LINGER: Duration = Duration::from_secs(60);
/// When a process is looked at after it began: its libraries are mapped one after another.
const LOOKS: [Duration; 4] =
    [Duration(0), Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(2)];
/// How soon a process is looked at again that speaks TLS by no library that we know, at first.
const AGAIN: Duration = Duration::from_millis(20);
/// Looks that are planned.
const PLANNED_MAX: usize = 4096;

/// TLS in a process, as far as was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsLibrary {
    /// As people know it.
    pub name: &'static str,
    /// The file, as the process knows it.
    pub path: String,
    /// Whether plaintext is seen.
    pub plaintext: bool,
    /// Why not, or at which cost; empty where there is nothing to say.
    pub detail: String,
}

/// A file that is probed, or could not be.
struct Attachment {
    #[expect(dead_code, reason = "held: probes go when it is dropped")]
    links: Vec<Link>,
    users: BTreeSet<Pid>,
    idle_since: Option<BootTime>,
    verdict: Result<(), Reason>,
    is_emulated: bool,
    since: BootTime,
}

struct Process {
    found: Vec<Found>,
    looked: BootTime,
    wait: Duration,
    is_asked: bool,
    /// Records of TLS were seen on its sockets, and no library that they are of.
    is_speaking: bool,
}

/// Everything about TLS but the joining.
pub(super) struct Tls {
    finder: Option<Finder>,
    attachments: BTreeMap<FileKey, Attachment>,
    processes: BTreeMap<Pid, Process>,
    planned: Vec<(BootTime, Pid)>,
    failures: u64,
    dropped: u64,
}

impl Tls {
    pub(super) fn new(kernel: &Kernel) -> Self {
        let is_possible = kernel.probing != Probing::Nothing;
        Self {
            finder: if is_possible { Finder::start().ok() } else { None },
            attachments: BTreeMap::new(),
            processes: BTreeMap::new(),
            planned: Vec::new(),
            failures: 0,
            dropped: 0,
        }
    }

    /// A watched process is there, or has another program now.
    pub(super) fn began(&mut self, pid: Pid, now: BootTime) {
        self.ended(pid, now);
        self.look(pid, now);
        if self.planned.len() + LOOKS.len() <= PLANNED_MAX {
            self.planned.extend(LOOKS[1..].iter().map(|wait| (now.plus(*wait), pid)));
        }
    }

    /// A watched process that may have been looked at.
    pub(super) fn meet(&mut self, pid: Pid, now: BootTime) {
        if !self.processes.contains_key(&pid) {
            self.look(pid, now);
        }
    }

    /// A process speaks TLS. Where no library of it is known, it may have been loaded since.
    pub(super) fn suspect(&mut self, pid: Pid, now: BootTime) {
        if self.covered_since(pid).is_some() {
            return;
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.is_speaking = true;
            if process.is_asked || now.since(process.looked) < process.wait {
                return;
            }
        }
        self.look(pid, now);
    }

    /// Forgets the processes that `is_watched` does not name.
    pub(super) fn keep_only(&mut self, is_watched: impl Fn(Pid) -> bool, now: BootTime) {
        let gone: Vec<Pid> =
            self.processes.keys().copied().filter(|pid| !is_watched(*pid)).collect();
        gone.into_iter().for_each(|pid| self.ended(pid, now));
    }

    /// A process ended, or is not watched any more.
    pub(super) fn ended(&mut self, pid: Pid, now: BootTime) {
        let Some(process) = self.processes.remove(&pid) else { return };
        for found in process.found {
            if let Some(attachment) = self.attachments.get_mut(&found.file) {
                attachment.users.remove(&pid);
                attachment.idle_since = attachment.users.is_empty().then_some(now);
            }
        }
    }

    fn look(&mut self, pid: Pid, now: BootTime) {
        let Some(finder) = &self.finder else { return };
        let is_speaking = self.processes.get(&pid).is_some_and(|process| process.is_speaking);
        if !finder.ask(pid, is_speaking) {
            self.dropped += 1;
            return;
        }
        let process = self.processes.entry(pid).or_insert_with(|| Process {
            found: Vec::new(),
            looked: now,
            wait: AGAIN,
            is_asked: true,
            is_speaking,
        });
        process.is_asked = true;
        process.looked = now;
    }

    /// Looks that are due, answers that came, files that nobody uses any more. Returns whether anything
    /// is probed.
    pub(super) fn keep_house(&mut self, kernel: &Kernel, now: BootTime) -> bool {
        let due: Vec<Pid> =
            self.planned.extract_if(.., |(at, _)| *at <= now).map(|(_, pid)| pid).collect();
        for pid in due {
            if self.processes.contains_key(&pid) && self.covered_since(pid).is_none() {
                self.look(pid, now);
            }
        }
        while let Some(answer) = self.finder.as_ref().and_then(Finder::answer) {
            self.take(answer, kernel, now);
        }
        self.attachments.retain(|_, attachment| {
            attachment.idle_since.is_none_or(|since| now.since(since) < LINGER)
        });
        self.attachments.values().any(|attachment| attachment.verdict.is_ok())
    }

    /// What was found in a process is probed, if it is not yet.
    fn take(&mut self, answer: Answer, kernel: &Kernel, now: BootTime) {
        let Answer { pid, found } = answer;
        if !self.processes.contains_key(&pid) {
            return;
        }
        for found in &found {
            let Ok(probes) = &found.probes else { continue };
            let room = self.attachments.len() < ATTACHMENTS_MAX;
            let failures = &mut self.failures;
            let attachment = self.attachments.entry(found.file).or_insert_with(|| {
                let links = match room {
                    true => attach(kernel, &found.at, probes),
                    false => Err(Reason::TooMany(ATTACHMENTS_MAX)),
                };
                *failures += u64::from(links.is_err());
                Attachment {
                    verdict: links.as_ref().map(|_| ()).map_err(Reason::clone),
                    links: links.unwrap_or_default(),
                    users: BTreeSet::new(),
                    idle_since: None,
                    is_emulated: probes
                        .iter()
                        .all(|probe| probe.is_emulated || probe.kind == ProbeKind::Free),
                    since: crate::host::boot_time_now(),
                }
            });
            attachment.users.insert(pid);
            attachment.idle_since = None;
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.is_asked = false;
        process.wait = Duration(process.wait.0.saturating_mul(2).min(60_000_000_000));
        process.looked = now;
        process.found = found;
    }

    /// Since when plaintext of a process is seen. `None`: it is not.
    pub(super) fn covered_since(&self, pid: Pid) -> Option<BootTime> {
        let process = self.processes.get(&pid)?;
        let attachments =
            process.found.iter().filter_map(|found| self.attachments.get(&found.file));
        attachments.filter(|attachment| attachment.verdict.is_ok()).map(|a| a.since).max()
    }

    /// Since when everything is probed that is probed now.
    pub(super) fn probed_since(&self) -> Option<BootTime> {
        let probed = self.attachments.values().filter(|attachment| attachment.verdict.is_ok());
        probed.map(|attachment| attachment.since).max()
    }

    /// The TLS libraries of a process.
    pub(super) fn libraries(&self, pid: Pid) -> Vec<TlsLibrary> {
        let found = self.processes.get(&pid).map(|process| process.found.as_slice());
        found.unwrap_or_default().iter().map(|found| self.describe(found)).collect()
    }

    fn describe(&self, found: &Found) -> TlsLibrary {
        let attachment = self.attachments.get(&found.file);
        let detail = match (&found.probes, attachment.map(|attachment| &attachment.verdict)) {
            (Err(reason), _) | (_, Some(Err(reason))) => Some(reason.to_string()),
            (Ok(_), None) => Some("not probed yet".to_owned()),
            (Ok(_), Some(Ok(()))) => None,
        };
        let plaintext = detail.is_none();
        let is_dear = attachment.is_some_and(|attachment| !attachment.is_emulated);
        let dear =
            "the kernel cannot emulate the instruction probed: about 10 µs a call".to_owned();
        TlsLibrary {
            name: found.library,
            path: found.path.clone(),
            plaintext,
            detail: detail.or(is_dear.then_some(dear)).unwrap_or_default(),
        }
    }

    /// Tells each counter with its value since the start.
    pub(super) fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("capture_tls_files_probed", self.attachments.len() as u64);
        out("capture_tls_probe_failures_total", self.failures);
        out("capture_tls_looks_dropped_total", self.dropped);
    }
}

/// Puts our programs on a file.
fn attach(kernel: &Kernel, at: &std::path::Path, probes: &[Probe]) -> Result<Vec<Link>, Reason> {
    let mut links = Vec::new();
    for kind in KINDS {
        let of_kind = probes.iter().filter(|probe| probe.kind == kind);
        let places: Vec<(u64, u64)> = of_kind.map(|probe| (probe.offset, probe.shape)).collect();
        let programs = kind.programs(kernel.probing).iter().filter(|_| !places.is_empty());
        for program in programs {
            let attached = kernel.attach(program, at, &places);
            links.extend(attached.map_err(|error| Reason::Refused(error.to_string()))?);
        }
    }
    Ok(links)
}

/// TLS libraries in processes that run now: name, why they are not understood, and how many have them.
pub(super) fn survey() -> BTreeMap<(&'static str, Option<String>), usize> {
    let mut files = finder::Files::new();
    let mut counts = BTreeMap::new();
    for pid in crate::process::pids() {
        let found = finder::look(pid, false, &mut files);
        let kinds = found.into_iter().map(|found| {
            let reason = found.probes.err().map(|reason| reason.to_string());
            (found.library, reason)
        });
        for kind in kinds.collect::<BTreeSet<_>>() {
            *counts.entry(kind).or_insert(0) += 1;
        }
    }
    counts
}

/// Whether these bytes begin with the header of a TLS record (RFC 8446 §5.1).
pub(super) fn is_record(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=23, 3, 0..=4, ..])
}
