//! `./x bench`: what DeepTrace costs and how fast it is, each bench one table of figures beside their
//! aims. It measures and says so; missed aims fail only with `--strict`.

mod accuracy;
mod arena;
mod cost;
mod day;
mod floor;
mod ingredients;
mod load;
mod observer;
mod overhead;
mod parse;
mod pipeline;
mod rest;
mod server;
mod store;
mod table;
pub mod usage;
pub mod worker;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{build, packages, root};
pub use store::jaeger;
use table::Table;

/// Which bench, and how long.
#[derive(Clone, clap::Args)]
pub struct Options {
    /// Its name; without it they are listed
    name: Option<String>,
    /// Rounds of which `overhead` takes the median (else 3), and over which `arena` looks whether its
    /// floors hold with a certainty of 95 % (else 1)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..100))]
    rounds: Option<u32>,
    /// Seconds of one measurement under load
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..600))]
    seconds: u32,
    /// Only the subject of this name, of those that `overhead` or `parse` measures, the fronts of
    /// `arena` that begin so, or so many hours of `day`
    #[arg(long, value_name = "SUBJECT")]
    only: Option<String>,
    /// Fail when an aim is missed, or a floor of `arena` does not hold
    #[arg(long, visible_alias = "check")]
    strict: bool,
    /// A deeptrace to measure, instead of building this one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Record the fronts of `arena` into this folder, instead of measuring them
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// A folder of labelled span sets, beside the simulated ones of `accuracy`; without it a folder
    /// `corr` beside the repository is looked for
    #[arg(long, value_name = "DIR")]
    sets: Option<PathBuf>,
    /// Spans that `store` writes
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    spans: u64,
    /// Of these, spans that `store` gives Jaeger as well, which takes some 2,000 in a CPU second
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    jaeger_spans: u64,
    /// Jaeger's all-in-one program, for `store`; without it one is built, with go
    #[arg(long, value_name = "FILE")]
    jaeger: Option<PathBuf>,
}

/// What every bench works with.
struct Bench {
    /// The release binary of deeptrace.
    binary: PathBuf,
    /// Files of this run; what an earlier run left is removed.
    folder: PathBuf,
    /// Rounds, where they were asked for.
    rounds: Option<u32>,
    /// Seconds of one measurement.
    seconds: u32,
    /// The only subject to measure.
    only: Option<String>,
    /// A folder to record into, instead of measuring.
    record: Option<PathBuf>,
    /// A folder of labelled sets.
    sets: Option<PathBuf>,
    /// Spans to write.
    spans: u64,
    /// Spans of these that Jaeger is given.
    jaeger_spans: u64,
    /// Jaeger's program.
    jaeger: Option<PathBuf>,
}

impl Bench {
    /// Rounds of which the median is taken.
    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(3)
    }
}

/// A bench: name, what it answers, what it needs, and how.
struct Row(&'static str, &'static str, Needs, fn(&Bench, &mut Table) -> Result<()>);

/// What a bench needs.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    /// The binary, servers, load, and root to watch them.
    Host,
    /// The binary.
    Binary,
    /// The sources.
    Nothing,
}

const BENCHES: &[Row] = &[
    Row(
        "accuracy",
        "how right each algorithm is, on workloads with known truth",
        Needs::Binary,
        accuracy::measure,
    ),
    Row(
        "ingredients",
        "what each part of the algorithm is worth",
        Needs::Binary,
        ingredients::measure,
    ),
    Row(
        "arena",
        "how many calls get the right parent, for each way to hand work over",
        Needs::Host,
        arena::measure,
    ),
    Row(
        "overhead",
        "what a traced server loses, and what one event costs",
        Needs::Host,
        overhead::measure,
    ),
    Row(
        "pipeline",
        "events a second from a recording to spans, beside tshark",
        Needs::Host,
        pipeline::measure,
    ),
    Row(
        "rest",
        "what DeepTrace uses at rest, and how it gives way under load",
        Needs::Host,
        rest::measure,
    ),
    Row(
        "store",
        "spans a CPU second, bytes a span and answers of the embedded store, beside Jaeger's",
        Needs::Binary,
        store::measure,
    ),
    Row("parse", "messages a CPU second for each protocol", Needs::Nothing, parse::measure),
    Row(
        "day",
        "whether the agent's stages are the same at the end of a day of traffic",
        Needs::Nothing,
        day::measure,
    ),
];

/// Runs the one that is named, or lists them.
pub fn bench(options: &Options) -> Result<()> {
    let Some(name) = &options.name else {
        for Row(name, answers, ..) in BENCHES {
            println!("./x bench {name:<10} {answers}");
        }
        return Ok(());
    };
    let Some(Row(name, _, needs, measure)) = BENCHES.iter().find(|row| row.0 == name) else {
        let names: Vec<&str> = BENCHES.iter().map(|row| row.0).collect();
        bail!("there is no bench '{name}'; there are {}", names.join(", "));
    };
    let needs_host = *needs == Needs::Host;
    if needs_host && !rustix::process::geteuid().is_root() {
        bail!("watching other processes needs root: run 'sudo ./x bench {name}'");
    }
    packages::ensure(if needs_host { packages::BENCH } else { packages::BUILD })?;
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None if *needs == Needs::Nothing => PathBuf::new(),
        None => build::binary()?,
    };
    let folder = root().join("out/bench").join(name);
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder)?;
    let Options { rounds, seconds, spans, jaeger_spans, .. } = *options;
    let Options { only, record, sets, jaeger, .. } = options.clone();
    let bench =
        Bench { binary, folder, rounds, seconds, only, record, sets, spans, jaeger_spans, jaeger };
    let mut table = Table::default();
    let before = usage::others();
    let measured = measure(&bench, &mut table);
    // Also when it broke off: what was measured until then was measured.
    table.print(name, &before);
    measured?;
    if options.strict && !table.holds() {
        bail!("bench {name}: an aim is missed");
    }
    Ok(())
}
