//! `deeptrace export`: whole traces of a time, in one of the formats of the table.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use deeptrace_erase::{Field, Target};
use deeptrace_export::{Format, Framing, TABLE};
use deeptrace_model::Trace;
use deeptrace_server::answers::Search;

use crate::answerer::Answerer;
use crate::output;
use crate::progress::Progress;
use crate::{Common, arguments};

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
    /// Traces with a span of this service
    #[arg(long)]
    service: Option<String>,
    /// Traces with a span made on behalf of this user
    #[arg(long)]
    user: Option<String>,
    /// Traces with a span that started at this time or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
    start: Option<String>,
    /// Traces with a span that started at this time or earlier
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
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
        service: options.service.unwrap_or_default(),
        start: options.start.unwrap_or_default(),
        end: options.end.unwrap_or_default(),
        ..Search::default()
    };
    let user = options.user.map(|user| Target::new(Field::User, user)).transpose()?;
    // A relative time means the same on every page.
    let filter = search.filter(deeptrace_server::clock::now());
    let filter = filter.map_err(|error| anyhow::anyhow!(error.message))?;
    let stats = store.stats()?;
    let newest = stats.newest.unwrap_or_default().min(filter.window.to);
    let oldest = stats.oldest.unwrap_or_default().max(filter.window.from);
    let mut out = output::open(&options.output)?;
    let mut exporter = (format.make)(Framing::Document);
    let progress = Progress::of("exporting");
    let (mut traces, mut spans, mut after) = (0_u64, 0_u64, None);
    loop {
        let mut take = |trace: &Trace| -> Result<bool> {
            let is_wanted = user
                .as_ref()
                .is_none_or(|user| trace.spans.iter().any(|it| user.matches(&it.span)));
            if !is_wanted {
                return Ok(true);
            }
            exporter.spans(trace.id, &trace.spans, &mut out)?;
            traces += 1;
            spans += trace.spans.len() as u64;
            // The newest come first.
            let reached = trace.spans.first().map_or(newest, |root| root.span.start);
            let share = newest.since(reached).0 as f64 / newest.since(oldest).0.max(1) as f64;
            progress.share(share, &format!("{traces} traces, {spans} spans"));
            Ok(true)
        };
        after = deeptrace_query::walk(&*store, &filter, after, PAGE, limits, &mut take)?;
        if after.is_none() {
            break;
        }
    }
    exporter.end(&mut out)?;
    out.flush()?;
    progress.end();
    Ok(())
}
