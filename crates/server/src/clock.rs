//! The wall clock of this host, and when it booted.

use std::time::{SystemTime, UNIX_EPOCH};

use deeptrace_model::{Duration, WallTime};

/// Now.
pub fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// When this host booted, to the second; `/proc/uptime` counts suspends as well (proc(5)).
pub fn booted() -> WallTime {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    now().minus(Duration::from_secs(seconds))
}
