//! `deeptrace erase`: the right to erasure, with a receipt.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use deeptrace_erase::{Key, Receipt, Target};
use deeptrace_http::format_time;
use deeptrace_model::WallTime;
use deeptrace_server::duties::{self, Job, Preview};

use crate::duty::{Absent, Doer, wait};
use crate::output::{Output, plain, table};
use crate::progress::Progress;
use crate::{Common, arguments};

/// Options of the command.
#[derive(Args)]
#[command(
    after_help = "Example: deeptrace erase --match user=anna@shop.example --format json --output receipt.json"
)]
pub struct Options {
    /// Spans whose field has the value: service, trace_id, user, payload (occurs in it), any (occurs
    /// anywhere), or the name of an attribute
    #[arg(long = "match", value_name = "FIELD=VALUE", value_parser = arguments::target, required_unless_present = "verify")]
    target: Option<String>,
    /// Only say what would be erased
    #[arg(long, conflicts_with = "verify")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "verify")]
    yes: bool,
    /// Check the signature of a receipt instead, against the key in the data folder
    #[arg(long, value_name = "RECEIPT", conflicts_with = "target")]
    verify: Option<PathBuf>,
    /// … or against this public key, 64 hex digits
    #[arg(long, value_name = "HEX", requires = "verify")]
    public_key: Option<String>,
    /// Have it done by the server at this address [default: whoever has the data folder]
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Does it.
pub fn run(options: Options, common: &Common) -> Result<()> {
    if let Some(path) = &options.verify {
        return verify(path, &options, common);
    }
    let text = options.target.as_deref().unwrap_or_default();
    let target = Target::parse(text)?;
    let doer = Doer::new(options.server.as_deref(), common, Absent::Refused)?;
    if options.dry_run || !options.yes {
        let preview = preview(&doer, text, &target)?;
        if options.dry_run {
            return options.output.print(&preview, |out, preview| tell(out, preview));
        }
        if !io::stdin().is_terminal() {
            bail!("nobody can be asked here: look with --dry-run, then give --yes");
        }
        tell(&mut io::stderr(), &preview)?;
        eprint!("This cannot be undone. Type `yes` to erase these spans: ");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() != "yes" {
            bail!("nothing was erased");
        }
    }
    let progress = Progress::of("erasing");
    let receipt: Receipt = match &doer {
        Doer::Server(client) => {
            let job: Job = client.delete_where("/spans", &[("match", text.to_owned())])?;
            wait(client, job, &progress)?
        }
        Doer::Folder(duties) => {
            duties.erase(&target, &mut |looked_at, found| progress.counted(looked_at, found))?
        }
    };
    progress.end();
    options.output.print(&receipt, |out, receipt| told(out, receipt))
}

fn preview(doer: &Doer, text: &str, target: &Target) -> Result<Preview> {
    let progress = Progress::of("looking");
    let preview = match doer {
        Doer::Server(client) => {
            let query = [("match", text.to_owned()), ("dry_run", "true".to_owned())];
            let job: Job = client.delete_where("/spans", &query)?;
            wait(client, job, &progress)?
        }
        Doer::Folder(duties) => {
            duties.preview(target, &mut |looked_at, found| progress.counted(looked_at, found))?
        }
    };
    progress.end();
    Ok(preview)
}

fn tell(out: &mut dyn Write, preview: &Preview) -> io::Result<()> {
    writeln!(out, "{} of {} spans", preview.spans, preview.looked_at)?;
    if let (Some(oldest), Some(newest)) = (preview.oldest_unix_nano, preview.newest_unix_nano) {
        let [oldest, newest] = [oldest, newest].map(|time| format_time(WallTime(time)));
        writeln!(out, "started {oldest} to {newest}")?;
        let services = preview.services.iter();
        let rows: Vec<_> =
            services.map(|(name, count)| vec![plain(name), count.to_string()]).collect();
        table(out, &["SERVICE", "SPANS"], &rows)?;
    }
    if preview.elsewhere > 0 {
        let elsewhere = preview.elsewhere;
        writeln!(
            out,
            "the value also occurs in {elsewhere} other spans, which stay; any=VALUE names them too"
        )?;
    }
    Ok(())
}

fn told(out: &mut dyn Write, receipt: &Receipt) -> io::Result<()> {
    let statement = &receipt.statement;
    let (spans, links) = (statement.spans, statement.links);
    writeln!(out, "erased {spans} spans and {links} links, by {}", statement.tombstone.field())?;
    writeln!(out, "tombstone {}", statement.tombstone.id())?;
    for folder in &statement.backups {
        writeln!(out, "backups in {folder} are erased when they are restored")?;
    }
    writeln!(out, "the receipt itself is JSON: --format json --output FILE keeps it")
}

fn verify(path: &Path, options: &Options, common: &Common) -> Result<()> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let receipt: Receipt = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no receipt", path.display()))?;
    let signer = match &options.public_key {
        Some(text) => Key::read_public(text)?,
        None => duties::public_key(&common.data_dir)?.with_context(|| {
            format!(
                "there is no key in {}: give --data-dir, or --public-key",
                common.data_dir.display()
            )
        })?,
    };
    receipt.verify(Some(&signer)).with_context(|| format!("{} does not hold", path.display()))?;
    options.output.print(&receipt.statement, |out, statement| {
        let [from, to] = [statement.started_unix_nano, statement.ended_unix_nano]
            .map(|time| format_time(WallTime(time)));
        let (spans, links) = (statement.spans, statement.links);
        writeln!(out, "the receipt holds: {spans} spans and {links} links erased, {from} to {to}")
    })
}
