//! The load generators, and what they say of their requests.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::server::{self, held};

/// Connections of a generator.
const CONNECTIONS: u32 = 32;

/// A kind of load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// wrk on nginx.
    Http,
    /// h2load on nginx, by prior knowledge, with so many streams open in each connection.
    Http2 {
        /// Streams open at a time.
        streams: u32,
    },
    /// redis-benchmark with so many GETs on the way in each connection.
    Redis {
        /// Requests on the way.
        pipelined: u32,
    },
}

/// What a generator saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Requests answered.
    pub requests: u64,
    /// The same for each second.
    pub per_second: f64,
    /// The latency that one of hundred requests exceeds.
    pub p99_ms: f64,
}

impl Load {
    /// Runs for about `seconds`; redis-benchmark makes a given number of `requests` instead.
    pub fn run(
        self,
        folder: &Path,
        core: Option<u32>,
        seconds: u32,
        requests: u64,
    ) -> Result<Seen> {
        match self {
            Self::Http => wrk(&printed(&mut wrk_command(core, seconds))?),
            Self::Http2 { streams } => {
                let log = folder.join("h2load.log");
                // It goes on behind what is there.
                fs::remove_file(&log).ok();
                let out = printed(&mut h2load_command(core, streams, seconds, &log))?;
                h2load(&out, &fs::read_to_string(&log)?)
            }
            Self::Redis { pipelined } => {
                let out = printed(&mut redis_command(core, pipelined, requests))?;
                redis_benchmark(&out, requests)
            }
        }
    }

    /// Requests that take about `seconds`; those who end by the clock need to know none.
    pub fn calibrate(self, folder: &Path, core: Option<u32>, seconds: u32) -> Result<u64> {
        if !matches!(self, Self::Redis { .. }) {
            return Ok(0);
        }
        let rate = self.run(folder, core, 1, 50_000)?.per_second;
        let rate = self.run(folder, core, 1, rate as u64)?.per_second;
        Ok((rate * f64::from(seconds)) as u64)
    }

    /// The process that makes the load, as the kernel names it.
    pub fn process(self) -> &'static str {
        match self {
            Self::Http => "wrk",
            Self::Http2 { .. } => "h2load",
            Self::Redis { .. } => "redis-benchmark",
        }
    }
}

/// wrk on nginx, all connections at saturation.
pub fn wrk_command(core: Option<u32>, seconds: u32) -> Command {
    let mut command = held(core, "wrk");
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency"]);
    command.arg(format!("http://127.0.0.1:{}/", server::NGINX));
    command
}

/// h2load on nginx: a quarter of the connections, as each carries several requests. Each request is a line
/// in `log`.
fn h2load_command(core: Option<u32>, streams: u32, seconds: u32, log: &Path) -> Command {
    let mut command = held(core, "h2load");
    command.args(["-t1", &format!("-c{}", CONNECTIONS / 4), &format!("-m{streams}")]);
    command.args([&format!("-D{seconds}"), &format!("--log-file={}", log.display())]);
    command.arg(format!("http://127.0.0.1:{}/", server::NGINX_HTTP2));
    command
}

/// redis-benchmark on redis, all connections at saturation.
pub fn redis_command(core: Option<u32>, pipelined: u32, requests: u64) -> Command {
    let mut command = held(core, "redis-benchmark");
    command.args(["-h", "127.0.0.1", "-p", &server::REDIS.to_string(), "-t", "get", "--csv"]);
    command.args(["-c", &CONNECTIONS.to_string(), "-P", &pipelined.to_string()]);
    command.args(["-n", &requests.to_string()]);
    command
}

fn printed(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("failed to start {command:?}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{command:?}: {}: {text}{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(text)
}

/// Reads what wrk prints; fails if any answer was not what nginx was told to say.
fn wrk(text: &str) -> Result<Seen> {
    let line = |start: &str| text.lines().map(str::trim).find_map(|l| l.strip_prefix(start));
    let total = text.lines().find_map(|line| line.split_once(" requests in "));
    let requests = total.and_then(|(count, _)| count.trim().parse().ok());
    let per_second = line("Requests/sec:").and_then(|rate| rate.trim().parse().ok());
    let p99_ms = line("99%").and_then(|time| milliseconds(time.trim()));
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("wrk met errors: {text}");
    }
    match (requests, per_second, p99_ms) {
        (Some(requests), Some(per_second), Some(p99_ms)) => {
            Ok(Seen { requests, per_second, p99_ms })
        }
        _ => bail!("wrk printed something else than expected: {text}"),
    }
}

/// Reads what h2load prints, and its log: when a request began, its status and the microseconds that it took.
/// Fails if any answer was not what nginx was told to say.
fn h2load(text: &str, log: &str) -> Result<Seen> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let finished = line("finished in ").and_then(|rest| rest.split(", ").nth(1));
    let per_second = finished.and_then(|rate| rate.strip_suffix(" req/s")?.parse().ok());
    let counts = line("requests: ").unwrap_or_default();
    let count = |of: &str| counts.split(", ").find_map(|it| it.strip_suffix(of)?.parse().ok());
    let micros = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [_, "200", micros] => micros.parse::<u64>().ok(),
        _ => None,
    };
    let micros: Option<Vec<u64>> = log.lines().map(micros).collect();
    match (count(" succeeded"), count(" failed"), per_second, micros) {
        (Some(requests), Some(0_u64), Some(per_second), Some(mut micros)) if !micros.is_empty() => {
            micros.sort_unstable();
            let p99_ms = micros[micros.len() * 99 / 100] as f64 / 1e3;
            Ok(Seen { requests, per_second, p99_ms })
        }
        _ => bail!("h2load met errors, or printed something else than expected: {text}"),
    }
}

/// wrk's times: `830.00us`, `1.23ms`, `2.00s`.
fn milliseconds(time: &str) -> Option<f64> {
    let (number, divisor) = if let Some(number) = time.strip_suffix("us") {
        (number, 1e3)
    } else if let Some(number) = time.strip_suffix("ms") {
        (number, 1.0)
    } else {
        (time.strip_suffix('s')?, 1e-3)
    };
    Some(number.parse::<f64>().ok()? / divisor)
}

/// Reads the table that redis-benchmark prints; its columns are named in the first line.
fn redis_benchmark(text: &str, requests: u64) -> Result<Seen> {
    let mut lines = text.lines().filter(|line| line.starts_with('"'));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        bail!("redis-benchmark printed something else than expected: {text}");
    };
    let column = |name: &str| {
        let at = names.split(',').position(|n| n.trim_matches('"') == name);
        at.and_then(|at| values.split(',').nth(at)?.trim_matches('"').parse().ok())
            .with_context(|| format!("redis-benchmark printed no {name}: {text}"))
    };
    Ok(Seen { requests, per_second: column("rps")?, p99_ms: column("p99_latency_ms")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "Running 5s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\n\
                    Latency Distribution\n     50%  701.00us\n     99%    1.50ms\n\
                    41230 requests in 5.10s, 9.10MB read\nRequests/sec:  40012.50\n";
        let seen = Seen { requests: 41_230, per_second: 40_012.5, p99_ms: 1.5 };
        assert_eq!(wrk(text).unwrap(), seen);
        assert!(wrk(&format!("{text}Non-2xx or 3xx responses: 3\n")).is_err());
        assert!(wrk("").is_err());
    }

    #[test]
    fn what_h2load_prints_is_read() {
        let text = "finished in 2.00s, 33084.50 req/s, 3.25MB/s\nrequests: 3 total, 4 started, \
                    3 done, 3 succeeded, 0 failed, 0 errored, 0 timeout\n";
        let log = "1796099607000772\t200\t217\n1796099607000773\t200\t1500\n3\t200\t9\n";
        let seen = Seen { requests: 3, per_second: 33_084.5, p99_ms: 1.5 };
        assert_eq!(h2load(text, log).unwrap(), seen);
        assert!(h2load(text, &log.replace("\t200\t9", "\t404\t9")).is_err());
        assert!(h2load(&text.replace("0 failed", "1 failed"), log).is_err());
        assert!(h2load("", "").is_err());
    }

    #[test]
    fn what_redis_benchmark_prints_is_read() {
        let text = "WARNING: x\n\"test\",\"rps\",\"p50_latency_ms\",\"p99_latency_ms\"\n\
                    \"GET\",\"35855.14\",\"0.767\",\"4.399\"\n";
        let seen = Seen { requests: 7, per_second: 35_855.14, p99_ms: 4.399 };
        assert_eq!(redis_benchmark(text, 7).unwrap(), seen);
        assert!(redis_benchmark("\"test\"\n\"GET\"\n", 7).is_err());
    }

    #[test]
    fn times_are_read_in_any_unit() {
        for (time, ms) in [("830.00us", 0.83), ("1.23ms", 1.23), ("2.00s", 2000.0)] {
            assert_eq!(milliseconds(time), Some(ms));
        }
        assert_eq!(milliseconds("3m"), None);
    }
}
