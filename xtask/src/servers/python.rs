//! The clients that are written in Python, with their libraries in an environment of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{child, packages, root};

fn folder() -> PathBuf {
    root().join("out/servers/venv")
}

/// Makes the environment, anew where its list has changed.
pub fn ensure() -> Result<()> {
    let list = root().join("xtask/servers/requirements.txt");
    let wanted = fs::read_to_string(&list).context("failed to read requirements.txt")?;
    let stamp = folder().join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    packages::ensure(&["python3", "python3-venv"])?;
    child::succeed(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(folder()))?;
    let mut install = Command::new(folder().join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    child::succeed(install.arg("-r").arg(&list))?;
    Ok(fs::write(stamp, wanted)?)
}

/// The interpreter of the environment.
pub fn interpreter() -> PathBuf {
    folder().join("bin/python")
}

/// A program of `xtask/servers`.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(root().join("xtask/servers").join(name));
    command
}
