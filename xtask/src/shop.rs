//! The sample application as a child process, DeepTrace beside it, and the score of one against the
//! truth of the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::Kept;
use crate::{packages, root};

/// Where the page of the sample runs listens.
pub const SERVER: &str = "http://127.0.0.1:7901";

/// Time that a part may take to get ready, with everything to be built first.
const PATIENCE: Duration = Duration::from_secs(600);

/// `examples/shop/shop.py` with a verb.
pub fn shop(verb: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(root().join("examples/shop/shop.py")).arg(verb);
    command
}

/// Installs what the shop needs and this machine lacks.
pub fn ensure_packages() -> Result<()> {
    packages::ensure(&["python3", "python3-venv"])?;
    let out = shop("packages").output().context("failed to ask the shop for its packages")?;
    let names = String::from_utf8(out.stdout).context("the shop's packages are no text")?;
    packages::ensure(&names.split_whitespace().collect::<Vec<_>>())
}

/// Builds and starts the shop; returns when it serves.
pub fn up(folder: &Path) -> Result<Kept> {
    let state = folder.join("state.json");
    fs::remove_file(&state).ok();
    let cache = root().join("out/shop-cache");
    let mut command = shop("up");
    command.arg("--dir").arg(folder).arg("--cache").arg(cache);
    let mut kept = Kept::start("the shop", &mut command)?;
    wait("the shop", &mut kept, || {
        fs::read_to_string(&state).is_ok_and(|text| text.contains("\"ready\": true"))
    })?;
    Ok(kept)
}

/// The load; ends by itself after `seconds`, or at a signal if that is 0.
pub fn load(folder: &Path, rate: u32, seconds: u32, report: &Path) -> Result<Kept> {
    let mut command = shop("load");
    command.arg("--dir").arg(folder).arg("--report").arg(report);
    command.args(["--rate", &rate.to_string(), "--seconds", &seconds.to_string()]);
    Kept::start("the load", &mut command)
}

/// `deeptrace run` with its data in `data`; returns when its page answers.
pub fn deeptrace(binary: &Path, data: &Path) -> Result<Kept> {
    let mut command = Command::new(binary);
    command.arg("run").arg("--data-dir").arg(data).stdin(Stdio::null());
    let mut kept = Kept::start("deeptrace", &mut command)?;
    wait("deeptrace", &mut kept, || get("/health").is_ok())?;
    Ok(kept)
}

fn wait(what: &str, kept: &mut Kept, ready: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        kept.alive()?;
        if ready() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("{what} was not ready after {PATIENCE:?}")
}

/// An answer of the server, as JSON.
pub fn get(path: &str) -> Result<serde_json::Value> {
    let text = ureq::get(format!("{SERVER}{path}")).call()?.body_mut().read_to_string()?;
    serde_json::from_str(&text).with_context(|| format!("the answer to {path} is not JSON"))
}

/// The first trace that is in the store, and how long it took to get there.
pub fn first_trace(since: Instant, patience: Duration) -> Result<(String, Duration)> {
    while since.elapsed() < patience {
        let answer = get("/traces?limit=50")?;
        let traces = answer["traces"].as_array().cloned().unwrap_or_default();
        let spans = |trace: &serde_json::Value| trace["span_count"].as_u64().unwrap_or(0);
        if let Some(best) = traces.iter().max_by_key(|trace| spans(trace))
            && spans(best) >= 5
        {
            let id = best["trace_id"].as_str().unwrap_or_default();
            return Ok((id.to_owned(), since.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("no trace within {patience:?}; 'deeptrace doctor' says what this host lacks")
}

/// Limits of a score.
pub struct Floors {
    /// Least share of spans captured, %.
    pub captured: f64,
    /// Least share of joins between processes right, %.
    pub joined: f64,
}

/// Exports the store of `data` and prints the score of what happened between `start` and `end` (seconds
/// since 1970); fails below the floors, and on any wrong join.
pub fn score(
    binary: &Path,
    data: &Path,
    folder: &Path,
    window: (f64, f64),
    floors: &Floors,
) -> Result<()> {
    let spans: PathBuf = folder.join("spans.json");
    let mut export = Command::new(binary);
    export.arg("export").arg("--data-dir").arg(data).args(["--format", "json"]);
    crate::child::succeed(export.arg("--output").arg(&spans))?;
    let mut score = Command::new("python3");
    score.arg(root().join("examples/shop/score.py"));
    score.arg("--truth").arg(folder.join("truth")).arg("--spans").arg(&spans);
    score.args(["--start", &format!("{:.3}", window.0), "--end", &format!("{:.3}", window.1)]);
    score.args(["--min-captured", &floors.captured.to_string()]);
    score.args(["--min-joined", &floors.joined.to_string()]);
    crate::child::succeed(score.args(["--max-wrong-joins", "0", "--min-traces", "100"]))
}

/// Seconds since 1970.
pub fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|since| since.as_secs_f64()).unwrap_or_default()
}
