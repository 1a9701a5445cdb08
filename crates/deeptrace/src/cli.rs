//! The command line: options that are alike everywhere, exit codes, one line for an error.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Args, Command, CommandFactory, FromArgMatches, Parser};
use deeptrace_http::{ClientFiles, Identity};
use deeptrace_store::Holder;

use crate::arguments::BadUsage;
use crate::config::{Loaded, Loader};
use crate::layers::LayerError;
use crate::{commands, output};

/// Zero-code distributed tracing for Linux.
#[derive(Parser)]
#[command(name = "deeptrace", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Example: sudo deeptrace run, then open http://127.0.0.1:7901")]
pub(crate) struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: commands::Command,
}

/// Options that every command has.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Configuration file [default: ./deeptrace.toml, then /etc/deeptrace/deeptrace.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the store and the token
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/deeptrace")]
    pub(crate) data_dir: PathBuf,
    #[command(flatten)]
    pub(crate) tls: TlsOptions,
}

impl Common {
    /// The configuration that a process with these options would start with.
    pub(crate) fn load(&self) -> Result<Loaded, LayerError> {
        Loader::of_process(self.config.clone()).load(None)
    }

    /// Where the server that has the data folder is asked, if one has it.
    pub(crate) fn served_at(&self) -> Option<String> {
        Holder::of(&self.data_dir)?.address
    }
}

/// How a server under `https` is asked.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    /// Root certificates (PEM) for https [default: those that the system trusts]
    #[arg(long, global = true, value_name = "FILE", help_heading = "TLS")]
    ca_file: Option<PathBuf>,
    /// Own certificate (PEM), where the server asks for one
    #[arg(long, global = true, value_name = "FILE", requires = "key_file", help_heading = "TLS")]
    cert_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, global = true, value_name = "FILE", requires = "cert_file", help_heading = "TLS")]
    key_file: Option<PathBuf>,
}

impl TlsOptions {
    /// As files to be read.
    pub(crate) fn files(&self) -> ClientFiles {
        let identity = self.cert_file.clone().zip(self.key_file.clone());
        ClientFiles {
            ca_file: self.ca_file.clone(),
            identity: identity.map(|(cert_file, key_file)| Identity { cert_file, key_file }),
        }
    }
}

/// All of the command line. A negative number is the value of the option before it, and refused as such,
/// never taken for an option of its own.
fn command() -> Command {
    fn taking_negatives(command: Command) -> Command {
        let takes = |arg: Arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        };
        command.mut_args(takes).mut_subcommands(taking_negatives)
    }
    taking_negatives(Cli::command())
}

/// The `deeptrace` command with this process's arguments: all of it, beside the protocols that were
/// [registered](crate::register_protocol_handler). Success is 0, failure 1; bad usage is 2, and ends
/// the process.
pub fn main() -> ExitCode {
    let cli = match Cli::from_arg_matches(&command().get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match commands::run(cli.command, &cli.common) {
        Ok(code) => code,
        // Somebody who reads only the head of what we print is not a failure.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("{error:#}").replace('\n', "; ");
            eprintln!("deeptrace: {text}");
            if error.is::<BadUsage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
