//! `deeptrace traces`: a list, newest first.

use anyhow::Result;
use clap::Args;
use deeptrace_http::format_time;
use deeptrace_model::WallTime;
use deeptrace_server::answers::{Search, Summary};

use crate::answerer::Answerer;
use crate::output::{Output, duration, plain, table};
use crate::{Common, arguments};

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace traces --service cart --min-duration 100ms --start -1h")]
pub struct Options {
    /// Traces with a span of this service
    #[arg(long)]
    service: Option<String>,
    /// … of this name
    #[arg(long)]
    operation: Option<String>,
    /// … that took at least this long
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    min_duration: Option<String>,
    /// … that took at most this long
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    max_duration: Option<String>,
    /// … that is an error
    #[arg(long)]
    errors: bool,
    /// … that started at this time or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
    start: Option<String>,
    /// … that started at this time or earlier
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
    end: Option<String>,
    /// Only traces of so many spans or more: without the calls that nobody made for anything
    #[arg(long, value_name = "N")]
    min_spans: Option<usize>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = arguments::limit::<usize>(1_000))]
    limit: usize,
    /// Go on after a page: its next_cursor
    #[arg(long)]
    cursor: Option<String>,
    /// Ask the server at this address instead of the data folder
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Prints the list.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let mut search = Search {
        service: options.service.unwrap_or_default(),
        operation: options.operation.unwrap_or_default(),
        kind: String::new(),
        min_duration: options.min_duration.unwrap_or_default(),
        max_duration: options.max_duration.unwrap_or_default(),
        errors: options.errors,
        start: options.start.unwrap_or_default(),
        end: options.end.unwrap_or_default(),
        min_spans: options.min_spans,
        limit: Some(options.limit),
        cursor: options.cursor.unwrap_or_default(),
    };
    let answerer = Answerer::new(options.server.as_deref(), common)?;
    let mut found = answerer.traces(&search)?;
    // A page ends also where it has looked at enough, however little it has found.
    while found.traces.len() < options.limit
        && let Some(cursor) = found.next_cursor.take()
    {
        search.cursor = cursor;
        search.limit = Some(options.limit - found.traces.len());
        let page = answerer.traces(&search)?;
        found.traces.extend(page.traces);
        found.next_cursor = page.next_cursor;
        found.missing.extend(page.missing);
    }
    found.missing.sort();
    found.missing.dedup();
    options.output.print(&found, |out, found| {
        let cells: Vec<Vec<String>> = found.traces.iter().map(cells).collect();
        let head = ["TRACE", "START", "DURATION", "SPANS", "ERRORS", "SERVICE", "NAME"];
        table(out, &head, &cells)?;
        match &found.next_cursor {
            Some(cursor) => writeln!(out, "more: --cursor {cursor}"),
            None => Ok(()),
        }
    })
}

fn cells(trace: &Summary) -> Vec<String> {
    let name = if trace.incomplete {
        format!("{} (incomplete)", plain(&trace.name))
    } else {
        plain(&trace.name)
    };
    vec![
        trace.trace_id.clone(),
        format_time(WallTime(trace.start_time_unix_nano)),
        duration(trace.duration_ns),
        trace.span_count.to_string(),
        trace.error_count.to_string(),
        plain(&trace.service),
        name,
    ]
}
