//! Scores as people and programs read them, and what it took to make the links.

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::score::Scores;
use crate::output::{self, Format};

/// What it took so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cost {
    /// Of this process, on all of its threads.
    cpu_seconds: f64,
    /// Most that was resident.
    peak_memory_bytes: u64,
}

impl Cost {
    /// Since the process began (proc(5), `schedstat` and `status`).
    pub fn until_now() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}"));
        let schedule = read("schedstat").unwrap_or_default();
        let nanoseconds = schedule.split(' ').next().and_then(|field| field.parse::<f64>().ok());
        let status = read("status").unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes =
            peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Self {
            cpu_seconds: nanoseconds.unwrap_or(0.0) / 1e9,
            peak_memory_bytes: kilobytes.unwrap_or(0) * 1024,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    scores: &'a Scores,
    #[serde(flatten)]
    cost: Option<&'a Cost>,
}

/// Prints to standard output.
pub fn print(scores: &Scores, cost: Option<&Cost>, format: Format) -> Result<()> {
    let mut out = output::open("-".as_ref())?;
    if format == Format::Json {
        serde_json::to_writer(&mut out, &Report { scores, cost }).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        let [low, high] = scores.calibration_interval;
        let mut rows = vec![
            ["links".into(), scores.links.to_string()],
            ["ambiguous share".into(), percent(scores.ambiguous_share)],
            ["ambiguous link".into(), percent(scores.ambiguous_link)],
            ["link".into(), percent(scores.link)],
            ["request".into(), percent(scores.request)],
            ["trace (end to end)".into(), percent(scores.trace)],
            ["precision".into(), percent(scores.precision)],
            ["coverage".into(), percent(scores.coverage)],
            ["precision at 0.9".into(), percent(scores.sure_precision)],
            ["coverage at 0.9".into(), percent(scores.sure_coverage)],
            [
                "calibration error".into(),
                format!("{:.3} ({low:.3}–{high:.3})", scores.calibration_error),
            ],
        ];
        for (service, right) in &scores.services {
            rows.push([format!("service {service}"), percent(*right)]);
        }
        for step in &scores.reliability {
            let name = format!("right of those said {:.3}", step.said);
            rows.push([name, format!("{} of {}", percent(step.right), step.links)]);
        }
        if let Some(cost) = cost {
            rows.push(["CPU seconds".into(), format!("{:.2}", cost.cpu_seconds)]);
            let megabytes = cost.peak_memory_bytes as f64 / 1e6;
            rows.push(["peak memory".into(), format!("{megabytes:.0} MB")]);
        }
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        output::table(&mut out, &["score", "value"], &rows)?;
    }
    out.flush()?;
    Ok(())
}
