//! Follow: processes whose hand-overs and units are told, because what is seen of their sockets leaves
//! calls unexplained.

use std::collections::{BTreeMap, VecDeque};

use deeptrace_model::{BootTime, Duration, Follow, HandOverKind, Pid};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, Object, UprobeOpts};

use super::evidence::{Allowed, Evidence};
use super::runtime::{self, Finder, PLACES, Runtime};
use crate::host::boot_time_now;

/// Hand-overs that one processor tells in 134 ms, at most: 60 000 a second.
const RATE_MAX: u32 = 8000;
/// Processes that are followed at once, as `DT_FOLLOWED_MAX`.
const FOLLOWED_MAX: usize = 1024;
/// A futex is muted for so long: its memory may be used again for something else.
const SILENCE: Duration = Duration::from_secs(10);
/// How often to look what probes cost.
const BUDGET_PERIOD: Duration = Duration::from_secs(1);
/// Probes that were too dear are tried again after so long.
const REST: Duration = Duration::from_secs(60);
/// Probes of one process.
const PROBES_MAX: usize = 16;
/// Place of `dt_follow.reads`; `misses` and `hits` follow.
pub(super) const COUNTS: usize = 16 + 8 * PLACES;
/// Reads of units before those that found none are judged, and most of 100 of them that may have.
const READS_MIN: u64 = 1000;
const MISSES_MAX: u64 = 20;

/// How a process is followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// Kinds of evidence that are in use.
    pub evidence: Vec<&'static str>,
    /// The language's runtime, where it is known.
    pub runtime: Option<String>,
    /// Why there is not more.
    pub missing: Vec<String>,
}

struct Followed {
    runtime: Runtime,
    links: Vec<Link>,
    told: Following,
    /// Of its probes, when last looked at.
    hits: u64,
    /// When its probes were found too dear.
    tired: Option<BootTime>,
}

/// All of them.
pub(super) struct Follower {
    follows: Option<MapHandle>,
    following: Option<MapHandle>,
    muted: Option<MapHandle>,
    /// What is muted, and since when.
    silent: VecDeque<(BootTime, Vec<u8>)>,
    followed: BTreeMap<Pid, Followed>,
    /// `None`: there is no thread for it, and nobody is followed.
    finder: Option<Finder>,
    /// Who is to be followed once its runtime is known; whether only if that can be read.
    waiting: BTreeMap<Pid, bool>,
    allowed: Allowed,
    looked: BootTime,
    refused: u64,
}

impl Follower {
    /// Whose maps are in `object`. Where the kernel cannot tell hand-overs, nobody is followed.
    pub(super) fn new(object: &Object, allowed: Allowed) -> Self {
        let handle = |name: &str| {
            let map = object.maps().find(|map| map.name() == name)?;
            MapHandle::try_from(&map).ok()
        };
        Self {
            follows: handle("follows"),
            following: handle(".data.following"),
            muted: handle("muted"),
            silent: VecDeque::new(),
            followed: BTreeMap::new(),
            finder: Finder::start().ok(),
            waiting: BTreeMap::new(),
            allowed,
            looked: boot_time_now(),
            refused: 0,
        }
    }

    /// Does what was asked for.
    pub(super) fn apply(&mut self, object: &Object, has_wakes: bool, ask: Follow) {
        match ask {
            Follow::Begin(pid) => self.begin(object, has_wakes, pid, false),
            Follow::Units(pid) => self.begin(object, has_wakes, pid, true),
            Follow::End(pid) => self.end(pid),
            Follow::Mute(pid, word) => {
                let key = [word, u64::from(pid.0)].map(u64::to_ne_bytes).concat();
                if let Some(muted) = &self.muted {
                    let done = muted.update(&key, &1u32.to_ne_bytes(), MapFlags::ANY);
                    self.refused += u64::from(done.is_err());
                    self.silent.push_back((boot_time_now(), key));
                }
            }
        }
    }

    /// A process is a server, and may have to be followed.
    pub(super) fn meet(&mut self, pid: Pid) {
        if let Some(finder) = &mut self.finder {
            finder.meet(pid);
        }
    }

    /// Follows who waited for its runtime to be known. To be called often.
    pub(super) fn attend(&mut self, object: &Object, has_wakes: bool) {
        for pid in self.finder.as_mut().map(Finder::answers).unwrap_or_default() {
            if let Some(only_units) = self.waiting.remove(&pid) {
                self.begin(object, has_wakes, pid, only_units);
            }
        }
    }

    fn begin(&mut self, object: &Object, has_wakes: bool, pid: Pid, only_units: bool) {
        let Some(finder) = &mut self.finder else { return };
        if self.followed.contains_key(&pid) || self.followed.len() >= FOLLOWED_MAX {
            return;
        }
        let Some(found) = finder.found(pid) else {
            if self.waiting.len() < FOLLOWED_MAX {
                *self.waiting.entry(pid).or_insert(only_units) &= only_units;
            }
            return;
        };
        let mut told = Following::default();
        let (runtime, migrates) = match found {
            Ok(found) => {
                let runtime = found.unwrap_or_default().off_by(self.allowed.off_by);
                let migrates = runtime.migrates;
                (runtime, migrates)
            }
            Err(unread) => {
                told.missing.push(unread.why);
                (Runtime::default(), unread.migrates)
            }
        };
        let wakes = has_wakes && !migrates && self.allows(Evidence::Wakes, &mut told);
        if !has_wakes {
            told.missing.push("wake-ups need Linux 5.15".to_owned());
        }
        told.evidence.extend(wakes.then_some(Evidence::Wakes.as_str()));
        let reads = runtime.evidence.is_some_and(|kind| self.allows(kind, &mut told));
        let runtime = if reads { runtime } else { Runtime::default() };
        told.evidence.extend(runtime.evidence.map(Evidence::as_str));
        told.runtime = reads.then(|| runtime.name.clone());
        if (only_units && told.runtime.is_none()) || !self.write(pid, Some((&runtime, wakes))) {
            return;
        }
        let links = self.probe(object, pid, &runtime, &mut told);
        self.followed.insert(pid, Followed { runtime, links, told, hits: 0, tired: None });
        self.count();
    }

    /// Whether the configuration allows a kind of evidence; if not, that is told.
    fn allows(&self, kind: Evidence, told: &mut Following) -> bool {
        let allows = self.allowed.has(kind);
        if !allows {
            let why = format!("{} are switched off by configuration", kind.as_str());
            if !told.missing.contains(&why) {
                told.missing.push(why);
            }
        }
        allows
    }

    fn probe(
        &self,
        object: &Object,
        pid: Pid,
        runtime: &Runtime,
        told: &mut Following,
    ) -> Vec<Link> {
        let mut links = Vec::new();
        for probe in runtime.probes.iter().take(PROBES_MAX) {
            if Some(probe.evidence) != runtime.evidence && !self.allows(probe.evidence, told) {
                continue;
            }
            match attach(object, pid, probe) {
                Ok(link) => {
                    links.push(link);
                    let name = probe.evidence.as_str();
                    if !told.evidence.contains(&name) {
                        told.evidence.push(name);
                    }
                }
                Err(error) => told.missing.push(format!("probe {} ({error})", probe.program)),
            }
        }
        links
    }

    /// Says what may be told from now on, of processes that are followed from now on.
    pub(super) fn allow(&mut self, allowed: Allowed) {
        self.allowed = allowed;
    }

    /// Detaches probes that cost more than they may; to be called once in `period`. True: some were, so
    /// that hand-overs are missing from now on.
    fn hold_budget(&mut self, now: BootTime, period: Duration) -> bool {
        let mut dear = Vec::new();
        for (pid, followed) in &self.followed {
            let hits = self.counts(*pid).map_or(0, |[_, _, hits]| hits);
            let cost_us = hits.saturating_sub(followed.hits) * followed.runtime.hit_us;
            let per_second = cost_us.saturating_mul(1_000_000_000) / period.0.max(1);
            dear.push((*pid, hits, per_second > self.allowed.budget_us_per_s));
        }
        let mut any = false;
        for (pid, hits, is_dear) in dear {
            let Some(followed) = self.followed.get_mut(&pid) else { continue };
            followed.hits = hits;
            if is_dear && !followed.links.is_empty() {
                followed.links.clear();
                followed.tired = Some(now);
                let dropped: Vec<&str> =
                    followed.runtime.probes.iter().map(|probe| probe.evidence.as_str()).collect();
                followed.told.evidence.retain(|kind| !dropped.contains(kind));
                let why = "its probes cost more than probe_budget_us_per_s".to_owned();
                followed.told.missing.push(why);
                any = true;
            }
        }
        any
    }

    /// Probes again what was too dear a while ago: the load may be another one.
    fn try_again(&mut self, object: &Object, has_wakes: bool, now: BootTime) {
        let since = now.minus(REST);
        let rested = |followed: &Followed| followed.tired.is_some_and(|tired| tired < since);
        let rested = self.followed.iter().filter(|(_, followed)| rested(followed));
        for pid in rested.map(|(pid, _)| *pid).collect::<Vec<Pid>>() {
            self.end(pid);
            self.begin(object, has_wakes, pid, false);
        }
    }

    /// Follows a process no more.
    pub(super) fn end(&mut self, pid: Pid) {
        self.waiting.remove(&pid);
        if self.followed.remove(&pid).is_some() {
            self.write(pid, None);
            self.count();
        }
    }

    /// A process ended, or has another program now.
    pub(super) fn gone(&mut self, pid: Pid) {
        self.end(pid);
        if let Some(finder) = &mut self.finder {
            finder.forget(pid);
        }
    }

    /// How a process is followed.
    pub(super) fn following(&self, pid: Pid) -> Option<&Following> {
        self.followed.get(&pid).map(|followed| &followed.told)
    }

    /// What it means that a unit is made ready; `None`: nothing changed hands.
    pub(super) fn meaning(&self, pid: Pid, reason: u64) -> Option<HandOverKind> {
        let reasons = &self.followed.get(&pid)?.runtime.reasons;
        *reasons.get(usize::try_from(reason).ok()?)?
    }

    /// Switches off readers that find no units where they should and probes that are too dear, and lets
    /// muted futexes speak again. To be called now and then. True: hand-overs are missing from now on.
    pub(super) fn check(&mut self, object: &Object, has_wakes: bool) -> bool {
        if let Some(finder) = &mut self.finder {
            // Too many may have waited to be looked at.
            self.waiting.keys().for_each(|pid| finder.meet(*pid));
        }
        let now = boot_time_now();
        let period = now.since(self.looked);
        let mut is_less = false;
        if period >= BUDGET_PERIOD {
            self.looked = now;
            is_less = self.hold_budget(now, period);
            self.try_again(object, has_wakes, now);
        }
        let since = now.minus(SILENCE);
        while self.silent.front().is_some_and(|(time, _)| *time < since)
            && let Some((_, key)) = self.silent.pop_front()
        {
            // The one not used lately may have made room by itself.
            let _ = self.muted.as_ref().map(|muted| muted.delete(&key));
        }
        self.check_readers() || is_less
    }

    fn check_readers(&mut self) -> bool {
        let bad: Vec<Pid> = self
            .followed
            .iter()
            .filter(|(_, followed)| followed.runtime.kind != 0)
            .filter(|(pid, _)| {
                self.counts(**pid).is_some_and(|[reads, misses, _]| {
                    reads + misses >= READS_MIN && misses * 100 > (reads + misses) * MISSES_MAX
                })
            })
            .map(|(pid, _)| *pid)
            .collect();
        let any = !bad.is_empty();
        for pid in bad {
            let Some(followed) = self.followed.get_mut(&pid) else { continue };
            let name = std::mem::take(&mut followed.runtime.name);
            followed.runtime = Runtime::default();
            followed.links.clear();
            followed.told.runtime = None;
            followed.told.evidence.retain(|kind| *kind == Evidence::Wakes.as_str());
            let why = format!("{name} does not keep its units where they were expected");
            followed.told.missing.push(why);
            let wakes = !followed.told.evidence.is_empty();
            self.write(pid, Some((&Runtime::default(), wakes)));
        }
        any
    }

    /// Tells each counter with its value since the start.
    pub(super) fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("capture_followed_processes", self.followed.len() as u64);
        let probes = self.followed.values().map(|followed| followed.links.len() as u64).sum();
        out("capture_runtime_probes", probes);
        out("capture_follows_refused_total", self.refused);
    }

    /// Units that were read in a process, reads that found none, and hits of probes.
    fn counts(&self, pid: Pid) -> Option<[u64; 3]> {
        let value = self.follows.as_ref()?.lookup(&pid.0.to_ne_bytes(), MapFlags::ANY).ok()??;
        let word = |at: usize| Some(u64::from_ne_bytes(value.get(at..at + 8)?.try_into().ok()?));
        Some([word(COUNTS)?, word(COUNTS + 8)?, word(COUNTS + 16)?])
    }

    fn write(&mut self, pid: Pid, follow: Option<(&Runtime, bool)>) -> bool {
        let Some(follows) = &self.follows else { return false };
        let key = pid.0.to_ne_bytes();
        let done = match follow {
            Some((runtime, wakes)) => follows.update(&key, &bytes(runtime, wakes), MapFlags::ANY),
            None => follows.delete(&key),
        };
        self.refused += u64::from(done.is_err());
        done.is_ok()
    }

    fn count(&mut self) {
        let Some(following) = &self.following else { return };
        let value = [self.followed.len() as u32, RATE_MAX].map(u32::to_ne_bytes).concat();
        let done = following.update(&0u32.to_ne_bytes(), &value, MapFlags::ANY);
        self.refused += u64::from(done.is_err());
    }
}

fn attach(object: &Object, pid: Pid, probe: &runtime::Probe) -> Result<Link, libbpf_rs::Error> {
    let mut programs = object.progs_mut();
    let program = programs.find(|program| program.name() == probe.program);
    let program = program.ok_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::ENOENT))?;
    let options = UprobeOpts { retprobe: probe.at_return, ..UprobeOpts::default() };
    let (pid, offset) = (pid.0 as i32, probe.offset as usize);
    program.attach_uprobe_with_opts(pid, &probe.path, offset, options)
}

/// `struct dt_follow`.
pub(super) fn bytes(runtime: &Runtime, wakes: bool) -> Vec<u8> {
    let first = [u32::from(wakes), runtime.kind].into_iter().flat_map(u32::to_ne_bytes);
    let words = std::iter::once(runtime.slot as u64).chain(runtime.at).chain([0; 3]);
    first.chain(words.flat_map(u64::to_ne_bytes)).collect()
}
