//! What a process uses, from `/proc` (proc(5)).

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::child::Kept;

/// CPU seconds of all threads of `pid`, user and system; also of one that has ended and was not
/// waited for yet.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    ticks(&stat).map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `utime` and `stime` of a `stat` file, the 14th and 15th field; the name before them may hold spaces.
pub fn ticks(stat: &str) -> Result<u64> {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let mut fields = after_name.split(' ').skip(11).map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok(user + system),
        _ => bail!("/proc/PID/stat has another form than proc(5) says: {stat}"),
    }
}

/// Resident memory in MiB: without the mappings of kernel maps, and all of it.
pub fn resident_mib(pid: u32) -> Result<(f64, f64)> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))
        .with_context(|| format!("failed to read the mappings of process {pid}"))?;
    let (all, maps) = rss_kib(&smaps);
    Ok(((all - maps) as f64 / 1024.0, all as f64 / 1024.0))
}

/// KiB resident in all mappings, and in those of kernel maps.
fn rss_kib(smaps: &str) -> (u64, u64) {
    let (mut all, mut maps, mut is_map) = (0, 0, false);
    for line in smaps.lines() {
        if let Some(rss) = line.strip_prefix("Rss:") {
            let kib = rss.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            all += kib;
            maps += if is_map { kib } else { 0 };
        } else if line.split(' ').next().is_some_and(|word| word.contains('-')) {
            is_map = line.ends_with("anon_inode:bpf-map");
        }
    }
    (all, maps)
}

/// Runs `command` to its end, at most `patience`, and returns its CPU seconds.
pub fn cpu_of(name: &'static str, command: &mut Command, patience: Duration) -> Result<f64> {
    let mut kept = Kept::start(name, command)?;
    let pid = i32::try_from(kept.pid()).ok().and_then(Pid::from_raw).context("no pid")?;
    let begun = Instant::now();
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    // Left as it is when it ends, so that the kernel still knows what it used.
    while waitid(WaitId::Pid(pid), ended)?.is_none() {
        if begun.elapsed() > patience {
            bail!("{name} has not ended within {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = cpu_seconds(kept.pid())?;
    kept.wait()?;
    Ok(seconds)
}

/// What the host is and how busy it was before the bench: a disturbed figure must be seen as one.
pub fn others() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut host =
        format!("Linux {}, {processors} processors, load average before: {load}", kernel.trim());
    let observers = observers();
    if !observers.is_empty() {
        host += &format!(", DISTURBED: kernel maps are already read by {}", observers.join(", "));
    }
    host
}

/// Processes that read kernel maps as deeptrace does: beside one of them nothing is bare.
fn observers() -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps"));
            maps.is_ok_and(|maps| maps.contains("anon_inode:bpf-map"))
        })
        .map(|pid| format!("process {pid}"))
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 5 0 0 0 31 11 8 9 20 0 1 0 100";
        assert_eq!(ticks(stat).unwrap(), 42);
        assert!(ticks("7 (a) S 1").is_err());
    }

    #[test]
    fn kernel_maps_are_told_from_the_rest() {
        let smaps = "7f00-7f10 rw-p 00000000 00:00 0 \nRss:   12 kB\nPss:  3 kB\n\
                     7f20-7f30 r--s 00001000 00:0f 9 anon_inode:bpf-map\nRss:  30 kB\n\
                     7f40-7f50 r-xp 00000000 08:01 9 /usr/bin/x\nRss:  8 kB\n";
        assert_eq!(rss_kib(smaps), (50, 30));
    }
}
