//! `deeptrace protocols`: the table, with what is understood of each row; one row in full.

use std::io::{self, Write};

use anyhow::Result;
use clap::Args;
use deeptrace_protocol::{Handler, Protocol, TABLE};
use serde::Serialize;

use crate::output::{Output, table};
use crate::{arguments, custom};

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace protocols redis")]
pub struct Options {
    /// Only this one, with all that is said of it
    #[arg(value_parser = arguments::protocol)]
    name: Option<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    summary: &'static str,
    /// Kinds of sockets; for a protocol inside another, that one.
    over: Vec<&'static str>,
    ports: &'static [u16],
    /// Which request a response answers.
    pairing: &'static str,
    /// What makes a span an error.
    errors: &'static str,
    /// Where the application's own trace context is found.
    trace_context: &'static str,
    /// How a connection goes over to TLS in its middle.
    tls: &'static str,
    /// What is not told, and when.
    limits: &'static [&'static str],
}

/// Prints the table.
pub fn run(options: &Options) -> Result<()> {
    let mut rows: Vec<Row> = TABLE.iter().map(Row::of).collect();
    rows.extend(custom::handlers()?.iter().map(Row::of_handler));
    if let Some(name) = &options.name {
        rows.retain(|row| row.name == name);
        return options
            .output
            .print(&rows, |out, rows| rows.iter().try_for_each(|row| full(out, row)));
    }
    options.output.print(&rows, |out, rows| {
        let yes = |text: &str| if text.is_empty() { "-" } else { "yes" }.to_owned();
        let cells = |row: &Row| {
            vec![
                row.name.to_owned(),
                row.over.join(", "),
                yes(row.errors),
                yes(row.trace_context),
                if row.tls.is_empty() { "-" } else { row.tls }.to_owned(),
                row.pairing.to_owned(),
                row.summary.to_owned(),
            ]
        };
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        let head = ["NAME", "OVER", "ERRORS", "CONTEXT", "TO TLS BY", "PAIRED BY", "WHAT"];
        table(out, &head, &cells)
    })
}

impl Row {
    fn of(protocol: &Protocol) -> Self {
        let support = protocol.support;
        Self {
            name: protocol.name,
            summary: protocol.title,
            over: protocol.over(),
            ports: protocol.ports,
            pairing: support.pairing.as_str(),
            errors: support.errors,
            trace_context: support.context,
            tls: support.tls,
            limits: support.limits,
        }
    }

    fn of_handler(handler: &Handler) -> Self {
        Self {
            name: handler.name(),
            summary: "registered by this program",
            over: vec!["TCP", "UNIX"],
            ports: &[],
            pairing: "id, or in order",
            errors: "what its parser calls one",
            trace_context: "what its parser gives",
            tls: "",
            limits: &["what its parser does not say"],
        }
    }
}

/// Everything about one.
fn full(out: &mut dyn Write, row: &Row) -> io::Result<()> {
    writeln!(out, "{}: {}", row.name, row.summary)?;
    let ports: Vec<String> = row.ports.iter().map(u16::to_string).collect();
    let lines = [
        ("over", row.over.join(", ")),
        ("usual ports", ports.join(", ")),
        ("paired by", row.pairing.to_owned()),
        ("errors", row.errors.to_owned()),
        ("trace context", row.trace_context.to_owned()),
        ("goes to TLS by", row.tls.to_owned()),
    ];
    for (what, text) in lines.iter().filter(|line| !line.1.is_empty()) {
        writeln!(out, "  {what:<14} {text}")?;
    }
    row.limits.iter().try_for_each(|limit| writeln!(out, "  {:<14} {limit}", "not"))
}
