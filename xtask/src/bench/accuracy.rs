//! How right each algorithm is: simulated workloads with known truth always, and the labelled sets of a
//! folder where it is there. Prints Markdown, one table for each level of features.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use deeptrace_workload::{SETS, simulate, spans, truth};
use serde_json::Value;

use super::Bench;
use super::table::Table;
use crate::root;

/// Seed of the sets that are reported; others are for tuning.
const SEED: u64 = 2;

/// Algorithms and what they may use; `vpath` and `deepflow` know threads only.
const LEVELS: &[(&str, &[&str])] = &[
    ("timing", &["auto", "fifo", "wap5", "traceweaver"]),
    ("thread", &["auto", "vpath", "deepflow"]),
    ("payload", &["auto", "deeptrace"]),
];

/// A set of spans with its truth.
struct Input {
    name: String,
    spans: PathBuf,
    truth: PathBuf,
}

/// Prints its own tables. Without a folder of labelled sets it takes one beside the repository, if any.
pub fn measure(bench: &Bench, _: &mut Table) -> Result<()> {
    let mut inputs = simulated(&bench.folder)?;
    if let Some(sets) = bench.sets.clone().or_else(beside) {
        inputs.extend(labelled(&sets)?);
    }
    for (level, algorithms) in LEVELS {
        println!("\n## {level}\n");
        println!(
            "| set | algorithm | links | ambiguous | ambiguous link | link | request | trace | precision at 0.9 | coverage at 0.9 | calibration error | CPU s / 10,000 | MB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        for input in &inputs {
            for algorithm in *algorithms {
                row(&bench.binary, input, algorithm, level)?;
            }
        }
    }
    Ok(())
}

fn row(binary: &Path, input: &Input, algorithm: &str, level: &str) -> Result<()> {
    let all = scores(binary, input, algorithm, level, "0")?;
    let sure = scores(binary, input, algorithm, level, "0.9")?;
    let share = |of: &Value, name: &str| of[name].as_f64().unwrap_or(f64::NAN) * 100.0;
    let number = |name: &str| all[name].as_f64().unwrap_or(f64::NAN);
    let interval = |at: usize| all["calibration_interval"][at].as_f64().unwrap_or(f64::NAN);
    let links = number("links");
    println!(
        "| {} | {algorithm} | {links} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.3} ({:.3}–{:.3}) | {:.2} | {:.0} |",
        input.name,
        share(&all, "ambiguous_share"),
        share(&all, "ambiguous_link"),
        share(&all, "link"),
        share(&all, "request"),
        share(&all, "trace"),
        share(&sure, "precision"),
        share(&sure, "coverage"),
        number("calibration_error"),
        interval(0),
        interval(1),
        number("cpu_seconds") * 10_000.0 / links.max(1.0),
        number("peak_memory_bytes") / 1e6,
    );
    std::io::stdout().flush()?;
    Ok(())
}

fn scores(
    binary: &Path,
    input: &Input,
    algorithm: &str,
    level: &str,
    least: &str,
) -> Result<Value> {
    let mut command = Command::new(binary);
    command.args(["correlate", "--format", "json", "--algorithm", algorithm, "--features", level]);
    command.args(["--min-confidence", least]);
    command.arg("--input").arg(&input.spans).arg("--eval").arg(&input.truth);
    let done = command.output().with_context(|| format!("cannot run {}", binary.display()))?;
    if !done.status.success() {
        bail!("{}: {}", input.name, String::from_utf8_lossy(&done.stderr).trim());
    }
    serde_json::from_slice(&done.stdout).context("scores are JSON")
}

fn simulated(folder: &Path) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for set in SETS {
        let path = |ending: &str| folder.join(format!("{}.{ending}", set.name));
        let input = Input {
            name: set.name.to_owned(),
            spans: path("spans.jsonl"),
            truth: path("truth.csv"),
        };
        let seen = simulate(&(set.make)(), SEED);
        let mut out = BufWriter::new(File::create(&input.spans)?);
        spans(&mut out, &seen)?;
        out.flush()?;
        let mut out = BufWriter::new(File::create(&input.truth)?);
        truth(&mut out, &seen)?;
        out.flush()?;
        inputs.push(input);
    }
    Ok(inputs)
}

/// Sets named `NAME.spans.jsonl.zst` and `NAME.truth.csv.zst`.
fn labelled(folder: &Path) -> Result<Vec<Input>> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.with_context(|| format!("cannot read {}", folder.display()))?;
    let mut inputs = Vec::new();
    for entry in entries {
        let spans = entry?.path();
        let name = spans.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".spans.jsonl.zst") {
            let truth = folder.join(format!("{name}.truth.csv.zst"));
            inputs.push(Input { name: name.to_owned(), spans, truth });
        }
    }
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(inputs)
}

/// A folder of labelled sets beside the repository.
fn beside() -> Option<PathBuf> {
    let neighbours = std::fs::read_dir(root().parent()?).ok()?;
    let mut folders: Vec<PathBuf> =
        neighbours.filter_map(|entry| Some(entry.ok()?.path().join("corr"))).collect();
    folders.sort();
    folders.into_iter().find(|folder| folder.is_dir())
}
