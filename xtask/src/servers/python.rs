//! The clients that are written in Python, with their libraries in an environment of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{child, packages, root};

fn folder(name: &str) -> PathBuf {
    root().join("out/servers").join(name)
}

/// Makes the environment of the clients.
pub fn ensure() -> Result<()> {
    environment("venv", "requirements.txt").map(drop)
}

/// The environment of that name with what `list` in `xtask/servers` names, made anew where that has
/// changed; its folder.
pub fn environment(name: &str, list: &str) -> Result<PathBuf> {
    let folder = folder(name);
    let list = root().join("xtask/servers").join(list);
    let wanted =
        fs::read_to_string(&list).with_context(|| format!("failed to read {}", list.display()))?;
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    packages::ensure(&["python3", "python3-venv"])?;
    child::succeed(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut install = Command::new(folder.join("bin/pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    child::succeed(install.arg("-r").arg(&list))?;
    fs::write(stamp, wanted)?;
    Ok(folder)
}

/// The interpreter of the environment.
pub fn interpreter() -> PathBuf {
    folder("venv").join("bin/python")
}

/// A program of `xtask/servers`.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(interpreter());
    command.arg(root().join("xtask/servers").join(name));
    command
}
