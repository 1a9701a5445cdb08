//! All automation of the repository that is not cargo itself: `./x run|demo|test|bench|captures|fuzz|docs|bpf`.
#![forbid(unsafe_code)]

mod api;
mod bench;
mod bpf;
mod build;
mod captures;
mod certificate;
mod child;
mod demo;
mod docs;
mod fuzz;
mod packages;
mod servers;
mod shop;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The repository's own commands.
#[derive(Parser)]
#[command(name = "x", bin_name = "./x")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, build, and start `deeptrace run` with these arguments.
    Run {
        /// Arguments of `deeptrace run`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The same, together with the sample application and its load; Ctrl-C ends everything.
    Demo(demo::Options),
    /// Install what the tests need, and pass them.
    Test(test::Options),
    /// Hold the spans of real servers and clients to what the clients did
    Servers(servers::Options),
    /// Record the corpus of a protocol anew, from real servers and clients
    Record(servers::record::Options),
    /// Measure, and print one table.
    Bench(bench::Options),
    /// Hold packet captures that others made to what tshark makes of them.
    Captures(captures::Options),
    /// Feed every parser and other door what breaks them, if anything does.
    Fuzz(fuzz::Options),
    /// Write the pages that are made of tables in the code.
    Docs {
        /// Compare with the committed ones instead of replacing them.
        #[arg(long)]
        check: bool,
    },
    /// Rebuild the kernel object from its C sources.
    Bpf {
        /// Compare with the committed object instead of replacing it.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Run { args } => build::run(&args),
        Task::Demo(options) => demo::demo(&options),
        Task::Test(options) => test::test(&options),
        Task::Servers(options) => servers::servers(&options),
        Task::Record(options) => servers::record::record(&options),
        Task::Bench(options) => bench::bench(&options),
        Task::Fuzz(options) => fuzz::fuzz(&options),
        Task::Docs { check } => docs::docs(check),
        Task::Captures(options) => captures::captures(&options),
        Task::Bpf { check } => bpf::build(check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("x: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}
