//! `deeptrace audit verify`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use deeptrace_server::audit::{Anchor, verify};
use deeptrace_store::Mode;

use crate::Common;
use crate::output::Output;

/// What can be done with the audit log.
#[derive(Subcommand)]
pub enum Command {
    /// Whether every chain of it is whole; also while a server writes to it
    #[command(after_help = "Example: deeptrace audit verify --data-dir /var/lib/deeptrace")]
    Verify(Verify),
}

/// Options of `audit verify`.
#[derive(Args)]
pub struct Verify {
    /// A line noted elsewhere, which must be in its chain: WRITER:SEQ:HASH; several times for several
    #[arg(long, value_name = "ANCHOR")]
    anchor: Vec<Anchor>,
    #[command(flatten)]
    output: Output,
}

/// Does it; a chain that is not whole is a failure.
pub fn run(command: Command, common: &Common) -> Result<ExitCode> {
    let Command::Verify(Verify { anchor, output }) = command;
    let loaded = common.load()?;
    let store =
        loaded.server.open_store(&common.data_dir, Mode::Read).context("cannot open the store")?;
    let report = verify(&*store, &anchor)?;
    output.print(&report, |out, report| {
        for chain in &report.writers {
            let state = if chain.problems.is_empty() { "whole" } else { "NOT WHOLE" };
            writeln!(out, "{}: {} lines, {state}", chain.writer, chain.lines)?;
            for problem in &chain.problems {
                writeln!(out, "  {problem}")?;
            }
            if let Some(anchor) = &chain.anchor {
                writeln!(out, "  anchor {anchor}")?;
            }
        }
        match report.writers.is_empty() {
            true => writeln!(out, "there is no audit log yet"),
            false => Ok(()),
        }
    })?;
    Ok(if report.is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
