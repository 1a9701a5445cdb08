//! `deeptrace restore`: a data folder out of a backup, without what was erased since.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use deeptrace_server::duties;

use crate::Common;

/// Options of the command.
#[derive(Args)]
#[command(
    after_help = "Example: deeptrace restore --input /backups/deeptrace-monday --data-dir /var/lib/deeptrace"
)]
pub struct Options {
    /// Folder that `backup` wrote
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// Receipts of erasures that the backup may not know; what they name is erased again
    #[arg(long = "receipt", value_name = "FILE")]
    receipts: Vec<PathBuf>,
}

/// Does it.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let loaded = common.load()?;
    let store = loaded.server.store_options(&common.data_dir);
    let mut said = |what: &str| eprintln!("{what}");
    let backend = loaded.server.backend;
    let restored = duties::restore(&options.input, backend, &store, &options.receipts, &mut said)?;
    println!(
        "restored {} spans into {}; {} erasures were applied and took {} of them",
        restored.manifest.spans,
        common.data_dir.display(),
        restored.tombstones,
        restored.erased,
    );
    if let Some(config) = restored.config {
        println!(
            "the configuration of the backup is {}; it is in effect with --config",
            config.display()
        );
    }
    Ok(())
}
