//! The commands, one file each, in the order in which `--help` lists them.

mod agent;
mod alerts;
mod analyze;
mod asso;
mod audit;
mod backup;
mod cleanup;
mod completions;
mod config;
mod correlate;
mod doctor;
mod erase;
mod export;
mod import;
mod protocols;
#[cfg(feature = "live")]
mod record;
mod replay;
mod restore;
mod run;
mod server;
mod token;
mod trace;
mod traces;
mod user;

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
    #[command(subcommand, after_help = "Example: deeptrace agent status")]
    Agent(agent::Command),
    /// Store, API and web page only
    #[command(subcommand, after_help = "Example: deeptrace server run --data-dir ./data")]
    Server(server::Command),
    /// Traces, newest first
    Traces(traces::Options),
    /// One trace as a tree
    Trace(trace::Options),
    /// Service map, latencies, errors and critical paths
    #[command(subcommand, after_help = "Example: deeptrace analyze topology --start -15m")]
    Analyze(analyze::Command),
    /// Whether the webhooks of alerts take a message
    #[command(subcommand, after_help = "Example: deeptrace alerts test")]
    Alerts(alerts::Command),
    /// Whole traces into a file
    Export(export::Options),
    /// What `export` wrote, into the store
    Import(import::Options),
    /// Retention by hand
    Cleanup(cleanup::Options),
    /// The right to erasure: spans that hold a value, everywhere, with a receipt
    Erase(erase::Options),
    /// Data and configuration into a folder
    Backup(backup::Options),
    /// A data folder out of a backup
    Restore(restore::Options),
    /// A recording or packet capture through the same stages
    Replay(replay::Options),
    /// What the kernel tells, into a file for `replay`
    #[cfg(feature = "live")]
    Record(record::Options),
    /// Who infers where nothing was observed, and stored spans correlated again
    #[command(subcommand, after_help = "Example: deeptrace asso algo traceweaver")]
    Asso(asso::Command),
    /// Spans of a file through any algorithm, and how right that was
    Correlate(correlate::Options),
    /// The protocols that are recognised
    Protocols(protocols::Options),
    /// Whether this host lets us work, and what to do where it does not
    Doctor(doctor::Options),
    /// The configuration: what is in effect, whether a file is right, changes
    #[command(subcommand, after_help = "Example: deeptrace config show")]
    Config(config::Command),
    /// Users, who log in with a password
    #[command(subcommand, after_help = "Example: deeptrace user add anna --role analyst")]
    User(user::Command),
    /// Tokens, by which programs and agents are known
    #[command(
        subcommand,
        after_help = "Example: deeptrace token create ci --role viewer --expires-in 30d"
    )]
    Token(token::Command),
    /// The audit log: whether it is whole
    #[command(subcommand, after_help = "Example: deeptrace audit verify")]
    Audit(audit::Command),
    /// Completions for a shell
    Completions(completions::Options),
}

/// Does it; the code is what the process exits with.
pub fn run(command: Command, common: &Common) -> Result<ExitCode> {
    match command {
        Command::Run(options) => run::run(options, common),
        Command::Agent(command) => agent::run(command, common),
        Command::Server(command) => server::run(command, common),
        Command::Traces(options) => traces::run(options, common),
        Command::Trace(options) => trace::run(&options, common),
        Command::Analyze(command) => analyze::run(command, common),
        Command::Alerts(command) => alerts::run(command, common),
        Command::Export(options) => export::run(options, common),
        Command::Import(options) => import::run(options, common),
        Command::Cleanup(options) => cleanup::run(options, common),
        Command::Erase(options) => erase::run(options, common),
        Command::Backup(options) => backup::run(options, common),
        Command::Restore(options) => restore::run(options, common),
        Command::Replay(options) => replay::run(options, common),
        #[cfg(feature = "live")]
        Command::Record(options) => record::run(options, common),
        Command::Asso(command) => asso::run(command, common),
        Command::Correlate(options) => correlate::run(&options),
        Command::Protocols(options) => protocols::run(&options),
        Command::Doctor(options) => doctor::run(&options, common),
        Command::Config(command) => config::run(command, common),
        Command::User(command) => user::run(command, common),
        Command::Token(command) => token::run(command, common),
        Command::Audit(command) => return audit::run(command, common),
        Command::Completions(options) => completions::run(&options),
    }
    .map(|()| ExitCode::SUCCESS)
}
