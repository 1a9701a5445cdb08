//! `deeptrace export`: whole traces of a time, in one of the formats of the table.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use deeptrace_export::{Format, Framing, TABLE};
use deeptrace_model::Trace;
use deeptrace_server::answers::Search;

use crate::Common;
use crate::answerer::Answerer;
use crate::output;

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace export --format json --output traces.json --start -1h")]
pub struct Options {
    /// Format
    #[arg(long, default_value = TABLE[0].name, value_parser = known_formats())]
    format: String,
    /// File to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Traces with a span that started at this time or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<String>,
    /// Traces with a span that started at this time or earlier
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    end: Option<String>,
}

/// Traces asked for at once.
const PAGE: usize = 1_000;

fn known_formats() -> clap::builder::PossibleValuesParser {
    TABLE.iter().map(|format| format.name).collect::<Vec<_>>().into()
}

/// Writes them.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let Answerer::Folder(store, limits) = Answerer::new(None, common)? else {
        anyhow::bail!("an export reads the data folder");
    };
    let format: &Format =
        deeptrace_export::format(&options.format).context("there is no such format")?;
    let search = Search {
        start: options.start.unwrap_or_default(),
        end: options.end.unwrap_or_default(),
        ..Search::default()
    };
    // A relative time means the same on every page.
    let filter = search.filter(deeptrace_server::clock::now());
    let filter = filter.map_err(|error| anyhow::anyhow!(error.message))?;
    let mut out = output::open(&options.output)?;
    let mut exporter = (format.make)(Framing::Document);
    let (mut traces, mut spans, mut after) = (0_u64, 0_u64, None);
    loop {
        let mut take = |trace: &Trace| -> Result<()> {
            exporter.spans(trace.id, &trace.spans, &mut out)?;
            traces += 1;
            spans += trace.spans.len() as u64;
            Ok(())
        };
        after = deeptrace_query::walk(&*store, &filter, after, PAGE, limits, &mut take)?;
        progress(traces, spans, after.is_none())?;
        if after.is_none() {
            break;
        }
    }
    exporter.end(&mut out)?;
    out.flush()?;
    Ok(())
}

/// On a terminal only, and not among what is exported.
fn progress(traces: u64, spans: u64, is_end: bool) -> io::Result<()> {
    let mut err = io::stderr();
    if !err.is_terminal() {
        return Ok(());
    }
    write!(err, "\r{traces} traces, {spans} spans{}", if is_end { "\n" } else { "" })
}
