//! `deeptrace analyze`: the service map, latencies, errors and critical paths, of a running server or of
//! the data folder.

use std::io::{self, Write};

use anyhow::Result;
use clap::{Args, Subcommand};
use deeptrace_http::format_time;
use deeptrace_model::WallTime;
use deeptrace_server::analytics::{
    self, CriticalPathQuery, Errors, ErrorsQuery, Latencies, LatencyQuery, Query, Sums, Topology,
    Waits,
};
use deeptrace_server::clock;

use crate::answerer::Answerer;
use crate::output::{Output, duration, plain, table};
use crate::{Common, arguments};

/// What can be looked at.
#[derive(Subcommand)]
pub enum Command {
    /// Who calls whom, how often, with how many errors, how long
    #[command(after_help = "Example: deeptrace analyze topology --start -15m")]
    Topology(TopologyOptions),
    /// Percentiles over time
    #[command(after_help = "Example: deeptrace analyze latency --service cart --start -6h")]
    Latency(LatencyOptions),
    /// Errors in groups of one kind
    #[command(after_help = "Example: deeptrace analyze errors --service cart")]
    Errors(ErrorsOptions),
    /// Which operations the newest traces waited for
    #[command(after_help = "Example: deeptrace analyze critical-path --operation 'GET /cart'")]
    CriticalPath(CriticalPathOptions),
}

/// Options of all of them.
#[derive(Args)]
struct Shared {
    /// Only this service
    #[arg(long)]
    service: Option<String>,
    /// Since when [default: an hour before the end]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
    start: Option<String>,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = arguments::time)]
    end: Option<String>,
    /// Ask the server at this address instead of the data folder
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Options of `topology`.
#[derive(Args)]
pub struct TopologyOptions {
    #[command(flatten)]
    shared: Shared,
}

/// Options of `latency`.
#[derive(Args)]
pub struct LatencyOptions {
    /// Only this operation
    #[arg(long)]
    operation: Option<String>,
    /// Length of a point [default: minutes for up to six hours]
    #[arg(long, value_parser = ["minute", "hour"])]
    step: Option<String>,
    /// Services or operations at most
    #[arg(long, default_value_t = 20, value_parser = arguments::limit::<usize>(100))]
    limit: usize,
    #[command(flatten)]
    shared: Shared,
}

/// Options of `errors`.
#[derive(Args)]
pub struct ErrorsOptions {
    /// Only this operation
    #[arg(long)]
    operation: Option<String>,
    /// Groups at most
    #[arg(long, default_value_t = 100, value_parser = arguments::limit::<usize>(1_000))]
    limit: usize,
    #[command(flatten)]
    shared: Shared,
}

/// Options of `critical-path`.
#[derive(Args)]
pub struct CriticalPathOptions {
    /// Traces with a span of this name
    #[arg(long)]
    operation: Option<String>,
    /// … that took at least this long
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    min_duration: Option<String>,
    /// … that is an error
    #[arg(long)]
    errors: bool,
    /// Traces at most, the newest
    #[arg(long, default_value_t = 100, value_parser = arguments::limit::<usize>(1_000))]
    limit: usize,
    #[command(flatten)]
    shared: Shared,
}

/// Prints it.
pub fn run(command: Command, common: &Common) -> Result<()> {
    match command {
        Command::Topology(TopologyOptions { shared }) => {
            let (service, start, end) =
                (text(&shared.service), text(&shared.start), text(&shared.end));
            let query = Query { service, start, end };
            let found: Topology = Answerer::new(shared.server.as_deref(), common)?.ask(
                "/analytics/topology",
                &query,
                |store, _| analytics::topology(store, &query, clock::now()),
            )?;
            shared.output.print(&found, topology)
        }
        Command::Latency(LatencyOptions { operation, step, limit, shared }) => {
            let query = LatencyQuery {
                service: text(&shared.service),
                operation: text(&operation),
                start: text(&shared.start),
                end: text(&shared.end),
                step: text(&step),
                limit: Some(limit),
            };
            let found: Latencies = Answerer::new(shared.server.as_deref(), common)?.ask(
                "/analytics/latency",
                &query,
                |store, _| analytics::latency(store, &query, clock::now()),
            )?;
            shared.output.print(&found, latency)
        }
        Command::Errors(ErrorsOptions { operation, limit, shared }) => {
            let query = ErrorsQuery {
                service: text(&shared.service),
                operation: text(&operation),
                start: text(&shared.start),
                end: text(&shared.end),
                limit: Some(limit),
            };
            let found: Errors = Answerer::new(shared.server.as_deref(), common)?.ask(
                "/analytics/errors",
                &query,
                |store, _| analytics::errors(store, &query, clock::now()),
            )?;
            shared.output.print(&found, errors)
        }
        Command::CriticalPath(options) => {
            let shared = &options.shared;
            let query = CriticalPathQuery {
                service: text(&shared.service),
                operation: text(&options.operation),
                min_duration: text(&options.min_duration),
                errors: options.errors,
                start: text(&shared.start),
                end: text(&shared.end),
                limit: Some(options.limit),
            };
            let found: Waits = Answerer::new(shared.server.as_deref(), common)?.ask(
                "/analytics/critical-path",
                &query,
                |store, limits| analytics::critical_path(store, &query, limits, clock::now()),
            )?;
            shared.output.print(&found, critical_path)
        }
    }
}

fn text(option: &Option<String>) -> String {
    option.clone().unwrap_or_default()
}

/// Head and cells of [`Sums`].
const SUMS: [&str; 7] = ["COUNT", "PER S", "ERRORS", "P50", "P95", "P99", "MAX"];

fn sums(sums: &Sums) -> Vec<String> {
    let time = |ns: Option<u64>| ns.map_or("-".to_owned(), duration);
    vec![
        sums.span_count.to_string(),
        format!("{:.2}", sums.rate),
        format!("{:.2}%", sums.error_rate * 100.0),
        time(sums.p50_ns),
        time(sums.p95_ns),
        time(sums.p99_ns),
        duration(sums.max_ns),
    ]
}

fn head<const N: usize>(first: [&'static str; N]) -> Vec<&'static str> {
    first.into_iter().chain(SUMS).collect()
}

fn row(first: Vec<String>, of: &Sums) -> Vec<String> {
    first.into_iter().chain(sums(of)).collect()
}

fn topology(out: &mut dyn Write, found: &Topology) -> io::Result<()> {
    let services: Vec<Vec<String>> =
        found.services.iter().map(|it| row(vec![plain(&it.name)], &it.served)).collect();
    table(out, &head(["SERVICE"]), &services)?;
    writeln!(out)?;
    let edges: Vec<Vec<String>> = (found.edges.iter())
        .map(|edge| {
            let client = edge.client.as_deref().unwrap_or("(outside)");
            let server = plain(&edge.server);
            let server = if edge.is_service { server } else { format!("{server} (not watched)") };
            row(vec![plain(client), server, edge.protocol.clone()], &edge.calls)
        })
        .collect();
    table(out, &head(["CLIENT", "SERVER", "PROTOCOL"]), &edges)?;
    cut(out, found.is_cut)
}

fn latency(out: &mut dyn Write, found: &Latencies) -> io::Result<()> {
    for series in &found.series {
        let name = series.operation.as_deref().unwrap_or("all that it served");
        let kind = series.kind.as_str();
        writeln!(out, "{}: {} ({kind})", plain(&series.service), plain(name))?;
        let mut rows: Vec<Vec<String>> = (series.points.iter())
            .map(|point| row(vec![format_time(WallTime(point.start_unix_nano))], &point.sums))
            .collect();
        rows.push(row(vec!["whole".to_owned()], &series.whole));
        table(out, &head(["START"]), &rows)?;
        writeln!(out)?;
    }
    cut(out, found.is_cut)
}

fn errors(out: &mut dyn Write, found: &Errors) -> io::Result<()> {
    let rows: Vec<Vec<String>> = (found.groups.iter())
        .map(|group| {
            let optional = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), plain);
            vec![
                group.count.to_string(),
                plain(&group.service),
                plain(&group.operation),
                group.kind.as_str().to_owned(),
                optional(&group.error_type),
                optional(&group.message),
                format_time(WallTime(group.last_unix_nano)),
                group.last_trace_id.clone(),
            ]
        })
        .collect();
    let head = ["COUNT", "SERVICE", "NAME", "KIND", "TYPE", "MESSAGE", "LAST", "TRACE"];
    table(out, &head, &rows)?;
    writeln!(out, "{} errors, {} of them in groups", found.error_count, found.sampled)?;
    cut(out, found.is_cut)
}

fn critical_path(out: &mut dyn Write, found: &Waits) -> io::Result<()> {
    let rows: Vec<Vec<String>> = (found.operations.iter())
        .map(|it| {
            vec![
                format!("{:.1}%", it.critical_share * 100.0),
                duration(it.critical_ns),
                duration(it.self_ns),
                it.trace_count.to_string(),
                it.span_count.to_string(),
                plain(&it.service),
                plain(&it.operation),
                it.kind.as_str().to_owned(),
            ]
        })
        .collect();
    let head = ["SHARE", "ON PATH", "SELF", "TRACES", "SPANS", "SERVICE", "NAME", "KIND"];
    table(out, &head, &rows)?;
    writeln!(out, "of {} traces, {} in all", found.trace_count, duration(found.total_ns))?;
    cut(out, found.is_cut)
}

fn cut(out: &mut dyn Write, is_cut: bool) -> io::Result<()> {
    if is_cut {
        writeln!(out, "there is more; give a shorter time or a higher --limit")
    } else {
        Ok(())
    }
}
