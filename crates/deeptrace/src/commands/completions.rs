//! `deeptrace completions SHELL`.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace completions bash > /etc/bash_completion.d/deeptrace")]
pub struct Options {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub fn run(options: &Options) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut crate::Cli::command(), "deeptrace", &mut script);
    let mut out = crate::output::open("-".as_ref())?;
    out.write_all(&script)?;
    out.flush()?;
    Ok(())
}
