//! The least that anybody pays who listens on the same hooks: programs that do nothing, or that copy the
//! bytes of each call to a reader who throws them away. No tracer can be cheaper.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Result, bail};

use super::server::held;
use crate::child::Kept;
use crate::{build, child};

/// The example of the capture crate that measures one call; it also holds its floor attached.
const EXAMPLE: &str = "event_cost";

/// Builds it, before anything is measured.
pub fn build() -> Result<()> {
    let package = ["--package", "deeptrace-capture", "--features", "live", "--example", EXAMPLE];
    child::cargo(&[&["build", "--quiet", "--release"], &package[..]].concat())
}

/// Attaches programs that copy `copied` bytes of each call, or do nothing; until this is dropped.
pub fn attach(core: Option<u32>, copied: u32) -> Result<Kept> {
    let mut command = held(core, build::target_dir().join("release/examples").join(EXAMPLE));
    command.args(["hold", &copied.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut kept = Kept::start("the floor", &mut command)?;
    let (_, stdout) = kept.pipes()?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() != "attached" {
        bail!("the programs of the floor were not attached");
    }
    Ok(kept)
}
