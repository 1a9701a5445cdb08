//! Process: what `/proc` tells about one, read so that it may vanish at any step.
//!
//! Everything is opened below the process's own folder, which stays that of one process: when the
//! pid is reused half-way, reads fail instead of mixing two processes. Memory is bounded: of
//! arguments and environment 64 KiB are read, and of the environment only the names in
//! [`VARIABLES`] are kept.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use deeptrace_model::{BootTime, Pid, Process, ProcessKey};

use crate::container::container_id;
use crate::service::{Names, ServiceName};

/// The only variables that are kept of an environment: those a service is named by.
pub const VARIABLES: &[&str] = &[
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "DD_SERVICE",
    "KUBERNETES_SERVICE_HOST",
    "HOSTNAME",
];

/// Bytes read of arguments, and of an environment.
const TEXT_MAX: u64 = 64 * 1024;

/// How far up a worker looks for the process that knows its name.
const PARENTS_MAX: usize = 4;

/// What `/proc` tells about a process. Texts that could not be read are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Identity.
    pub key: ProcessKey,
    /// Parent process.
    pub parent: Pid,
    /// Name as the kernel gives it, at most 15 bytes.
    pub comm: String,
    /// Path of the executable as its own root sees it; empty for threads of the kernel.
    pub executable: String,
    /// Arguments, the program's name first. Programs may have overwritten them.
    pub arguments: Vec<String>,
    /// What it has of [`VARIABLES`].
    pub environment: BTreeMap<String, String>,
    /// Text of `/proc/PID/cgroup`.
    pub cgroup: String,
    /// Its working folder.
    pub folder: String,
}

impl Facts {
    /// Whether it is a thread of the kernel: those have no arguments and come from pid 2.
    pub fn is_kernel_thread(&self) -> bool {
        self.key.pid == Pid(2) || self.parent == Pid(2)
    }

    /// The process under the names people know. `watched_by` says why it is watched.
    pub fn describe(&self, names: &Names, watched_by: &str) -> Process {
        let service = self.service(names);
        Process {
            key: self.key,
            parent: self.parent,
            comm: self.comm.clone(),
            executable: self.executable.clone(),
            service: service.name,
            service_source: service.source.to_owned(),
            container_id: container_id(&self.cgroup),
            watched_by: watched_by.to_owned(),
        }
    }

    /// Its service, asking its parents where only they know: a forked worker may have nothing but
    /// `python3 -c 'from multiprocessing …'` to its name.
    fn service(&self, names: &Names) -> ServiceName {
        let own = names.name(self);
        if !own.is_bare {
            return own;
        }
        let mut parent = self.parent;
        for _ in 0..PARENTS_MAX {
            let Some(facts) = read(parent) else { break };
            if facts.executable != self.executable {
                break;
            }
            let service = names.name(&facts);
            if !service.is_bare {
                return service;
            }
            parent = facts.parent;
        }
        own
    }
}

/// What `/proc` tells about `pid`; `None` if there is no such process (any more).
pub fn read(pid: Pid) -> Option<Facts> {
    read_below(Path::new("/proc"), pid)
}

/// The same for every process, by pid. Those that end meanwhile are left out.
pub fn read_all() -> Vec<Facts> {
    pids().into_iter().filter_map(read).collect()
}

/// Every process there is, by pid; empty if `/proc` cannot be read.
pub fn pids() -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<Pid> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid))
        .collect();
    pids.sort_unstable();
    pids
}

fn read_below(root: &Path, pid: Pid) -> Option<Facts> {
    let process = procfs::process::Process::new_with_root(root.join(pid.0.to_string())).ok()?;
    let stat = process.stat().ok()?;
    let text = |name: &str| -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Ok(file) = process.open_relative(name) {
            // What was read before an error (the process ended) is as good as nothing.
            let _ = file.take(TEXT_MAX).read_to_end(&mut bytes);
        }
        bytes
    };
    let link = |path: Result<std::path::PathBuf, procfs::ProcError>| {
        path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let executable = link(process.exe());
    Some(Facts {
        key: ProcessKey { pid, started: boot_time(stat.starttime, procfs::ticks_per_second()) },
        parent: Pid(u32::try_from(stat.ppid).unwrap_or_default()),
        comm: stat.comm,
        executable: executable.strip_suffix(" (deleted)").unwrap_or(&executable).to_owned(),
        arguments: arguments(&text("cmdline")),
        environment: environment(&text("environ")),
        cgroup: String::from_utf8_lossy(&text("cgroup")).into_owned(),
        folder: link(process.cwd()),
    })
}

/// Field 22 of `/proc/PID/stat` in boot time.
fn boot_time(ticks: u64, ticks_per_second: u64) -> BootTime {
    BootTime(ticks.saturating_mul(1_000_000_000 / ticks_per_second.max(1)))
}

/// The arguments of a `cmdline`. One that was overwritten with a title ends in many zeros.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    if end == 0 {
        return Vec::new();
    }
    bytes[..end].split(|&b| b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

/// What an `environ` has of [`VARIABLES`].
fn environment(bytes: &[u8]) -> BTreeMap<String, String> {
    bytes
        .split(|&b| b == 0)
        .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='))
        .filter(|(name, _)| VARIABLES.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_read_and_gone_when_it_ended() {
        let mut child = Command::new("sleep")
            .arg("60")
            .env("OTEL_SERVICE_NAME", "shop-cart")
            .env("SECRET", "not to be kept")
            .stdout(Stdio::null())
            .spawn()
            .expect("sleep is in every Linux");
        let pid = Pid(child.id());
        let facts = (0..200).find_map(|_| {
            let facts = read(pid)?;
            // Between fork and exec the child still is this test, and then has no arguments yet.
            if facts.comm == "sleep" && !facts.arguments.is_empty() {
                return Some(facts);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            None
        });
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");

        let facts = facts.expect("it lives for a minute");
        assert_eq!(facts.arguments, ["sleep", "60"]);
        assert_eq!(facts.parent, Pid(std::process::id()));
        assert_eq!(
            facts.environment.get("OTEL_SERVICE_NAME").map(String::as_str),
            Some("shop-cart")
        );
        assert!(!facts.environment.contains_key("SECRET"));
        assert!(facts.executable.starts_with('/'), "{}", facts.executable);
        let own = read(Pid(std::process::id())).expect("this test runs");
        assert!(facts.key.started >= own.key.started);
        assert!(!facts.is_kernel_thread());
        assert_eq!(read(pid), None);

        let names = Names::new(&[], "host").expect("no rules");
        let process = facts.describe(&names, "default");
        assert_eq!(
            (process.service.as_str(), process.watched_by.as_str()),
            ("shop-cart", "default")
        );
        assert_eq!(process.service_source, "environment");
    }

    #[test]
    fn all_processes_are_listed_in_order() {
        let all = read_all();
        assert!(all.iter().any(|facts| facts.key.pid == Pid(std::process::id())));
        assert!(all.is_sorted_by_key(|facts| facts.key.pid));
    }

    #[test]
    fn titles_and_rubbish_are_arguments_too() {
        assert_eq!(arguments(b""), Vec::<String>::new());
        assert_eq!(arguments(b"\0\0"), Vec::<String>::new());
        assert_eq!(arguments(b"nginx: worker process\0\0\0\0"), ["nginx: worker process"]);
        assert_eq!(arguments(b"a\0\0b\0"), ["a", "", "b"]);
        assert_eq!(arguments(b"\xff\0"), ["\u{fffd}"]);
        assert_eq!(environment(b"HOSTNAME=a=b\0=\0x\0\xff=1\0HOSTNAME2=z").len(), 1);
        assert_eq!(boot_time(123, 100), BootTime(1_230_000_000));
        assert_eq!(boot_time(u64::MAX, 100), BootTime(u64::MAX));
    }
}
