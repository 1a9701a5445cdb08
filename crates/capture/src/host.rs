//! Host: its identity and its clocks.

use deeptrace_model::{BootTime, Host, WallTime, hash_bytes};
use rustix::time::{ClockId, Timespec, clock_gettime};

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

/// Now, since the Unix epoch.
pub fn wall_now() -> WallTime {
    WallTime(nanoseconds(clock_gettime(ClockId::Realtime)))
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}
