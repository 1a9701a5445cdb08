//! Live: the running kernel as a source of events.
//!
//! The programs in `bpf/` write records into a ring buffer without waking anybody; `poll` takes a
//! bounded batch out of it. Nothing in the kernel ever waits for us: when the ring is full, records
//! are counted and dropped, whether we are slow, stopped or dead.

mod complaint;
mod deliver;
mod describe;
mod evidence;
mod follow;
mod kernel;
mod listening;
mod probe;
mod record;
mod roster;
mod runtime;
mod tls;
mod verdicts;

use std::cell::RefCell;
use std::rc::Rc;

use deeptrace_model::{
    BootTime, Clock, Demand, Duration, Event, EventBody, EventId, Follow, LossCause, Pid,
};
use libbpf_rs::{RingBuffer, RingBufferBuilder};

pub use self::evidence::{Allowed, EVIDENCE, Evidence};
use self::follow::Follower;
pub use self::follow::Following;
use self::kernel::Kernel;
use self::listening::Listening;
pub use self::probe::{Check, CheckStatus, checks};
use self::record::{decode, used};
use self::roster::Roster;
pub use self::roster::Watched;
pub use self::tls::TlsLibrary;
use self::tls::{Join, Tls};
use crate::host::{boot_time_now, clock_now, host};
use crate::service::Names;
use crate::watch::Rules;
use crate::{Progress, Source, SourceError};

/// Where in the kernel calls are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// The best that this kernel has.
    #[default]
    Auto,
    /// The end of socket operations: Linux 6.3 and newer.
    SocketTracepoints,
    /// The exit of system calls: everywhere, dearer.
    SyscallExit,
}

impl Hook {
    /// As in `--hook`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::SocketTracepoints => "socket-tracepoints",
            Self::SyscallExit => "syscall-exit",
        }
    }
}

/// How to capture.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to see calls.
    pub hook: Hook,
    /// Size of the ring buffer, bytes: a power of two, at least a page.
    pub ring_bytes: u32,
    /// Copied of a call until its protocol is known, bytes.
    pub bytes_default: u32,
    /// Copied of a call at most, bytes.
    pub bytes_max: u32,
    /// What is watched.
    pub rules: Rules,
    /// How services are named.
    pub names: Names,
    /// What may be told beside socket calls.
    pub allowed: Allowed,
    /// Ports of our own listeners; connections to them are left out on both sides. At most 8.
    pub own_ports: Vec<u16>,
}

impl Options {
    /// 16 MiB of ring, 1 KiB of a call (heads of HTTP are often longer than 256 bytes), 16 KiB where a protocol asks for everything.
    pub fn new(rules: Rules, names: Names) -> Self {
        Self {
            hook: Hook::Auto,
            ring_bytes: 16 << 20,
            bytes_default: 1024,
            bytes_max: 16384,
            rules,
            names,
            allowed: Allowed::default(),
            own_ports: Vec::new(),
        }
    }
}

/// A kernel program that we loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its id.
    pub id: u32,
    /// Its name, beginning with `deeptrace`.
    pub name: String,
    /// Its type, in the kernel's words.
    pub kind: String,
    /// The tracepoint it is attached to.
    pub attached_to: String,
    /// How often it ran; zero where the kernel does not count (`kernel.bpf_stats_enabled`).
    pub runs: u64,
    /// How long it ran in all, nanoseconds; zero where the kernel does not count.
    pub run_time_ns: u64,
}

/// A kernel map that we made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its type, in the kernel's words.
    pub kind: String,
    /// Entries that it can hold (bytes, for the ring buffer).
    pub max_entries: u32,
    /// Kernel memory, bytes.
    pub memory_bytes: u64,
}

/// Records taken out of the ring in one go, and how many bytes of them at most: what stays in the
/// processor's nearest cache, and what is worked off before anybody notices.
const BATCH_RECORDS: usize = 128;
const BATCH_BYTES: usize = 1 << 18;
/// How often losses and the clock are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(50);
/// How often the wall clock is told, and from which step on it is told at once.
const CLOCK_EVERY: Duration = Duration::from_secs(10);
const CLOCK_STEP: Duration = Duration::from_millis(1);
/// Causes of losses in the order of the kernel's counters (`enum dt_loss`).
const LOSSES: usize = 5;
const CAUSES: [LossCause; LOSSES] = [
    LossCause::RingFull,
    LossCause::CopyFailed,
    LossCause::MapFull,
    LossCause::Paused,
    LossCause::Shed,
];

/// The running kernel.
///
/// Stays on the thread that opened it. Dropping it detaches and unloads everything.
pub struct Live {
    ring: RingBuffer<'static>,
    batch: Rc<RefCell<Vec<u8>>>,
    spare: Vec<u8>,
    kernel: Kernel,
    roster: Roster,
    listening: Listening,
    tls: Tls,
    /// Taken out while it tells.
    join: Option<Box<Join>>,
    follower: Follower,
    demands: Vec<Demand>,
    next: u64,
    clock: Option<Clock>,
    looked: BootTime,
    is_probing: bool,
    lost: [u64; LOSSES],
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    events: u64,
    malformed: u64,
    unwatched: u64,
    demands_refused: u64,
}

impl Live {
    /// Loads, attaches and begins. Fails with one line that says what to do, leaving nothing behind.
    pub fn open(options: Options) -> Result<Self, SourceError> {
        complaint::listen();
        let kernel = Kernel::load(&options);
        let reason = complaint::reason();
        let mut kernel = kernel.map_err(|error| error.with_detail(reason))?;
        let batch = Rc::new(RefCell::new(Vec::with_capacity(BATCH_BYTES)));
        let ring = ring(&kernel, &batch)?;
        let pids = crate::process::pids();
        let mut roster = Roster::new(options.rules, options.names)?;
        roster.scan(&kernel);
        let by_default = roster.watches_by_default();
        kernel.set(|knobs| {
            knobs.watch_default = by_default;
            knobs.bytes_default = options.bytes_default;
            knobs.bytes_max = options.bytes_max;
            knobs.ports = options.own_ports.clone();
            knobs.paused = false;
        })?;
        let tls = Tls::new(&kernel);
        // What was missed while it was switched off at the start is no loss.
        let lost = kernel.losses();
        let mut live = Self {
            ring,
            batch,
            spare: Vec::with_capacity(BATCH_BYTES),
            listening: Listening::read(&pids),
            follower: Follower::new(kernel.object(), options.allowed),
            kernel,
            roster,
            tls,
            join: Some(Box::default()),
            demands: Vec::new(),
            next: 0,
            clock: None,
            looked: BootTime(0),
            is_probing: false,
            lost,
            counts: Counts::default(),
        };
        live.meet_all();
        Ok(live)
    }

    /// The hook in use: never `Auto`.
    pub fn hook(&self) -> Hook {
        self.kernel.hook
    }

    /// Watches a process from now on, with its future children, whatever the rules say. `None`: there
    /// is no such process.
    pub fn add_process(&mut self, pid: Pid) -> Option<Watched> {
        let added = self.roster.set_by_hand(&self.kernel, pid, true);
        self.meet_all();
        added
    }

    /// Watches a process no more. `None`: there is no such process.
    pub fn remove_process(&mut self, pid: Pid) -> Option<Watched> {
        let removed = self.roster.set_by_hand(&self.kernel, pid, false);
        self.meet_all();
        removed
    }

    /// Takes other rules and service names, down to the kernel's maps. Bad rules change nothing.
    pub fn set_rules(&mut self, rules: Rules, names: Names) -> Result<(), SourceError> {
        self.roster.set_rules(rules, names)?;
        let by_default = self.roster.watches_by_default();
        self.kernel.set(|knobs| knobs.watch_default = by_default)?;
        self.roster.scan(&self.kernel);
        self.meet_all();
        Ok(())
    }

    /// Looks for TLS in whoever is watched now.
    fn meet_all(&mut self) {
        let now = boot_time_now();
        let Self { roster, tls, .. } = self;
        tls.keep_only(|pid| roster.is_watched(pid), now);
        roster.watched_pids().for_each(|pid| tls.meet(pid, now));
    }

    /// Every process with the verdict on it, by pid.
    pub fn processes(&mut self) -> Vec<Watched> {
        let mut all = self.roster.all();
        for found in all.iter_mut().filter(|found| found.watched) {
            found.tls = self.tls.libraries(found.process.key.pid);
        }
        all
    }

    /// Stops capture, or goes on. What happens meanwhile is counted as lost.
    pub fn set_paused(&mut self, paused: bool) -> Result<(), SourceError> {
        self.kernel.set(|knobs| knobs.paused = paused)
    }

    /// Bounds what is copied of a call: by default, and where a protocol asks for more.
    pub fn set_bytes(&mut self, default: u32, max: u32) -> Result<(), SourceError> {
        self.kernel.set(|knobs| {
            knobs.bytes_default = default;
            knobs.bytes_max = max.min(16384);
        })
    }

    /// Tells hand-overs and units of a process, or no more.
    pub fn follow(&mut self, ask: Follow) {
        self.follower.apply(self.kernel.object(), self.kernel.has_wakes, ask);
    }

    /// Says what may be told of processes that are followed from now on.
    pub fn allow(&mut self, allowed: Allowed) {
        self.follower.allow(allowed);
    }

    /// How a process is followed; `None`: it is not.
    pub fn following(&self, pid: Pid) -> Option<&Following> {
        self.follower.following(pid)
    }

    /// Our programs.
    pub fn programs(&self) -> Vec<ProgramInfo> {
        self.kernel.programs()
    }

    /// Our maps.
    pub fn maps(&self) -> Vec<MapInfo> {
        self.kernel.maps()
    }

    /// Hands on what the parsers ask for.
    fn pass_demands(&mut self) -> Result<(), SourceError> {
        if self.demands.is_empty() {
            return Ok(());
        }
        let mut refused = self.kernel.demand(&self.demands)?;
        for demand in self.demands.drain(..).filter(|demand| demand.plaintext) {
            let whose = self.join.as_ref().and_then(|join| join.whose(demand.connection));
            // A session that has ended needs nothing more.
            let Some(whose) = whose else { continue };
            let written = self.kernel.demand_plaintext(whose, demand.bytes_per_call);
            refused += usize::from(!written);
        }
        self.counts.demands_refused += refused as u64;
        Ok(())
    }

    fn emit(&mut self, time: BootTime, body: EventBody<'_>, sink: &mut dyn FnMut(&Event<'_>)) {
        self.next += 1;
        self.counts.events += 1;
        sink(&Event { id: EventId(self.next), time, body });
    }

    /// Host and clock at the start; the clock again and losses when it is time.
    fn keep_house(&mut self, sink: &mut dyn FnMut(&Event<'_>)) -> Result<(), SourceError> {
        let Clock { boot: now, wall } = clock_now();
        if self.next == 0 {
            self.emit(now, EventBody::Host(host()), sink);
        }
        self.follower.attend(self.kernel.object(), self.kernel.has_wakes);
        let is_probing = self.tls.keep_house(&self.kernel, now);
        if is_probing != self.is_probing {
            self.kernel.set(|knobs| knobs.tls = is_probing)?;
            self.is_probing = is_probing;
        }
        if self.next > 1 && now.since(self.looked) < HOUSEKEEPING {
            return Ok(());
        }
        self.looked = now;
        let due = self.clock.is_none_or(|clock| {
            let drift = clock.wall(now).0.abs_diff(wall.0);
            now.since(clock.boot) >= CLOCK_EVERY || drift > CLOCK_STEP.0
        });
        if due {
            self.clock = Some(Clock { boot: now, wall });
            self.emit(now, EventBody::Clock(wall), sink);
        }
        let lost = self.kernel.losses();
        for (cause, (total, told)) in CAUSES.iter().zip(lost.iter().zip(self.lost)) {
            let count = total.saturating_sub(told);
            if count > 0 {
                self.emit(now, EventBody::Lost { cause: *cause, count }, sink);
            }
        }
        self.lost = lost;
        if self.follower.check(self.kernel.object(), self.kernel.has_wakes) {
            self.emit(now, EventBody::Lost { cause: LossCause::Shed, count: 0 }, sink);
        }
        Ok(())
    }
}

impl Source for Live {
    fn poll(&mut self, sink: &mut dyn FnMut(&Event<'_>)) -> Result<Progress, SourceError> {
        self.keep_house(sink)?;
        self.pass_demands()?;
        // Negative: the batch is full, and the rest stays for the next time.
        let taken = self.ring.consume_raw_n(BATCH_RECORDS);
        let records =
            std::mem::replace(&mut *self.batch.borrow_mut(), std::mem::take(&mut self.spare));
        let mut rest = records.as_slice();
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let (record, tail) = tail.split_at(u32::from_ne_bytes(*len) as usize);
            rest = tail;
            match decode(record) {
                Some((header, body)) => self.deliver(header, body, sink),
                None => self.counts.malformed += 1,
            }
        }
        let more = taken < 0 || taken as usize >= BATCH_RECORDS;
        self.spare = records;
        self.spare.clear();
        Ok(if more { Progress::More } else { Progress::Idle })
    }

    fn demand(&mut self, demand: Demand) {
        self.demands.push(demand);
    }

    fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let [ring_full, copy_failed, map_full, paused, shed] = self.lost;
        out("capture_events_total", self.counts.events);
        out("capture_lost_ring_full_total", ring_full);
        out("capture_lost_copy_failed_total", copy_failed);
        out("capture_lost_map_full_total", map_full);
        out("capture_lost_paused_total", paused);
        out("capture_handovers_shed_total", shed);
        self.follower.counters(out);
        out("capture_malformed_records_total", self.counts.malformed);
        out("capture_unwatched_events_total", self.counts.unwatched);
        out("capture_demands_refused_total", self.counts.demands_refused);
        out("capture_verdicts_refused_total", self.roster.refused());
        self.tls.counters(out);
        if let Some(join) = &self.join {
            join.counters(out);
        }
    }
}

/// The ring buffer's reader: it only moves records into our batch, which `poll` then decodes.
fn ring(kernel: &Kernel, batch: &Rc<RefCell<Vec<u8>>>) -> Result<RingBuffer<'static>, SourceError> {
    let failed = |problem: String| SourceError::Kernel {
        problem: format!("cannot read the ring buffer ({problem})"),
        remedy: "see that this process may map 16 MiB more (memory limits of its cgroup)".into(),
    };
    let map = kernel.ring().ok_or_else(|| failed("it is missing".into()))?;
    let batch = Rc::clone(batch);
    let mut builder = RingBufferBuilder::new();
    builder
        .add(&map, move |record: &[u8]| {
            let record = used(record);
            let mut batch = batch.borrow_mut();
            batch.extend_from_slice(&(record.len() as u32).to_ne_bytes());
            batch.extend_from_slice(record);
            if batch.len() > BATCH_BYTES { -1 } else { 0 }
        })
        .map_err(|error| failed(error.to_string()))?;
    builder.build().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests;
