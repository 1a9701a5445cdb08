//! What this process uses, under the names that Prometheus's client libraries have for it.

use crate::metrics::{Exposition, Kind};

/// Adds CPU time, memory, open files and the start of this process; nothing where `/proc` is hidden.
pub fn process_metrics(out: &mut Exposition) {
    let Ok(process) = procfs::process::Process::myself() else { return };
    let Ok(stat) = process.stat() else { return };
    let ticks = procfs::ticks_per_second() as f64;
    let mut add = |name: &str, kind, help: &str, value: f64| {
        out.family(name, kind, help);
        out.sample(name, &[], value);
    };
    let cpu = (stat.utime + stat.stime) as f64 / ticks;
    add("process_cpu_seconds_total", Kind::Counter, "Processor time used.", cpu);
    let resident = stat.rss as f64 * procfs::page_size() as f64;
    add("process_resident_memory_bytes", Kind::Gauge, "Memory in use.", resident);
    if let Ok(files) = process.fd_count() {
        add("process_open_fds", Kind::Gauge, "Open files.", files as f64);
    }
    if let Ok(booted) = procfs::boot_time_secs() {
        let started = booted as f64 + stat.starttime as f64 / ticks;
        let help = "Start, in seconds since the Unix epoch.";
        add("process_start_time_seconds", Kind::Gauge, help, started);
    }
}
