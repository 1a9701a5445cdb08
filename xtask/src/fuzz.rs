//! `./x fuzz`: libFuzzer over every target of `fuzz`, each for its share of the CPU time that is given,
//! and one table of what was run. Inputs that break something stay in `out/fuzz/broken`; give them a
//! test, then mend.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bench::usage;
use crate::{build, child, root};

/// What to fuzz, and how long.
#[derive(clap::Args)]
pub struct Options {
    /// Only these targets; without them all
    targets: Vec<String>,
    /// Minutes of CPU time, shared by the targets
    #[arg(long, default_value_t = 60.0, value_name = "MINUTES")]
    cpu_minutes: f64,
    /// Targets at a time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..65))]
    jobs: u8,
}

/// Where the kernel's processors are the ones that the product knows.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// Seconds of one run of a target; it is run again until it has used its share.
const SLICE: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(3600);

/// What became of a target.
struct Outcome {
    name: String,
    cpu_seconds: f64,
    runs: u64,
    inputs: usize,
    broken: usize,
}

/// Fuzzes.
pub fn fuzz(options: &Options) -> Result<()> {
    let folder = root().join("out/fuzz");
    fs::create_dir_all(folder.join("broken"))?;
    let names = seeds(&folder)?;
    for wanted in &options.targets {
        if !names.contains(wanted) {
            bail!("there is no target '{wanted}'; there are {}", names.join(", "));
        }
    }
    let is_wanted = |name: &String| options.targets.is_empty() || options.targets.contains(name);
    let names: Vec<String> = names.into_iter().filter(is_wanted).collect();
    let engine = engine()?;
    let share = options.cpu_minutes * 60.0 / names.len() as f64;
    let waiting = Mutex::new(names.into_iter());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let next = || waiting.lock().ok().and_then(|mut names| names.next());
            while let Some(name) = next() {
                let outcome = target(&engine, &folder, name, share)?;
                done.lock().map(|mut done| done.push(outcome)).ok();
            }
            Ok(())
        };
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("a worker panicked"),
        })
    })?;
    print(&done.into_inner().unwrap_or_default())
}

/// Writes the seeds; returns the names of the targets.
fn seeds(folder: &Path) -> Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "deeptrace-fuzz-targets", "--bin", "seeds", "--"]);
    let out = command.arg(folder).current_dir(root()).output()?;
    if !out.status.success() {
        bail!("seeds: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect())
}

/// Builds the targets with the engine in them. Without a sanitiser: they have no unsafe code, and
/// overflows are checked.
fn engine() -> Result<PathBuf> {
    let folder = build::target_dir().join("fuzz");
    let mut command = Command::new("cargo");
    // What started this one is of another toolchain.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command.args(["+nightly", "fuzz", "build", "--fuzz-dir", "fuzz/engine", "-s", "none"]);
    command.arg("--target-dir").arg(&folder).current_dir(root());
    child::succeed(&mut command).context(
        "fuzzing needs a nightly toolchain and cargo-fuzz: run 'rustup toolchain install nightly' \
         and 'cargo install cargo-fuzz'",
    )?;
    Ok(folder.join(PLATFORM).join("release/target"))
}

/// Runs a target until it has used its share, or breaks.
fn target(engine: &Path, folder: &Path, name: String, share: f64) -> Result<Outcome> {
    let inputs = folder.join(&name);
    let prefix = folder.join("broken").join(format!("{name}-"));
    let log = folder.join(format!("{name}.log"));
    let mut outcome = Outcome { name, cpu_seconds: 0.0, runs: 0, inputs: 0, broken: 0 };
    while outcome.cpu_seconds < share && outcome.broken == 0 {
        let mut command = Command::new(engine);
        command.arg(&inputs).env("DEEPTRACE_TARGET", &outcome.name);
        command.arg(format!("-artifact_prefix={}", prefix.display()));
        command.arg(format!("-max_total_time={SLICE}"));
        command.args([
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-max_len=8192",
            "-print_final_stats=1",
        ]);
        command.stdout(Stdio::null()).stderr(File::create(&log)?);
        let used = usage::cpu_of("the fuzzer", &mut command, PATIENCE);
        let said = fs::read_to_string(&log)?;
        outcome.runs += runs(&said).unwrap_or(0);
        match used {
            Ok(seconds) => outcome.cpu_seconds += seconds,
            Err(_) if said.contains("Test unit written to") => outcome.broken += 1,
            Err(error) => return Err(error.context(format!("see {}", log.display()))),
        }
    }
    outcome.inputs = fs::read_dir(&inputs)?.count();
    Ok(outcome)
}

/// Reads `stat::number_of_executed_units: 4096`.
fn runs(said: &str) -> Option<u64> {
    let rest =
        said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    rest.trim().parse().ok()
}

fn print(outcomes: &[Outcome]) -> Result<()> {
    println!("{:<14} {:>8} {:>12} {:>8}  broken", "target", "CPU s", "inputs run", "kept");
    let (mut seconds, mut runs, mut broken) = (0.0, 0, Vec::new());
    for outcome in outcomes {
        let Outcome { name, cpu_seconds, runs: ran, inputs, broken: is_broken } = outcome;
        let word = if *is_broken > 0 { "BROKEN" } else { "no" };
        println!("{name:<14} {cpu_seconds:>8.0} {ran:>12} {inputs:>8}  {word}");
        seconds += cpu_seconds;
        runs += ran;
        if *is_broken > 0 {
            broken.push(name.as_str());
        }
    }
    println!("{:<14} {seconds:>8.0} {runs:>12}", "all");
    if !broken.is_empty() {
        bail!("broken: {}; the inputs are in out/fuzz/broken", broken.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_prints_is_read() {
        let said = "Done 12 runs in 1 second(s)\nstat::number_of_executed_units: 12\nstat::x: 1\n";
        assert_eq!(runs(said), Some(12));
        assert_eq!(runs(""), None);
    }
}
