//! The deeptrace that is measured: started with a configuration of its own, asked through its API.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::server::held;
use crate::api::get;
use crate::child::Kept;

const PORT: &str = "18590";
const AGENT_PORT: &str = "18591";
/// Patience for its start, which looks into every program of the host.
const READY: Duration = Duration::from_secs(90);
/// Patience for what is still on its way after a load.
const SETTLED: Duration = Duration::from_secs(60);

/// A running deeptrace with a fresh data folder.
pub struct Observer {
    kept: Kept,
    data: PathBuf,
    has_server: bool,
}

/// What is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `deeptrace run`: agent, server, store and page.
    Run,
    /// `deeptrace agent run`.
    Agent,
}

/// Configuration that watches these processes and no others; none: all.
pub fn watching(processes: &[&str]) -> String {
    let names: Vec<String> = processes.iter().map(|name| format!("\"{name}\"")).collect();
    format!("[agents.trace]\ninclude_processes = [{}]\n", names.join(", "))
}

impl Observer {
    /// Starts it and waits until it answers and captures.
    pub fn start(
        binary: &Path,
        folder: &Path,
        core: Option<u32>,
        role: Role,
        config: &str,
    ) -> Result<Self> {
        let data = folder.join("data");
        fs::remove_dir_all(&data).ok();
        let written = folder.join("deeptrace.toml");
        fs::write(&written, config)?;
        let log = File::create(folder.join("deeptrace.log"))?;
        let mut command = held(core, binary);
        match role {
            Role::Run => command.args(["run", "--port", PORT, "--agent-port", AGENT_PORT]),
            Role::Agent => command.args(["agent", "run", "--port", AGENT_PORT]),
        };
        command.arg("--config").arg(&written).arg("--data-dir").arg(&data);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let kept = Kept::start("deeptrace", &mut command)?;
        let mut observer = Self { kept, data, has_server: role == Role::Run };
        let begun = Instant::now();
        while !observer.agent("/status").is_ok_and(|status| status["state"] == "capturing") {
            let log = folder.join("deeptrace.log");
            let said = || format!("see {}", log.display());
            observer.kept.alive().with_context(said)?;
            if begun.elapsed() > READY {
                bail!("deeptrace does not capture after {READY:?}; {}", said());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(observer)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.kept.pid()
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// An answer of the agent.
    pub fn agent(&self, path: &str) -> Result<Value> {
        get(AGENT_PORT, path)
    }

    /// The counters of agent and server.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let mut all = counters(&self.agent("/status")?);
        if self.has_server {
            all.extend(counters(&get(PORT, "/status")?));
        }
        Ok(all)
    }

    /// The counters once spans have stopped coming: the same for two seconds, and what was spanned is
    /// written or counted as dropped.
    pub fn settled(&self) -> Result<BTreeMap<String, u64>> {
        let begun = Instant::now();
        let (mut last, mut since) = (self.counters()?, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = self.counters()?;
            let moves = |name: &str| now.get(name) != last.get(name);
            if ["span_spans_total", "ingest_written_spans_total"].into_iter().any(moves) {
                since = Instant::now();
            }
            last = now;
            if since.elapsed() >= Duration::from_millis(2500) {
                return Ok(last);
            }
            if begun.elapsed() > SETTLED {
                bail!("spans still come {SETTLED:?} after the load");
            }
        }
    }

    /// Ends it, and removes what it stored.
    pub fn stop(mut self) -> Result<()> {
        self.kept.stop(Duration::from_secs(30))?;
        fs::remove_dir_all(&self.data).context("failed to remove the data of the bench")
    }
}

fn counters(status: &Value) -> BTreeMap<String, u64> {
    let counters = status["counters"].as_object().into_iter().flatten();
    counters.map(|(name, value)| (name.clone(), value.as_u64().unwrap_or_default())).collect()
}
