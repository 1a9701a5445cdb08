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
pub(super) struct Input {
    pub(super) name: String,
    spans: PathBuf,
    truth: PathBuf,
}

/// Prints its own tables. Without a folder of labelled sets it takes one beside the repository, if any.
pub fn measure(bench: &Bench, _: &mut Table) -> Result<()> {
    let inputs = inputs(bench)?;
    for (level, algorithms) in LEVELS {
        println!("\n## {level}\n");
        println!(
            "| set | algorithm | links | ambiguous | ambiguous link | link | request | trace | precision at 0.9 | coverage at 0.9 | calibration error | CPU s / 10,000 | MB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
        let mut said = Reliability::default();
        for input in &inputs {
            for algorithm in *algorithms {
                let scores =
                    scores(&bench.binary, input, &["--features", level, "--algorithm", algorithm])?;
                row(input, algorithm, &scores);
                if *algorithm == "auto" {
                    said.add(&scores);
                }
            }
        }
        said.print();
    }
    published(bench, &inputs)
}

/// Sets of which figures were published, and who they were published of.
const PUBLISHED_SETS: &[&str] =
    &["hotel-50", "hotel-100", "media-50", "media-100", "node-50", "nodeio-0"];
const PUBLISHED: &[&str] = &["fifo", "wap5", "traceweaver"];

/// Whole traces under the published restrictions, where there are such sets.
fn published(bench: &Bench, inputs: &[Input]) -> Result<()> {
    println!("\n## published\n\n| set | {} |", PUBLISHED.join(" | "));
    println!("|---|{}", "---|".repeat(PUBLISHED.len()));
    for name in PUBLISHED_SETS {
        let Some(input) = inputs.iter().find(|input| input.name == *name) else { continue };
        print!("| {name} |");
        for algorithm in PUBLISHED {
            let scores = scores(&bench.binary, input, &["--published", "--algorithm", algorithm])?;
            print!(" {:.1} |", scores["trace"].as_f64().unwrap_or(f64::NAN) * 100.0);
        }
        println!();
    }
    Ok(())
}

/// The simulated sets, and the labelled ones where there are some.
pub(super) fn inputs(bench: &Bench) -> Result<Vec<Input>> {
    let mut inputs = simulated(&bench.folder)?;
    if let Some(sets) = bench.sets.clone().or_else(beside) {
        inputs.extend(labelled(&sets)?);
    }
    Ok(inputs)
}

/// What `auto` says against what is right, over all sets, in steps of confidence.
#[derive(Default)]
struct Reliability([[f64; 3]; 10]);

impl Reliability {
    fn add(&mut self, scores: &Value) {
        for step in scores["reliability"].as_array().into_iter().flatten() {
            let number = |name: &str| step[name].as_f64().unwrap_or(0.0);
            let (links, said) = (number("links"), number("said"));
            let sums = &mut self.0[((said * 10.0) as usize).min(9)];
            for (sum, more) in sums.iter_mut().zip([links, said * links, number("right") * links]) {
                *sum += more;
            }
        }
    }

    fn print(&self) {
        println!("\n| `auto`, all sets: links | said | right |\n|---|---|---|");
        for [links, said, right] in self.0.iter().filter(|sums| sums[0] > 0.0) {
            println!("| {links:.0} | {:.3} | {:.3} |", said / links, right / links);
        }
    }
}

fn row(input: &Input, algorithm: &str, all: &Value) {
    let share = |name: &str| all[name].as_f64().unwrap_or(f64::NAN) * 100.0;
    let number = |name: &str| all[name].as_f64().unwrap_or(f64::NAN);
    let interval = |at: usize| all["calibration_interval"][at].as_f64().unwrap_or(f64::NAN);
    let links = number("links");
    println!(
        "| {} | {algorithm} | {links} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.3} ({:.3}–{:.3}) | {:.2} | {:.0} |",
        input.name,
        share("ambiguous_share"),
        share("ambiguous_link"),
        share("link"),
        share("request"),
        share("trace"),
        share("sure_precision"),
        share("sure_coverage"),
        number("calibration_error"),
        interval(0),
        interval(1),
        number("cpu_seconds") * 10_000.0 / links.max(1.0),
        number("peak_memory_bytes") / 1e6,
    );
}

/// What `deeptrace correlate --eval` says of the set, with these options.
pub(super) fn scores(binary: &Path, input: &Input, options: &[&str]) -> Result<Value> {
    let mut command = Command::new(binary);
    command.args(["correlate", "--format", "json"]).args(options);
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
