//! Host: its identity and its clocks.

use deeptrace_model::{BootTime, Clock, Duration, Host, WallTime, hash_bytes};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Readings of the clocks that count as simultaneous, and how many are tried.
const CLOCKS_APART: Duration = Duration(2_000);
const CLOCK_READINGS: usize = 16;

/// This host, as it booted last.
pub fn host() -> Host {
    // Without /proc every boot looks the same; then only sequence numbers tell spans apart.
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Host { boot: hash_bytes(boot.trim_ascii()), name }
}

/// Now, since boot, suspend included (`CLOCK_BOOTTIME`): the clock of the kernel programs.
pub fn boot_time_now() -> BootTime {
    BootTime(nanoseconds(clock_gettime(ClockId::Boottime)))
}

/// Now, by both clocks.
///
/// Whoever is interrupted between two readings would be off by as long for all that follows, so the
/// wall clock is read between two readings of the other, again until these are close together.
pub fn clock_now() -> Clock {
    let read = || {
        let before = boot_time_now();
        let wall = WallTime(nanoseconds(clock_gettime(ClockId::Realtime)));
        let apart = boot_time_now().since(before);
        (apart, Clock { boot: BootTime(before.0 + apart.0 / 2), wall })
    };
    let mut best = read();
    for _ in 1..CLOCK_READINGS {
        if best.0 <= CLOCKS_APART {
            break;
        }
        let next = read();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

/// CPU time of all threads of this process, user and system.
pub fn cpu_time() -> Duration {
    Duration(nanoseconds(clock_gettime(ClockId::ProcessCPUTime)))
}

/// The most memory that this process had resident (`VmHWM` of `/proc/self/status`); zero if unknown.
pub fn peak_memory_bytes() -> u64 {
    memory_bytes("VmHWM:")
}

/// What it has resident now (`VmRSS`); zero if unknown.
pub fn resident_memory_bytes() -> u64 {
    memory_bytes("VmRSS:")
}

fn memory_bytes(row: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(row));
    let kib: Option<u64> = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    kib.unwrap_or_default() * 1024
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}
