//! The `deeptrace` command: options that are alike everywhere, exit codes, one line for an error.
#![forbid(unsafe_code)]

mod answerer;
mod client;
mod commands;
mod output;
mod settings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use mimalloc::MiMalloc;

/// The C library's allocator keeps what a burst has taken; an agent must give it back.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Zero-code distributed tracing for Linux.
#[derive(Parser)]
#[command(name = "deeptrace", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Example: sudo deeptrace run, then open http://127.0.0.1:7901")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: commands::Command,
}

/// Options that every command has.
#[derive(Args, Clone, Debug)]
struct Common {
    /// Configuration file [default: ./deeptrace.toml, then /etc/deeptrace/deeptrace.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the store and the token
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/deeptrace")]
    data_dir: PathBuf,
}

/// Success is 0, failure 1; bad usage is 2, which clap itself returns.
fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(cli.command, &cli.common) {
        Ok(code) => code,
        // Somebody who reads only the head of what we print is not a failure.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("{error:#}").replace('\n', "; ");
            eprintln!("deeptrace: {text}");
            ExitCode::FAILURE
        }
    }
}
