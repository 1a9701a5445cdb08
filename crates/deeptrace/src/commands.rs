//! The commands, one file each, in the order in which `--help` lists them.

mod agent;
mod completions;
mod config;
mod protocols;
mod run;
mod server;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::Common;

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Everything on one host: capture, correlation, store, API and web page
    Run(run::Options),
    /// Capture and correlation only; and what a running agent can be asked
    #[command(subcommand)]
    Agent(agent::Command),
    /// Store, API and web page only
    #[command(subcommand)]
    Server(server::Command),
    /// The protocols that are recognised
    Protocols(protocols::Options),
    /// The configuration: what is in effect, whether a file is right, changes
    #[command(subcommand)]
    Config(config::Command),
    /// Completions for a shell
    Completions(completions::Options),
}

/// Does it; the code is what the process exits with.
pub fn run(command: Command, common: &Common) -> Result<ExitCode> {
    match command {
        Command::Run(options) => run::run(options, common),
        Command::Agent(command) => agent::run(command, common),
        Command::Server(command) => server::run(command, common),
        Command::Protocols(options) => protocols::run(&options),
        Command::Config(command) => config::run(command, common),
        Command::Completions(options) => completions::run(&options),
    }
    .map(|()| ExitCode::SUCCESS)
}
