//! Building the product, and running it as a user would.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{child, packages, root};

/// Builds the release binary and returns its path; or that of the one in `DEEPTRACE_BINARY`, as it is.
pub fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("DEEPTRACE_BINARY") {
        return Ok(binary.into());
    }
    packages::ensure(packages::BUILD)?;
    child::cargo(&["build", "--release", "--package", "deeptrace", "--bin", "deeptrace"])?;
    Ok(target_dir().join("release/deeptrace"))
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// `./x run`: builds and becomes `deeptrace run`.
pub fn run(args: &[String]) -> Result<()> {
    let binary = binary()?;
    let error = Command::new(&binary).arg("run").args(args).exec();
    Err(error).with_context(|| format!("failed to start {}", binary.display()))
}
