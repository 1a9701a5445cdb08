//! `deeptrace protocols`: the table, as it is.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::custom;
use crate::output::{Output, table};

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace protocols --format json")]
pub struct Options {
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    summary: &'static str,
}

/// Prints the table.
pub fn run(options: &Options) -> Result<()> {
    let row = |p: &deeptrace_protocol::Protocol| Row { name: p.name, summary: p.title };
    let mut rows: Vec<Row> = deeptrace_protocol::TABLE.iter().map(row).collect();
    let registered = custom::handlers()?;
    rows.extend(registered.iter().map(|it| Row { name: it.name(), summary: "registered" }));
    options.output.print(&rows, |out, rows| {
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| vec![row.name.to_owned(), row.summary.to_owned()]).collect();
        table(out, &["NAME", "WHAT"], &cells)
    })
}
