//! Worker: benches of the server, in processes of their own, on spans that are made from a recording of the demo.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::{child, root};

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

/// Replays the recording of the demo into a store in `folder`, for workers to make spans of.
pub fn template(binary: &Path, folder: &Path) -> Result<()> {
    let mut replay = Command::new(binary);
    replay.arg("replay").arg(root().join("corpus/recording/shop.rec")).arg("--store");
    child::succeed(replay.arg(folder).args(["--output", "/dev/null"]))
}

/// The command that runs the bench of this name; what it is to know comes behind.
pub fn command(bench: &str) -> Command {
    let mut command = cargo(bench);
    command.arg("--");
    command
}

/// Builds it, for whoever looks at something else while it runs.
pub fn build(bench: &str) -> Result<()> {
    child::succeed(cargo(bench).arg("--no-run"))
}

fn cargo(bench: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["bench", "-q", "-p", "deeptrace-server", "--bench", bench]).current_dir(root());
    command
}

/// What it has told: one figure a line, name, tab, value.
pub fn figures(out: Output) -> Result<Figures> {
    if !out.status.success() {
        bail!("the bench ended with {}", out.status);
    }
    let text = String::from_utf8(out.stdout).context("the figures are no text")?;
    let line = |line: &str| {
        let (name, value) = line.split_once('\t')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}
