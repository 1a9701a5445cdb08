//! `./x bench rest`: what deeptrace uses while the host does nothing, and how it gives way, and comes
//! back, when a saturated host needs more than it may use.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::load::wrk_command;
use super::observer::{Observer, Role, watching};
use super::table::{Aim, Table};
use super::{Bench, server, usage};
use crate::child::Kept;

/// How long rest is watched.
const REST: Duration = Duration::from_secs(30);
/// Time for what a start does once: reading the processes that are there, opening the store.
const STARTED: Duration = Duration::from_secs(3);
/// How long the load that is too much lasts.
const LOAD_SECONDS: u32 = 20;
/// Time to be back at everything after the load: each step up waits for ten calm seconds.
const BACK: Duration = Duration::from_secs(90);
/// Percent of all processors that deeptrace may use in the second half.
const CPU_PERCENT: u32 = 5;

/// Fills `table`.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    at_rest(bench, Role::Run, table)?;
    at_rest(bench, Role::Agent, table)?;
    under_load(bench, table)
}

fn at_rest(bench: &Bench, role: Role, table: &mut Table) -> Result<()> {
    let (name, memory) = match role {
        Role::Run => ("run", 150.0),
        Role::Agent => ("agent run", 60.0),
    };
    let observer = Observer::start(&bench.binary, &bench.folder, None, role, "")?;
    std::thread::sleep(STARTED);
    let spans = |observer: &Observer| -> Result<u64> {
        Ok(observer.counters()?.get("span_spans_total").copied().unwrap_or(0))
    };
    let before = spans(&observer)?;
    let (begun, cpu) = (Instant::now(), usage::cpu_seconds(observer.pid())?);
    std::thread::sleep(REST);
    let cpu = usage::cpu_seconds(observer.pid())? - cpu;
    let share = cpu / begun.elapsed().as_secs_f64() * 100.0;
    let spans = spans(&observer)? - before;
    table.figure(format!("{name}: at rest, of a core"), share, "%", Aim::Below(1.0));
    let (resident, all) = usage::resident_mib(observer.pid())?;
    let what = format!("{name}: resident without kernel maps");
    table.figure(what, resident, "MiB", Aim::AtMost(memory));
    table.figure(format!("{name}: resident, all"), all, "MiB", Aim::None);
    let answer = observer.agent("/ebpf/maps")?;
    let maps = answer["maps"].as_array().context("no kernel maps are listed")?;
    let bytes: u64 = maps.iter().filter_map(|map| map["memory_bytes"].as_u64()).sum();
    let mib = bytes as f64 / f64::from(1 << 20);
    table.figure(format!("{name}: {} kernel maps", maps.len()), mib, "MiB", Aim::AtMost(32.0));
    table.note(format!("{name}: others on the host made {spans} spans while it was at rest"));
    observer.stop()
}

/// A change of the step: seconds since the load began, the step, and the share of all processors.
struct Change {
    at: f64,
    step: String,
    cpu_share: f64,
}

fn under_load(bench: &Bench, table: &mut Table) -> Result<()> {
    let _nginx = server::nginx(&bench.folder, None)?;
    let config =
        format!("{}[agents.limits]\ncpu_percent = {CPU_PERCENT}\n", watching(&["nginx", "wrk"]));
    let observer = Observer::start(&bench.binary, &bench.folder, None, Role::Run, &config)?;
    std::thread::sleep(STARTED);
    let mut wrk = wrk_command(None, LOAD_SECONDS);
    let mut load = Kept::start("wrk", wrk.stdout(Stdio::null()))?;
    let load_takes = Duration::from_secs(LOAD_SECONDS.into());
    let (begun, mut changes, mut deepest) = (Instant::now(), Vec::<Change>::new(), 0);
    while begun.elapsed() < load_takes + BACK {
        let status = observer.agent("/status")?;
        let step = status["step"].as_str().context("the agent names no step")?.to_owned();
        let cpu_share = status["cpu_share"].as_f64().unwrap_or_default();
        if changes.last().map_or("full", |change| change.step.as_str()) != step {
            changes.push(Change { at: begun.elapsed().as_secs_f64(), step, cpu_share });
        }
        let is_over = begun.elapsed() > load_takes + Duration::from_secs(1);
        if !is_over {
            deepest = changes.len();
        } else if changes.last().is_none_or(|change| change.step == "full") {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    load.wait()?;
    let last = changes.last().map_or("full", |change| change.step.as_str());
    let down = format!("{deepest} changes");
    table.text(format!("at {CPU_PERCENT} % of the host: down"), down, "some step", deepest > 0);
    table.text("after the load: up again", last, "full", deepest > 0 && last == "full");
    table.note(format!("load from 0 to {LOAD_SECONDS} s; steps, with the share used before:"));
    for Change { at, step, cpu_share } in &changes {
        table.note(format!("  {at:6.1} s  {step:<18} {:5.1} %", cpu_share * 100.0));
    }
    observer.stop()
}
