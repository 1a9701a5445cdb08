//! `deeptrace server run`: store, API and page, without capture.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::run::{self, Roles};
use crate::Common;

/// What can be done with a server.
#[derive(Subcommand)]
pub enum Command {
    /// Store, API and web page
    #[command(after_help = "Example: deeptrace server run --port 7901 --data-dir ./data")]
    Run(RunOptions),
}

/// Options of `server run`.
#[derive(Args)]
pub struct RunOptions {
    /// Port of the API and the page [default: 7901]
    #[arg(long)]
    port: Option<u16>,
    /// Their address [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Write every span to standard output, one JSON object a line
    #[arg(long)]
    log_spans: bool,
}

/// Does it.
pub fn run(command: Command, common: &Common) -> Result<()> {
    let Command::Run(options) = command;
    let mut loader = run::loader(common);
    loader.argument("server.port", "--port", options.port);
    loader.argument("server.host", "--listen", options.listen);
    run::start(loader, common, Roles { agent: false, server: true, log_spans: options.log_spans })
}
