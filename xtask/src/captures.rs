//! `./x captures FOLDER`: packet captures that others made, through `deeptrace replay` and tshark, held
//! to `corpus/captures.tsv`, which says of each why the two count differently. The captures are
//! nobody's to copy, so they are given by a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{build, packages, root};

/// Where the captures are.
#[derive(clap::Args)]
pub struct Options {
    /// The folder
    folder: PathBuf,
    /// A deeptrace to run, instead of building this one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Do not ask tshark again, which takes minutes
    #[arg(long)]
    spans_only: bool,
}

/// A line of the file.
struct Row<'a> {
    file: &'a str,
    protocol: &'a str,
    spans: usize,
    /// `None`: tshark is not asked.
    requests: Option<usize>,
    decode: &'a str,
    filter: &'a str,
    field: &'a str,
    why: &'a str,
}

/// Compares.
pub fn captures(options: &Options) -> Result<()> {
    packages::ensure(&["tshark"])?;
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => build::binary()?,
    };
    let text = fs::read_to_string(root().join("corpus/captures.tsv"))?;
    let mut wrong = Vec::new();
    let (mut agree, mut explained, mut missing) = (0, 0, 0);
    for row in rows(&text)? {
        let path = options.folder.join(row.file);
        if !path.exists() {
            missing += 1;
            continue;
        }
        let found = spans(&binary, &path, row.protocol)?;
        if found != row.spans {
            wrong.push(format!("{}: {found} spans, {} expected", row.file, row.spans));
        }
        let requests = match row.requests {
            Some(expected) if !options.spans_only => Some((tshark(&path, &row)?, expected)),
            _ => None,
        };
        if let Some((found, expected)) = requests.filter(|(found, expected)| found != expected) {
            wrong.push(format!("{}: tshark counts {found}, {expected} expected", row.file));
        }
        match row.requests {
            Some(requests) if requests == row.spans => agree += 1,
            _ => {
                explained += 1;
                println!("{}: {} spans of {}: {}", row.file, row.spans, row.protocol, row.why);
            }
        }
    }
    println!(
        "{agree} captures agree with tshark, {explained} are explained, {missing} are not there"
    );
    if missing > 0 {
        println!("SKIPPED: {missing} captures are not in {}", options.folder.display());
    }
    if !wrong.is_empty() {
        bail!("not as corpus/captures.tsv says:\n{}", wrong.join("\n"));
    }
    Ok(())
}

/// The lines; where the counts differ, or there is only one, it must be said why.
fn rows(text: &str) -> Result<Vec<Row<'_>>> {
    let mut all = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let cells: Vec<&str> = line.split('\t').collect();
        let &[file, protocol, spans, requests, decode, filter, field, why] = &cells[..] else {
            bail!("corpus/captures.tsv: a line has other than eight cells: {line}");
        };
        let spans = spans.parse().with_context(|| format!("{file}: spans"))?;
        let requests = match requests {
            "-" => None,
            number => Some(number.parse().with_context(|| format!("{file}: tshark"))?),
        };
        if requests != Some(spans) && why.is_empty() {
            bail!("corpus/captures.tsv: {file} does not say why the counts differ");
        }
        all.push(Row { file, protocol, spans, requests, decode, filter, field, why });
    }
    Ok(all)
}

/// Spans of a protocol that a capture gives.
fn spans(binary: &Path, capture: &Path, protocol: &str) -> Result<usize> {
    let mut command = Command::new(binary);
    let out =
        command.arg("replay").arg(capture).args(["--format", "json"]).current_dir("/").output()?;
    if !out.status.success() {
        bail!("{}: {}", capture.display(), String::from_utf8_lossy(&out.stderr).trim());
    }
    let wanted = format!("\"protocol\":\"{protocol}\"");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(text.lines().filter(|line| line.replace("\": \"", "\":\"").contains(&wanted)).count())
}

/// Values of the row's field that tshark finds.
fn tshark(capture: &Path, row: &Row<'_>) -> Result<usize> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture);
    for decode in row.decode.split(' ').filter(|decode| !decode.is_empty()) {
        command.args(["-d", decode]);
    }
    command.args(["-Y", row.filter, "-T", "fields", "-e", row.field, "-E", "aggregator=;"]);
    let out = command.output().context("failed to start tshark")?;
    if !out.status.success() {
        bail!("tshark: {}: {}", row.file, String::from_utf8_lossy(&out.stderr).trim());
    }
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(text.lines().flat_map(|line| line.split(';')).filter(|value| !value.is_empty()).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_explained() {
        let text = fs::read_to_string(root().join("corpus/captures.tsv")).unwrap();
        let rows = rows(&text).unwrap();
        assert!(rows.len() > 80);
        assert!(rows.iter().all(|row| row.requests.is_some() || !row.why.is_empty()));
        assert!(super::rows("a.pcap\thttp\t1\t2\t\tx\ty\t").is_err());
    }
}
