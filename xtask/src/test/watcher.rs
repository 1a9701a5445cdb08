//! Watcher: a `deeptrace run` with a configuration and ports of its own, asked as users ask it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::api::get;
use crate::child::{Kept, free_ports};

const READY: Duration = Duration::from_secs(60);
/// A span is in the store at most a second after its answer, and a link's child a little later.
const SETTLED: Duration = Duration::from_secs(15);

/// What it may use while it is tested: a host that is busy otherwise must not make it step down.
pub const LIMITS: &str = "[agents.limits]\ncpu_percent = 100\n";

/// A running deeptrace with a fresh data folder.
pub struct Watcher {
    kept: Kept,
    /// Where server and agent are asked.
    port: String,
    agent_port: String,
    binary: PathBuf,
    folder: PathBuf,
}

impl Watcher {
    /// Starts it with its files in `folder`, and waits until it captures.
    pub fn start(binary: &Path, folder: &Path, config: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        fs::remove_dir_all(folder.join("data")).ok();
        fs::write(folder.join("deeptrace.toml"), config)?;
        let log = File::create(folder.join("deeptrace.log"))?;
        let mut command = Command::new(binary);
        let [port, agent_port] = free_ports()?.map(|port| port.to_string());
        command.args(["run", "--port", &port, "--agent-port", &agent_port]);
        command.arg("--config").arg(folder.join("deeptrace.toml"));
        command.arg("--data-dir").arg(folder.join("data"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let kept = Kept::start("deeptrace", &mut command)?;
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let mut watcher = Self { kept, port, agent_port, binary, folder };
        let begun = Instant::now();
        while !watcher.agent("/status").is_ok_and(|status| status["state"] == "capturing") {
            watcher.kept.alive().with_context(|| format!("see {}", watcher.log().display()))?;
            if begun.elapsed() > READY {
                bail!("no capture after {READY:?}; see {}", watcher.log().display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(watcher)
    }

    /// Where the APIs of server and agent listen.
    pub fn ports(&self) -> (&str, &str) {
        (&self.port, &self.agent_port)
    }

    /// What it prints.
    pub fn log(&self) -> PathBuf {
        self.folder.join("deeptrace.log")
    }

    /// Its configuration; written anew, it is read at a hang-up.
    pub fn reconfigure(&self, config: &str) -> Result<()> {
        fs::write(self.folder.join("deeptrace.toml"), config)?;
        self.kept.signal(rustix::process::Signal::HUP)
    }

    /// An answer of the agent.
    pub fn agent(&self, path: &str) -> Result<Value> {
        get(&self.agent_port, path)
    }

    /// An answer of the server.
    pub fn server(&self, path: &str) -> Result<Value> {
        get(&self.port, path)
    }

    /// What it counts as lost, given up or refused, where that is not nothing.
    pub fn losses(&self) -> Result<String> {
        let status = self.agent("/status")?;
        let of_losses = [
            "lost",
            "shed",
            "orphan",
            "malformed",
            "refused",
            "unwatched",
            "expired",
            "cut",
            "gap",
            "not_mine",
            "unsync",
            "misrecog",
            "unmatched",
            "untied",
            "given_up",
        ];
        let counters = status["counters"].as_object().into_iter().flatten();
        let counters = counters.filter(|(name, value)| {
            of_losses.iter().any(|word| name.contains(word)) && value.as_u64() != Some(0)
        });
        Ok(counters.map(|(name, value)| format!("{name} {value} ")).collect())
    }

    /// Runs a command of deeptrace that asks this agent; what it prints.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--agent").arg(format!("http://127.0.0.1:{}", self.agent_port));
        printed(command.arg("--data-dir").arg(self.folder.join("data")))
    }

    /// Changes the configuration through the API.
    pub fn put_config(&self, changes: &Value) -> Result<Value> {
        let token = fs::read_to_string(self.folder.join("data/token"))?;
        let mut answer = ureq::put(format!("http://127.0.0.1:{}/config", self.agent_port))
            .header("Authorization", format!("Bearer {}", token.trim()))
            .header("Content-Type", "application/json")
            .send(changes.to_string())
            .context("failed to change the configuration")?;
        Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
    }

    /// Waits until `done` says so; fails with `what` if it never does.
    pub fn until(&self, what: &str, mut done: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !done(self)? {
            if begun.elapsed() > SETTLED {
                bail!("not seen within {SETTLED:?}: {what}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until the TLS libraries of all these processes are probed.
    pub fn reads_tls_of(&self, pids: &[u32]) -> Result<()> {
        self.until("the TLS library of each process is probed", |watcher| {
            let processes = watcher.agent("/processes?limit=1000")?;
            let all = processes["processes"].as_array().context("no processes")?;
            let is_read = |pid: &u32| {
                let process = all.iter().find(|process| process["pid"] == *pid);
                let libraries = process.and_then(|process| process["tls"].as_array());
                libraries.is_some_and(|all| all.iter().any(|library| library["plaintext"] == true))
            };
            Ok(pids.iter().all(is_read))
        })
    }

    /// Waits until the store has `count` spans, or for as long as they may take.
    pub fn settle(&self, count: usize) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < SETTLED {
            let spans = self.server("/status")?["store"]["span_count"].as_u64().unwrap_or(0);
            if spans >= count as u64 {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // More than expected would be as wrong.
        std::thread::sleep(Duration::from_millis(1500));
        Ok(())
    }

    /// Every span in the store, as `deeptrace export` writes it.
    pub fn export(&self) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.binary);
        command.args(["export", "--format", "json", "--output", "-", "--data-dir"]);
        let text = printed(command.arg(self.folder.join("data")))?;
        serde_json::from_str(&text).context("the export is no array of spans")
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(self) -> Result<()> {
        self.kept.signal(rustix::process::Signal::KILL)
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<()> {
        self.kept.stop(Duration::from_secs(10))
    }
}

/// A text field or attribute of a span; numbers as text; empty if it has none.
pub fn told(span: &Value, name: &str) -> String {
    let value = span.get(name).or_else(|| span["attributes"].get(name));
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn printed(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("failed: {shown}"))?;
    if !out.status.success() {
        bail!("{shown}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8(out.stdout)?)
}
