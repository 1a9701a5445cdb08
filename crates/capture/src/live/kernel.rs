//! Kernel: our programs and maps in it. Loading, attaching, and the settings that change live.

use std::path::Path;

use deeptrace_model::{Demand, Direction, Pid};
use libbpf_rs::{
    Link, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, Program, UprobeMultiOpts, UprobeOpts,
};

use super::probe::Probing;
use super::verdicts::{self, Verdicts};
use super::{Hook, Options, probe};
use crate::SourceError;

/// The kernel object, built from `bpf/deeptrace.bpf.c`.
pub(super) static OBJECT: &[u8] = include_bytes!("../../bpf/deeptrace.bpf.o");

/// The map that holds the settings: a section of the object.
const KNOBS: &str = ".data.knobs";

/// Number of loss counters.
const LOSSES: usize = 5;

/// Our programs and maps, attached until this is dropped.
pub(super) struct Kernel {
    object: Object,
    links: Vec<Link>,
    verdicts: Verdicts,
    policies: MapHandle,
    knobs: MapHandle,
    losses: MapHandle,
    tls_policies: Option<MapHandle>,
    settings: Knobs,
    /// The hook in use: never `Auto`.
    pub(super) hook: Hook,
    /// How functions of TLS libraries are probed.
    pub(super) probing: Probing,
    /// Whether wake-ups of threads can be told.
    pub(super) has_wakes: bool,
}

/// `struct dt_knobs`.
#[derive(Clone, Debug, Default)]
pub(super) struct Knobs {
    pub(super) watch_default: bool,
    pub(super) bytes_default: u32,
    pub(super) bytes_max: u32,
    pub(super) paused: bool,
    policy_generation: u32,
    pub(super) ports: Vec<u16>,
    pub(super) tls: bool,
}

/// Most ports of our own that are left out.
pub(super) const PORTS_MAX: usize = 8;

impl Knobs {
    /// As `struct dt_knobs` lies in memory.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let words = [
            u32::from(self.watch_default),
            self.bytes_default,
            self.bytes_max,
            u32::from(self.paused),
            self.policy_generation,
            self.ports.len().min(PORTS_MAX) as u32,
        ];
        let mut ports = self.ports.clone();
        ports.resize(PORTS_MAX, 0);
        let words = words.iter().flat_map(|word| word.to_ne_bytes());
        let ports = ports.iter().flat_map(|port| port.to_ne_bytes());
        let tls = u64::from(self.tls).to_le_bytes();
        words.chain(ports).chain(tls).collect()
    }
}

impl Kernel {
    /// Loads and attaches. Nothing stays behind when it fails. Where the kernel refuses the programs for
    /// TLS, it goes without.
    pub(super) fn load(options: &Options) -> Result<Self, SourceError> {
        let hook = probe::choose(options.hook)?;
        match probe::probing() {
            Probing::Nothing => Self::load_with(options, hook, Probing::Nothing),
            probing => Self::load_with(options, hook, probing)
                .or_else(|_| Self::load_with(options, hook, Probing::Nothing)),
        }
    }

    fn load_with(options: &Options, hook: Hook, probing: Probing) -> Result<Self, SourceError> {
        let mut open = ObjectBuilder::default().open_memory(OBJECT).map_err(refused)?;
        for mut program in open.progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            program.set_autoload(wanted(&name, hook) || probes(&name, probing));
        }
        for mut map in open.maps_mut() {
            match map.name().to_str() {
                Some("events") => map.set_max_entries(options.ring_bytes).map_err(refused)?,
                Some("processes") => {
                    let values = verdicts::values(map.value_size());
                    map.set_max_entries(values).map_err(refused)?;
                }
                Some(name) if !has_use(name, hook, probing) => {
                    map.set_autocreate(false).map_err(refused)?
                }
                _ => {}
            }
        }
        let object = open.load().map_err(refused)?;
        let handle = |name: &str| {
            let map = object.maps().find(|map| map.name() == name);
            let map = map.ok_or_else(|| refused(libbpf_rs::Error::from_raw_os_error(2)))?;
            MapHandle::try_from(&map).map_err(refused)
        };
        let mut kernel = Self {
            verdicts: Verdicts::map(&handle("processes")?).map_err(unmapped)?,
            policies: handle("policies")?,
            knobs: handle(KNOBS)?,
            losses: handle("losses")?,
            tls_policies: handle("tls_policies").ok(),
            links: Vec::new(),
            settings: Knobs::default(),
            hook,
            probing,
            has_wakes: probe::has_task_registers(),
            object,
        };
        kernel.settings.paused = true;
        kernel.write_knobs()?;
        for program in kernel.object.progs_mut() {
            let name = program.name().to_string_lossy();
            if wanted(&name, hook) && !is_probe(&name) {
                kernel.links.push(program.attach().map_err(refused)?);
            }
        }
        Ok(kernel)
    }

    /// What was loaded.
    pub(super) fn object(&self) -> &Object {
        &self.object
    }

    /// The ring buffer.
    pub(super) fn ring(&self) -> Option<MapHandle> {
        let ring = self.object.maps().find(|map| map.name() == "events")?;
        MapHandle::try_from(&ring).ok()
    }

    /// Changes settings.
    pub(super) fn set(&mut self, change: impl FnOnce(&mut Knobs)) -> Result<(), SourceError> {
        change(&mut self.settings);
        self.write_knobs()
    }

    fn write_knobs(&self) -> Result<(), SourceError> {
        let zero = 0u32.to_ne_bytes();
        self.knobs.update(&zero, &self.settings.bytes(), MapFlags::ANY).map_err(refused)
    }

    /// Writes the verdict on a process; `None`: the default. False: the map has no
    /// place for this pid.
    pub(super) fn set_verdict(&self, pid: Pid, watched: Option<bool>) -> bool {
        self.verdicts.set(pid, watched)
    }

    /// Writes policies for sockets, then tells all sockets to look theirs up once. Returns how many
    /// could not be written.
    pub(super) fn demand(&mut self, demands: &[Demand]) -> Result<usize, SourceError> {
        let mut failed = 0;
        for demand in demands.iter().filter(|demand| !demand.plaintext) {
            let value = policy(demand);
            let key = demand.connection.0.to_ne_bytes();
            failed += usize::from(self.policies.update(&key, &value, MapFlags::ANY).is_err());
        }
        self.set(|knobs| knobs.policy_generation = knobs.policy_generation.wrapping_add(1))?;
        Ok(failed)
    }

    /// Writes how many bytes of plaintext to copy of a call (`struct dt_session`). False: it could not
    /// be written.
    pub(super) fn demand_plaintext(&self, whose: (u64, Pid), bytes: u32) -> bool {
        let key = [whose.0, u64::from(whose.1.0)].map(u64::to_ne_bytes).concat();
        let Some(map) = &self.tls_policies else { return false };
        map.update(&key, &bytes.to_ne_bytes(), MapFlags::ANY).is_ok()
    }

    /// Puts one of our programs on `offsets` of a file, for all processes.
    pub(super) fn attach(
        &self,
        program: &str,
        path: &Path,
        places: &[(u64, u64)],
    ) -> Result<Vec<Link>, libbpf_rs::Error> {
        let found = self.object.progs_mut().find(|p| p.name() == program);
        let program = found.ok_or_else(|| libbpf_rs::Error::from_raw_os_error(libc::ENOENT))?;
        if self.probing == Probing::Sessions && program.name() == "deeptrace_tls_both" {
            let options = UprobeMultiOpts {
                offsets: places.iter().map(|(offset, _)| *offset as usize).collect(),
                cookies: places.iter().map(|(_, cookie)| *cookie).collect(),
                session: true,
                ..UprobeMultiOpts::default()
            };
            return Ok(vec![program.attach_uprobe_multi_with_opts(-1, path, "", options)?]);
        }
        let attach = |(offset, cookie): &(u64, u64)| {
            let retprobe = program.name() == "deeptrace_tls_return";
            let options = UprobeOpts { cookie: *cookie, retprobe, ..UprobeOpts::default() };
            program.attach_uprobe_with_opts(-1, path, *offset as usize, options)
        };
        places.iter().map(attach).collect()
    }

    /// Events lost since the start, by cause: ring full, copy failed, map full, paused, shed.
    pub(super) fn losses(&self) -> [u64; LOSSES] {
        std::array::from_fn(|cause| {
            let per_cpu = self.losses.lookup_percpu(&(cause as u32).to_ne_bytes(), MapFlags::ANY);
            let values = per_cpu.ok().flatten().unwrap_or_default();
            let number = |value: &Vec<u8>| {
                value.as_slice().try_into().map(u64::from_ne_bytes).unwrap_or_default()
            };
            values.iter().map(number).sum()
        })
    }

    /// Programs, as the kernel describes them.
    pub(super) fn programs(&self) -> Vec<super::ProgramInfo> {
        use std::os::fd::AsFd;
        let own: Vec<u32> =
            self.object.progs().filter_map(|p| Program::id_from_fd(p.as_fd()).ok()).collect();
        let hooks: Vec<(String, String)> = self
            .object
            .progs()
            .map(|p| (name(p.name()), name(p.section()).trim_start_matches("tp_btf/").to_owned()))
            .collect();
        libbpf_rs::query::ProgInfoIter::default()
            .filter(|program| own.contains(&program.id))
            .map(|program| {
                let name = name(&program.name);
                let attached_to = hooks.iter().find(|(hooked, _)| *hooked == name);
                super::ProgramInfo {
                    id: program.id,
                    kind: format!("{:?}", program.ty).to_lowercase(),
                    attached_to: attached_to.map(|(_, to)| to.clone()).unwrap_or_default(),
                    runs: program.run_cnt,
                    run_time_ns: program.run_time_ns,
                    name,
                }
            })
            .collect()
    }

    /// Maps, as the kernel describes them.
    pub(super) fn maps(&self) -> Vec<super::MapInfo> {
        use std::os::fd::{AsFd, AsRawFd};
        let describe = |map: libbpf_rs::Map<'_>| {
            let handle = MapHandle::try_from(&map).ok()?;
            let info = handle.info().ok()?.info;
            Some(super::MapInfo {
                id: info.id,
                name: name(map.name()),
                kind: format!("{:?}", map.map_type()).to_lowercase(),
                max_entries: info.max_entries,
                memory_bytes: memory_of(map.as_fd().as_raw_fd()),
            })
        };
        self.object.maps().filter_map(describe).collect()
    }
}

/// Whether a program is needed with `hook`.
fn wanted(program: &str, hook: Hook) -> bool {
    match program {
        "deeptrace_send" | "deeptrace_recv" | "deeptrace_state" => hook == Hook::SocketTracepoints,
        "deeptrace_uring" => hook == Hook::SocketTracepoints && probe::has_uring_tracepoint(),
        "deeptrace_waking" => probe::has_task_registers(),
        _ if is_probe(program) => hook == Hook::SocketTracepoints,
        "deeptrace_exit" | "deeptrace_state_by_address" => hook == Hook::SyscallExit,
        _ => !program.starts_with("deeptrace_tls_"),
    }
}

/// Whether a program is needed to probe TLS libraries.
fn probes(program: &str, probing: Probing) -> bool {
    match program {
        "deeptrace_tls_both" => probing == Probing::Sessions,
        "deeptrace_tls_enter" | "deeptrace_tls_return" => probing == Probing::Pairs,
        _ => program.starts_with("deeptrace_tls_") && probing != Probing::Nothing,
    }
}

/// Whether a program listens in a process, and is attached where one is followed.
fn is_probe(program: &str) -> bool {
    let runtimes = ["deeptrace_py_", "deeptrace_go_", "deeptrace_tokio_"];
    runtimes.iter().any(|prefix| program.starts_with(prefix))
}

/// Whether a map is used by the programs that [`wanted`] names; memory of others is spared.
fn has_use(map: &str, hook: Hook, probing: Probing) -> bool {
    match map {
        "tls_policies" => probing != Probing::Nothing,
        "sockets" | "vectors" | "uring" => hook == Hook::SocketTracepoints,
        "addresses" | "exits" => hook == Hook::SyscallExit,
        _ => true,
    }
}

/// `struct dt_policy`.
pub(super) fn policy(demand: &Demand) -> Vec<u8> {
    let mut until = [0u64; 2];
    let mut directions = 0u32;
    if let Some((direction, position)) = demand.skip_until {
        until[direction as usize] = position;
        directions = 1 << (direction as u32);
        debug_assert!(Direction::Received as u32 == 0 && Direction::Sent as u32 == 1);
    }
    let words = [demand.bytes_per_call, directions].into_iter().flat_map(u32::to_ne_bytes);
    words.chain(until.into_iter().flat_map(u64::to_ne_bytes)).collect()
}

/// Kernel memory of a map, from its description in `/proc/self/fdinfo`.
fn memory_of(fd: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or_default()
}

fn name(raw: &(impl AsRef<std::ffi::OsStr> + ?Sized)) -> String {
    raw.as_ref().to_string_lossy().trim_end_matches('\0').to_owned()
}

/// The map of processes is there, but not in our memory.
fn unmapped(error: std::io::Error) -> SourceError {
    SourceError::Kernel {
        problem: format!("cannot map the verdicts on processes ({error})"),
        remedy: "see that this process may map 4 MiB more (memory limits of its cgroup)".into(),
    }
}

/// The kernel said no although everything was there that was probed.
fn refused(error: libbpf_rs::Error) -> SourceError {
    SourceError::Kernel {
        problem: format!("the kernel refused the capture programs ({error})"),
        remedy: "run 'deeptrace doctor' for what is missing".into(),
    }
}
