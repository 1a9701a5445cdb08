//! `deeptrace cleanup`: retention by hand.

use anyhow::Result;
use clap::Args;
use deeptrace_server::duties::{Job, days_ago};
use serde::{Deserialize, Serialize};

use crate::duty::{Absent, Doer, wait};
use crate::output::Output;
use crate::progress::Progress;
use crate::{Common, arguments};

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace cleanup --days 3")]
pub struct Options {
    /// Remove spans that ended more than so many days ago
    #[arg(long, value_name = "N", value_parser = arguments::limit::<u64>(36_500))]
    days: u64,
    /// Have it done by the server at this address [default: whoever has the data folder]
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// What was removed.
#[derive(Serialize, Deserialize)]
struct Removed {
    spans: u64,
    links: u64,
    gaps: u64,
}

/// Does it.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let progress = Progress::of("cleaning up");
    let removed = match Doer::new(options.server.as_deref(), common, Absent::Refused)? {
        Doer::Server(client) => {
            let query = [("days", options.days.to_string())];
            let job: Job = client.delete_where("/spans", &query)?;
            wait(&client, job, &progress)?
        }
        Doer::Folder(duties) => {
            let removed = duties.cleanup(days_ago(options.days))?;
            Removed { spans: removed.spans, links: removed.links, gaps: removed.gaps }
        }
    };
    progress.end();
    options.output.print(&removed, |out, removed| {
        let Removed { spans, links, gaps } = removed;
        writeln!(out, "removed {spans} spans, {links} links and {gaps} gaps")
    })
}
