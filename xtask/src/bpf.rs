//! The kernel object: built from C by clang, committed, so that users need no clang.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{child, packages, root};

/// Rebuilds the object beside its source; with `check`, into a temporary file, and compares.
pub fn build(check: bool) -> Result<()> {
    packages::ensure(packages::KERNEL_OBJECT)?;
    let folder = root().join("crates/capture/bpf");
    let committed = folder.join("deeptrace.bpf.o");
    let rebuilt = if check {
        std::env::temp_dir().join(format!("deeptrace-{}.bpf.o", std::process::id()))
    } else {
        committed.clone()
    };
    child::succeed(Command::new("sh").arg(folder.join("build.sh")).arg(&rebuilt))?;
    if check {
        let new = std::fs::read(&rebuilt).context("failed to read the rebuilt object")?;
        let old = std::fs::read(&committed).context("failed to read the committed object")?;
        std::fs::remove_file(&rebuilt).ok();
        if new != old {
            bail!(
                "the committed kernel object is not what its source builds: run './x bpf' and commit it"
            );
        }
        println!("kernel object: {} bytes, a rebuild gives the same", old.len());
    }
    Ok(())
}
