//! `deeptrace trace ID`: one trace as a tree, with bars of time, errors marked, and how each parent
//! was found.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use deeptrace_export::SpanJson;
use deeptrace_http::format_time;
use deeptrace_model::{SpanStatus, WallTime};
use deeptrace_server::answers::{ClockAnswer, TraceAnswer};
use serde::Deserialize;

use crate::answerer::Answerer;
use crate::output::{Output, duration, plain};
use crate::{Common, arguments};

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace trace 4bf92f3577b34da6a3ce929d0e0e4736")]
pub struct Options {
    /// Id of the trace, or of one of its spans
    #[arg(value_parser = arguments::id)]
    id: String,
    /// Ask the server at this address instead of the data folder
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Draws it.
pub fn run(options: &Options, common: &Common) -> Result<()> {
    let trace = Answerer::new(options.server.as_deref(), common)?.trace(&options.id)?;
    let rows = rows(&trace)?;
    let colours = options.output.has_colours();
    options.output.print(&trace, |out, trace| draw(out, trace, &rows, colours))
}

/// The same tree for other commands, without colours.
pub fn tree(out: &mut dyn Write, trace: &TraceAnswer) -> Result<()> {
    Ok(draw(out, trace, &rows(trace)?, false)?)
}

fn rows(trace: &TraceAnswer) -> Result<Vec<Row>> {
    trace.spans.iter().map(|span| row(span, &trace.clocks)).collect()
}

/// What is drawn of a span.
struct Row {
    id: String,
    parent: Option<String>,
    label: String,
    start: u64,
    end: u64,
    is_error: bool,
    why: String,
}

/// How the parent was found; `candidates` is the API's own.
#[derive(Deserialize)]
struct Why {
    method: String,
    confidence: f64,
}

fn row(value: &serde_json::Value, clocks: &[ClockAnswer]) -> Result<Row> {
    let mut value = value.clone();
    let why = Why::deserialize(&value["link"]).ok();
    if let Some(link) = value["link"].as_object_mut() {
        link.remove("candidates");
    }
    let span: SpanJson<'_> =
        serde_json::from_value(value).context("the spans are of another version")?;
    let host = span.attributes.0.get("host.name").and_then(deeptrace_model::Value::as_text);
    let clock = clocks.iter().find(|clock| Some(clock.host_name.as_str()) == host);
    let behind = clock.map_or(0, |clock| clock.ahead_ns.saturating_neg());
    Ok(Row {
        label: format!("{}  {}", plain(&span.service), plain(&span.name)),
        start: span.start_time_unix_nano.saturating_add_signed(behind),
        end: span.end_time_unix_nano.saturating_add_signed(behind),
        is_error: span.status == SpanStatus::Error,
        why: match (&why, &span.parent_span_id) {
            (Some(why), Some(_)) => format!("{} {:.2}", why.method, why.confidence),
            _ => String::new(),
        },
        id: span.span_id.into_owned(),
        parent: span.parent_span_id.map(std::borrow::Cow::into_owned),
    })
}

/// Columns of the tree, at most, and of the bars.
const TREE_MAX: usize = 64;
const BAR: usize = 32;

fn draw(out: &mut dyn Write, trace: &TraceAnswer, rows: &[Row], colours: bool) -> io::Result<()> {
    let start = rows.iter().map(|row| row.start).min().unwrap_or_default();
    let end = rows.iter().map(|row| row.end).max().unwrap_or_default();
    let length = end.saturating_sub(start);
    let when = format_time(WallTime(start));
    let count = rows.len();
    writeln!(out, "trace {}  {when}  {}  {count} spans", trace.trace_id, duration(length))?;
    let branches = branches(rows);
    let labels: Vec<String> = rows
        .iter()
        .zip(&branches)
        .map(|(row, branch)| cut(&format!("{branch}{}", row.label), TREE_MAX))
        .collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    for (row, label) in rows.iter().zip(&labels) {
        let bar = bar(row.start - start, row.end.saturating_sub(row.start), length);
        let took = duration(row.end.saturating_sub(row.start));
        let mark = if row.is_error { " ERROR" } else { "" };
        let line = format!("{label:width$}  {bar}  {took:>7}{mark}  {}", row.why);
        let line = line.trim_end();
        match (colours, row.is_error) {
            (true, true) => writeln!(out, "\x1b[31m{line}\x1b[0m")?,
            _ => writeln!(out, "{line}")?,
        }
    }
    for clock in &trace.clocks {
        let ClockAnswer { host_name, ahead_ns, uncertainty_ns, .. } = clock;
        let way = if *ahead_ns < 0 { "behind" } else { "ahead" };
        let by = duration(ahead_ns.unsigned_abs());
        let within = duration(*uncertainty_ns);
        writeln!(out, "clock: {} is {by} {way} (± {within}); moved here", plain(host_name))?;
    }
    for gap in &trace.gaps {
        let cause = gap.cause.as_str().unwrap_or("unknown");
        let length = duration(gap.to_unix_nano.saturating_sub(gap.from_unix_nano));
        let from = format_time(WallTime(gap.from_unix_nano));
        writeln!(out, "missing: {cause} for {length} from {from}, {} events", gap.events)?;
    }
    match trace.cut_at {
        Some(more) => writeln!(out, "cut: it may have {more} spans more"),
        None => Ok(()),
    }
}

/// The lines before each label. Parents come before their children.
fn branches(rows: &[Row]) -> Vec<String> {
    let known: BTreeMap<&str, usize> =
        rows.iter().enumerate().map(|(index, row)| (row.id.as_str(), index)).collect();
    let parent = |row: &Row| row.parent.as_deref().and_then(|id| known.get(id).copied());
    let mut last_child = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        last_child.insert(parent(row), index);
    }
    // What a span's children have before their own branch.
    let mut inside: Vec<String> = Vec::with_capacity(rows.len());
    let mut branches = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let (branch, children) = match parent(row).filter(|parent| *parent < index) {
            None => (String::new(), String::new()),
            Some(above) => {
                let is_last = last_child.get(&Some(above)) == Some(&index);
                let (own, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                (format!("{}{own}", inside[above]), format!("{}{rest}", inside[above]))
            }
        };
        branches.push(branch);
        inside.push(children);
    }
    branches
}

/// Where in the trace a span lies; at least one column.
fn bar(offset: u64, length: u64, whole: u64) -> String {
    let column = |ns: u64| (ns as u128 * BAR as u128 / u128::from(whole.max(1))) as usize;
    let from = column(offset).min(BAR - 1);
    let to = column(offset + length).clamp(from + 1, BAR);
    format!("{}{}{}", "·".repeat(from), "█".repeat(to - from), "·".repeat(BAR - to))
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, parent: Option<&str>, start: u64, end: u64) -> Row {
        Row {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            label: id.to_owned(),
            start,
            end,
            is_error: id == "c",
            why: parent.map(|_| "thread 0.90".to_owned()).unwrap_or_default(),
        }
    }

    #[test]
    fn a_trace_is_drawn_as_a_tree() {
        let rows = [
            row("a", None, 0, 320),
            row("b", Some("a"), 0, 160),
            row("c", Some("b"), 40, 80),
            row("d", Some("a"), 160, 320),
            row("e", Some("lost"), 320, 320),
        ];
        let trace = TraceAnswer {
            trace_id: "t".to_owned(),
            spans: Vec::new(),
            gaps: Vec::new(),
            cut_at: Some(1),
            missing: Vec::new(),
            clocks: vec![ClockAnswer {
                host_name: "far".to_owned(),
                ahead_ns: -490_000_000,
                uncertainty_ns: 11_000_000,
                exchange_count: 1,
            }],
        };
        let mut out = Vec::new();
        draw(&mut out, &trace, &rows, false).unwrap();
        let expected = "\
trace t  1970-01-01T00:00:00.000000Z  320ns  5 spans
a        ████████████████████████████████    320ns
├─ b     ████████████████················    160ns  thread 0.90
│  └─ c  ····████························     40ns ERROR  thread 0.90
└─ d     ················████████████████    160ns  thread 0.90
e        ·······························█      0ns  thread 0.90
clock: far is 490ms behind (± 11.0ms); moved here
cut: it may have 1 spans more
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
