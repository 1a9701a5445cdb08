//! `./x bench overhead`: throughput and p99 of a server at saturation, bare, beside a deeptrace that
//! watches something else, and watched; in turns, so that what else the host does meets all of them.
//!
//! Beside them what nobody who listens there can avoid ([`floor`]).
//!
//! The server has one processor, the load generator and the whole of `deeptrace run` the other.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::load::{Load, Seen};
use super::observer::{Observer, Role, watching};
use super::table::{Aim, Table, median};
use super::{Bench, cost, floor, server, usage};
use crate::child::Kept;

/// Less than this share of requests as spans, and a figure says nothing of the cost of spans.
const CAPTURED: f64 = 0.995;

/// A server under a load.
struct Subject {
    name: &'static str,
    process: &'static str,
    load: Load,
    start: fn(&std::path::Path, Option<u32>) -> Result<Kept>,
}

const SUBJECTS: &[Subject] = &[
    Subject { name: "nginx", process: "nginx", load: Load::Http, start: server::nginx },
    Subject {
        name: "nginx HTTP/2",
        process: "nginx",
        load: Load::Http2 { streams: 16 },
        start: server::nginx,
    },
    Subject {
        name: "redis GET",
        process: "redis-server",
        load: Load::Redis { pipelined: 1 },
        start: server::redis,
    },
    Subject {
        name: "redis GET, 16 pipelined",
        process: "redis-server",
        load: Load::Redis { pipelined: 16 },
        start: server::redis,
    },
];

/// What deeptrace does meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bare,
    /// Beside programs that do nothing, on the same hooks.
    Empty,
    NotWatched,
    /// Beside programs that copy, and a reader who throws it away.
    Copied,
    Watched,
    BothWatched,
}

const MODES: [Mode; 6] =
    [Mode::Bare, Mode::Empty, Mode::NotWatched, Mode::Copied, Mode::Watched, Mode::BothWatched];
/// Bytes of a call that the floor copies.
const COPIED: u32 = 256;

/// A measurement under load, with what deeptrace did in it.
struct Measured {
    seen: Seen,
    /// Spans for each request and watched side.
    captured: f64,
    /// Spans that reached the store, of those that were made.
    stored: f64,
    cpu_us_per_span: f64,
    lost: BTreeMap<String, u64>,
}

/// Where the parts run.
#[derive(Clone, Copy)]
struct Cores {
    server: Option<u32>,
    rest: Option<u32>,
}

const PINNED: Cores = Cores { server: Some(0), rest: Some(1) };
const UNPINNED: Cores = Cores { server: None, rest: None };

/// Fills `table`.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    floor::build()?;
    let wanted = |subject: &&Subject| bench.only.as_ref().is_none_or(|only| only == subject.name);
    let subjects: Vec<&Subject> = SUBJECTS.iter().filter(wanted).collect();
    if subjects.is_empty() {
        let names: Vec<&str> = SUBJECTS.iter().map(|subject| subject.name).collect();
        bail!("there is no such subject; there are: {}", names.join("; "));
    }
    for subject in &subjects {
        pinned(bench, subject, table)?;
    }
    for subject in &subjects {
        unpinned(bench, subject, table)?;
    }
    if let Err(error) = cost::measure(bench, table) {
        table.missing("one call", &error);
    }
    Ok(())
}

fn pinned(bench: &Bench, subject: &Subject, table: &mut Table) -> Result<()> {
    let kept = (subject.start)(&bench.folder, PINNED.server)?;
    let requests = subject.load.calibrate(&bench.folder, PINNED.rest, bench.seconds)?;
    let mut rounds: Vec<Vec<Measured>> = Vec::new();
    for round in 0..bench.rounds() {
        let mut modes = Vec::new();
        for mode in MODES {
            let measured = under(bench, subject, mode, PINNED, requests)?;
            eprintln!("x: {} round {round}: {}", subject.name, measured.shown(mode));
            modes.push(measured);
        }
        rounds.push(modes);
    }
    drop(kept);
    let name = subject.name;
    let bare = median(rounds.iter().map(|round| round[0].seen.per_second));
    table.figure(format!("{name}: bare"), bare, "requests/s", Aim::None);
    for (at, mode) in MODES.into_iter().enumerate().skip(1) {
        let (throughput, p99) = mode.aims();
        let ratio = |of: fn(&Seen) -> f64| {
            median(rounds.iter().map(|round| of(&round[at].seen) / of(&round[0].seen)))
        };
        let captured = rounds.iter().map(|round| round[at].captured).fold(f64::INFINITY, f64::min);
        let label = mode.label();
        let what = format!("{name}: {label}: throughput, times bare");
        let put =
            if mode.sides() > 0 && captured < CAPTURED { Table::invalid } else { Table::figure };
        put(table, what, ratio(|seen| seen.per_second), "", throughput);
        put(table, format!("{name}: {label}: p99, times bare"), ratio(|seen| seen.p99_ms), "", p99);
        if mode.sides() == 0 {
            continue;
        }
        let what = format!("{name}: {label}: requests that became spans, least");
        table.figure(what, captured * 100.0, "%", Aim::AtLeast(CAPTURED * 100.0));
        let cpu = median(rounds.iter().map(|round| round[at].cpu_us_per_span));
        table.figure(format!("{name}: {label}: CPU of deeptrace"), cpu, "us/span", Aim::None);
        let stored = rounds.iter().map(|round| round[at].stored).fold(f64::INFINITY, f64::min);
        table.figure(format!("{name}: {label}: spans stored"), stored * 100.0, "%", Aim::None);
        for (counter, lost) in sum(rounds.iter().map(|round| &round[at].lost)) {
            table.note(format!("{name}: {label}: {counter} {lost} in all rounds"));
        }
    }
    Ok(())
}

/// One round, wherever the kernel puts everybody.
fn unpinned(bench: &Bench, subject: &Subject, table: &mut Table) -> Result<()> {
    let _kept = (subject.start)(&bench.folder, UNPINNED.server)?;
    let requests = subject.load.calibrate(&bench.folder, UNPINNED.rest, bench.seconds)?;
    let bare = under(bench, subject, Mode::Bare, UNPINNED, requests)?;
    let watched = under(bench, subject, Mode::Watched, UNPINNED, requests)?;
    let name = subject.name;
    let ratio = watched.seen.per_second / bare.seen.per_second;
    table.figure(format!("{name}: unpinned: bare"), bare.seen.per_second, "requests/s", Aim::None);
    let what = format!("{name}: unpinned: watched: throughput, times bare");
    table.figure(what, ratio, "", Aim::None);
    let ratio = watched.seen.p99_ms / bare.seen.p99_ms;
    table.figure(format!("{name}: unpinned: watched: p99, times bare"), ratio, "", Aim::None);
    let what = format!("{name}: unpinned: requests that became spans");
    table.figure(what, watched.captured * 100.0, "%", Aim::None);
    Ok(())
}

fn under(
    bench: &Bench,
    subject: &Subject,
    mode: Mode,
    cores: Cores,
    requests: u64,
) -> Result<Measured> {
    let load = || subject.load.run(&bench.folder, cores.rest, bench.seconds, requests);
    let processes = match mode {
        Mode::Bare => return Ok(Measured::bare(load()?)),
        Mode::Empty | Mode::Copied => {
            let copied = if mode == Mode::Copied { COPIED } else { 0 };
            let _floor = floor::attach(cores.rest, copied)?;
            return Ok(Measured::bare(load()?));
        }
        Mode::NotWatched => vec!["none-of-these"],
        Mode::Watched => vec![subject.process],
        Mode::BothWatched => vec![subject.process, subject.load.process()],
    };
    // What the bench measures is the cost of everything, not of what the limits leave of it.
    let config = format!("{}[agents.limits]\ncpu_percent = 0\n", watching(&processes));
    let observer = Observer::start(&bench.binary, &bench.folder, cores.rest, Role::Run, &config)?;
    let (before, cpu) = (observer.settled()?, usage::cpu_seconds(observer.pid())?);
    let seen = load()?;
    let after = observer.settled()?;
    let cpu = usage::cpu_seconds(observer.pid())? - cpu;
    observer.stop()?;
    let grown = |name: &str| {
        let of = |counters: &BTreeMap<String, u64>| counters.get(name).copied().unwrap_or(0);
        of(&after).saturating_sub(of(&before))
    };
    let spans = grown("span_spans_total");
    let expected = seen.requests * mode.sides();
    let losses = after.keys().filter(|name| is_loss(name));
    let lost = losses.map(|name| (name.clone(), grown(name))).filter(|(_, count)| *count > 0);
    Ok(Measured {
        seen,
        captured: spans as f64 / expected.max(1) as f64,
        stored: grown("ingest_written_spans_total") as f64 / spans.max(1) as f64,
        cpu_us_per_span: cpu * 1e6 / spans.max(1) as f64,
        lost: lost.collect(),
    })
}

/// Counters of what should have been a span, or part of one, and is not.
fn is_loss(name: &str) -> bool {
    ["lost", "dropped", "shed", "evicted", "gaps", "expired", "orphan", "merge_failures"]
        .into_iter()
        .any(|word| name.contains(word))
}

fn sum<'a>(all: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> BTreeMap<&'a str, u64> {
    let mut sum = BTreeMap::new();
    for (name, count) in all.flatten() {
        *sum.entry(name.as_str()).or_default() += count;
    }
    sum
}

impl Mode {
    fn label(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Empty => "floor: empty programs",
            Self::NotWatched => "not watched",
            Self::Copied => "floor: copied and thrown away",
            Self::Watched => "watched",
            Self::BothWatched => "both sides watched",
        }
    }

    /// Spans of one request.
    fn sides(self) -> u64 {
        match self {
            Self::Bare | Self::Empty | Self::NotWatched | Self::Copied => 0,
            Self::Watched => 1,
            Self::BothWatched => 2,
        }
    }

    /// Throughput and p99 as shares of the bare ones.
    fn aims(self) -> (Aim, Aim) {
        match self {
            Self::NotWatched => (Aim::AtLeast(0.97), Aim::None),
            Self::Watched => (Aim::AtLeast(0.85), Aim::AtMost(1.3)),
            Self::Bare | Self::Empty | Self::Copied | Self::BothWatched => (Aim::None, Aim::None),
        }
    }
}

impl Measured {
    fn bare(seen: Seen) -> Self {
        Self { seen, captured: 0.0, stored: 0.0, cpu_us_per_span: 0.0, lost: BTreeMap::new() }
    }

    fn shown(&self, mode: Mode) -> String {
        let Seen { requests, per_second, p99_ms } = self.seen;
        let spans = if mode.sides() == 0 {
            String::new()
        } else {
            format!(", {:.2} % captured, {:?}", self.captured * 100.0, self.lost)
        };
        format!(
            "{}: {requests} requests, {per_second:.0}/s, p99 {p99_ms:.2} ms{spans}",
            mode.label()
        )
    }
}
