//! Probe: what this kernel and this process can do, asked before anything is loaded. `doctor` shows
//! the same answers.

use std::fs;

use libbpf_rs::btf::Btf;

use super::Hook;
use crate::SourceError;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    /// As it should be.
    Ok,
    /// It works, with less.
    Warn,
    /// Live capture cannot work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// What to do; empty where nothing is to be done.
    pub remedy: String,
}

/// Oldest kernel with a ring buffer and a boot clock for programs.
const OLDEST: (u32, u32) = (5, 8);
/// Capabilities by number (`linux/capability.h`).
const CAPABILITIES: [(u32, &str); 3] =
    [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (CAP_SYS_PTRACE, "CAP_SYS_PTRACE")];
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_PTRACE: u32 = 19;

/// Everything that live capture needs, in the order in which it is needed.
pub fn checks() -> Vec<Check> {
    vec![kernel(), btf(), capabilities(), lockdown(), tracefs(), hook(), uring(), cgroup(), tls()]
}

/// The hook to use: what was asked for, if this kernel has it. The first failed check is the error.
pub(super) fn choose(asked: Hook) -> Result<Hook, SourceError> {
    for check in [kernel(), btf(), capabilities()] {
        if check.status == CheckStatus::Fail {
            return Err(SourceError::Kernel { problem: check.detail, remedy: check.remedy });
        }
    }
    match (asked, has_tracepoint("sock_send_length") && has_tracepoint("sock_recv_length")) {
        (Hook::Auto, true) | (Hook::SocketTracepoints, true) => Ok(Hook::SocketTracepoints),
        (Hook::SyscallExit, _) | (Hook::Auto, false) => Ok(Hook::SyscallExit),
        (Hook::SocketTracepoints, false) => Err(SourceError::Kernel {
            problem: "this kernel has no socket tracepoints (they came with Linux 6.3)".into(),
            remedy: "use the hook 'auto' or 'syscall-exit'".into(),
        }),
    }
}

/// Whether io_uring requests can be seen when they are submitted.
pub(super) fn has_uring_tracepoint() -> bool {
    has_tracepoint("io_uring_submit_req")
}

/// How functions of TLS libraries are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probing {
    /// Not at all: probes have no cookies before Linux 5.15.
    Nothing,
    /// By one probe at the beginning and another one at the return.
    Pairs,
    /// By one for both (Linux 6.13): who is not watched does not return by way of us.
    Sessions,
}

/// The best way to probe that this kernel has.
pub(super) fn probing() -> Probing {
    match (
        has_value("bpf_func_id", "BPF_FUNC_get_attach_cookie"),
        has_value("bpf_attach_type", "BPF_TRACE_UPROBE_SESSION"),
    ) {
        (false, _) => Probing::Nothing,
        (true, false) => Probing::Pairs,
        (true, true) => Probing::Sessions,
    }
}

/// Whether an enumeration of the kernel has a value of this name.
fn has_value(enumeration: &str, value: &str) -> bool {
    let Ok(btf) = kernel_types() else { return false };
    let found = btf.type_by_name::<libbpf_rs::btf::types::Enum<'_>>(enumeration);
    found.is_some_and(|found| found.iter().any(|known| known.name.is_some_and(|n| n == value)))
}

/// Whether programs can see the registers of any task (since 5.15).
pub(super) fn has_task_registers() -> bool {
    version() >= (5, 15)
}

/// The kernel's description of its types. Where there is none, libbpf would say so in lines of its own.
fn kernel_types() -> libbpf_rs::Result<Btf<'static>> {
    let printing = libbpf_rs::set_print(None);
    let types = Btf::from_vmlinux();
    libbpf_rs::set_print(printing);
    types
}

/// Whether the kernel describes a raw tracepoint of this name.
fn has_tracepoint(name: &str) -> bool {
    let Ok(btf) = kernel_types() else { return false };
    btf.type_by_name::<libbpf_rs::btf::types::Typedef<'_>>(&format!("btf_trace_{name}")).is_some()
}

/// The running kernel.
fn version() -> (u32, u32) {
    numbers(&fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default())
}

/// The first two numbers of a release.
fn numbers(release: &str) -> (u32, u32) {
    let mut numbers = release.trim().split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let version = numbers(release);
    let (status, remedy) = if version >= OLDEST {
        (CheckStatus::Ok, String::new())
    } else {
        (CheckStatus::Fail, "live capture needs Linux 5.8 or newer".to_owned())
    };
    Check { name: "kernel", status, detail: format!("Linux {release}"), remedy }
}

fn btf() -> Check {
    let name = "kernel type information (BTF)";
    match kernel_types() {
        Ok(_) => Check {
            name,
            status: CheckStatus::Ok,
            detail: "/sys/kernel/btf/vmlinux".into(),
            remedy: String::new(),
        },
        Err(error) => Check {
            name,
            status: CheckStatus::Fail,
            detail: format!("the kernel has no type information ({error})"),
            remedy: "boot a kernel built with CONFIG_DEBUG_INFO_BTF (all current distributions), \
                     and mount /sys if this is a container"
                .into(),
        },
    }
}

fn capabilities() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let has = |number: u32| bits >> number & 1 == 1;
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(number, _)| !has(*number) && (*number == CAP_SYS_PTRACE || !has(CAP_SYS_ADMIN)))
        .map(|(_, name)| *name)
        .collect();
    let name = "capabilities";
    if missing.is_empty() {
        let detail = CAPABILITIES.map(|(_, name)| name).join(", ");
        return Check { name, status: CheckStatus::Ok, detail, remedy: String::new() };
    }
    let only_ptrace = missing == ["CAP_SYS_PTRACE"];
    Check {
        name,
        status: if only_ptrace { CheckStatus::Warn } else { CheckStatus::Fail },
        detail: format!("not permitted to watch the kernel: {} missing", missing.join(", ")),
        remedy: "run as root, or 'setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep' on the binary"
            .into(),
    }
}

fn lockdown() -> Check {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    let strict = text.contains("[confidentiality]");
    Check {
        name: "lockdown",
        status: if strict { CheckStatus::Fail } else { CheckStatus::Ok },
        detail: if strict { "confidentiality: programs may not read" } else { "not in the way" }
            .into(),
        remedy: if strict { "boot with lockdown=integrity" } else { "" }.into(),
    }
}

fn hook() -> Check {
    let name = "hook";
    match choose(Hook::Auto) {
        Ok(Hook::SocketTracepoints) => Check {
            name,
            status: CheckStatus::Ok,
            detail: "socket tracepoints (sock_send_length, sock_recv_length)".into(),
            remedy: String::new(),
        },
        Ok(_) => Check {
            name,
            status: CheckStatus::Warn,
            detail: "exit of system calls: costs 0.1–0.3 µs on every call, io_uring is not seen"
                .into(),
            remedy: "Linux 6.3 or newer has cheaper socket tracepoints".into(),
        },
        Err(error) => Check {
            name,
            status: CheckStatus::Fail,
            detail: error.to_string(),
            remedy: "see above".into(),
        },
    }
}

fn uring() -> Check {
    let there = has_uring_tracepoint();
    Check {
        name: "io_uring",
        status: if there { CheckStatus::Ok } else { CheckStatus::Warn },
        detail: if there { "requests are seen" } else { "sizes are seen, payloads are not" }.into(),
        remedy: String::new(),
    }
}

/// What can be read of TLS, here and in the processes that run.
fn tls() -> Check {
    let name = "TLS";
    let how = match probing() {
        Probing::Nothing => {
            return Check {
                name,
                status: CheckStatus::Warn,
                detail: "hand-shakes only: probes have no cookies in this kernel".into(),
                remedy: "plaintext needs Linux 5.15 or newer".into(),
            };
        }
        Probing::Pairs => "plaintext, by a probe for the beginning and one for the return",
        Probing::Sessions => "plaintext, by one probe a function",
    };
    let survey = super::tls::survey();
    let list = |understood: bool| -> Vec<String> {
        let rows = survey.iter().filter(|((_, reason), _)| reason.is_none() == understood);
        let row = |((library, reason), count): (&(&str, Option<String>), &usize)| {
            let why = reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
            format!("{library} in {count} processes{why}")
        };
        rows.map(row).collect()
    };
    let (yes, no) = (list(true), list(false));
    let found = if yes.is_empty() { "nobody uses it now".to_owned() } else { yes.join(", ") };
    let mut detail = format!("{how}; {found}");
    if !no.is_empty() {
        detail.push_str(&format!("; hand-shakes only: {}", no.join(", ")));
    }
    let (status, remedy) = match no.is_empty() {
        true => (CheckStatus::Ok, ""),
        false => (CheckStatus::Warn, "docs/tls.md says what is covered"),
    };
    Check { name, status, detail, remedy: remedy.into() }
}

/// Tracepoints and probes are found without it; people look for it when others' tools fail.
fn tracefs() -> Check {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut mounts = mounts.lines().map(|line| line.split(' ').skip(1).take(2));
    let mounted = mounts.find_map(|mut fields| {
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "tracefs").then(|| path.to_owned())
    });
    let detail = match mounted {
        Some(path) => format!("mounted at {path}; not needed"),
        None => "not mounted, and not needed".to_owned(),
    };
    Check { name: "tracefs", status: CheckStatus::Ok, detail, remedy: String::new() }
}

fn cgroup() -> Check {
    let there = fs::metadata("/sys/fs/cgroup").is_ok();
    Check {
        name: "cgroups",
        status: if there { CheckStatus::Ok } else { CheckStatus::Warn },
        detail: if there { "containers can be named" } else { "containers cannot be named" }.into(),
        remedy: if there { "" } else { "mount /sys/fs/cgroup" }.into(),
    }
}
