//! `deeptrace backup`: data, configuration and the key of receipts into a folder, while all goes on.

use std::path::{PathBuf, absolute};

use anyhow::{Context, Result};
use clap::Args;
use deeptrace_server::duties::{Job, Manifest};
use serde_json::json;

use crate::client::Method;
use crate::duty::{Absent, Doer, wait};
use crate::progress::Progress;
use crate::{Common, arguments};

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace backup --output /backups/deeptrace-monday")]
pub struct Options {
    /// Folder to write, which is not there yet
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Have it done by the server at this address, on its host [default: whoever has the data folder]
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
}

/// Does it.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let folder = absolute(&options.output)
        .with_context(|| format!("{} is no path", options.output.display()))?;
    let progress = Progress::of("backing up");
    let manifest: Manifest = match Doer::new(options.server.as_deref(), common, Absent::Refused)? {
        Doer::Server(client) => {
            let job: Job = client.send(Method::Post, "/backup", &json!({ "output": folder }))?;
            wait(&client, job, &progress)?
        }
        Doer::Folder(duties) => {
            duties.backup(&folder, &mut |share| progress.share(share.into(), ""))?
        }
    };
    progress.end();
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    println!(
        "{} spans in {} files, {bytes} bytes, with checksums in {}",
        manifest.spans,
        manifest.files.len(),
        folder.join("manifest.json").display()
    );
    Ok(())
}
