//! `fleet`: three hosts (networks with names of their own, NAT between two of them), an agent on each,
//! one server, under TLS with a token. Requests go through all three: A asks B through NAT, B asks C.
//!
//! First without faults; then the server is killed and started again under load, an agent is killed
//! and started again, and an agent is cut off from the server. What the buffers could hold must be
//! there afterwards, once, and joined rightly. The number in each path is the truth.
//!
//! All hosts are on one machine, so they share its boot id, and each agent sees all processes: it is
//! told which are its own.

mod network;
mod sampling;
mod score;

use std::fs::{self, File};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::program::{PYTHON, Program};
use super::watcher::LIMITS;
use crate::child::Kept;
use crate::{build, packages, root};
use network::{Network, SERVER, SERVER_PORT};
pub use sampling::sampling;
use score::Score;

/// Requests of a round, and the pause between two of them.
const ROUND: usize = 400;
const PAUSE_MS: usize = 50;
/// How long a cut lasts.
const CUT: Duration = Duration::from_secs(20);
/// Batches wait for up to 15 s between two attempts, with jitter half as long again.
const SETTLED: Duration = Duration::from_secs(60);
/// Before the end of an agent: what only memory had. After it says that it captures: what was under way.
const BLIND: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));

/// Everything that runs.
struct Fleet {
    binary: PathBuf,
    folder: PathBuf,
    network: Network,
    client: Program,
    _servers: [Program; 2],
    server: Option<Kept>,
    agents: Vec<Option<Kept>>,
    pids: [u32; 3],
    asked: usize,
    /// Further lines of the agents' `[agents.trace]`.
    trace: &'static str,
}

/// Does it.
pub fn fleet() -> Result<()> {
    let binary = build::binary()?;
    packages::ensure(packages::NETWORK)?;
    packages::ensure(packages::TLS)?;
    let mut fleet = Fleet::start(binary, "test-fleet", "")?;
    let mut wrong = Vec::new();

    fleet.load()?;
    fleet.client.say("wait")?;
    fleet.judge("without faults", &(0..0), &mut wrong)?;

    fleet.load()?;
    std::thread::sleep(Duration::from_secs(4));
    fleet.kill_server()?;
    std::thread::sleep(Duration::from_secs(6));
    fleet.start_server()?;
    fleet.client.say("wait")?;
    fleet.judge("the server killed", &(0..0), &mut wrong)?;

    fleet.load()?;
    fleet.network.cut(true)?;
    std::thread::sleep(CUT);
    fleet.network.cut(false)?;
    fleet.client.say("wait")?;
    fleet.judge("an agent cut off", &(0..0), &mut wrong)?;

    // The server is away when the agent is killed: what it had on disk comes with the next one.
    fleet.load()?;
    fleet.network.cut(true)?;
    std::thread::sleep(Duration::from_secs(6));
    let blind_from = now() - BLIND.0;
    fleet.kill_agent(1)?;
    std::thread::sleep(Duration::from_secs(2));
    fleet.start_agent(1)?;
    let blind_to = now() + BLIND.1;
    std::thread::sleep(Duration::from_secs(4));
    fleet.network.cut(false)?;
    fleet.client.say("wait")?;
    let blind = blind_from.as_nanos() as u64..blind_to.as_nanos() as u64;
    fleet.judge("an agent killed", &blind, &mut wrong)?;

    fleet.stop()?;
    if let Some(first) = wrong.first() {
        bail!("{} things are wrong, the first: {first}", wrong.len());
    }
    Ok(())
}

impl Fleet {
    /// With its files in a folder of this name.
    fn start(binary: PathBuf, name: &str, trace: &'static str) -> Result<Self> {
        let folder = root().join("out").join(name);
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder)?;
        let network = Network::make()?;
        network::certificates(&folder)?;
        let [a, b, c] = &network.hosts;
        let last = Program::start(&c.on_host(), PYTHON, &["serve", "10.98.3.2:8080"])?;
        let middle = "10.98.2.2:8080>10.98.3.2:8080";
        let middle = Program::start(&b.on_host(), PYTHON, &["serve", middle])?;
        let client = Program::client(&a.on_host())?;
        let pids = [client.pid(), middle.pid(), last.pid()];
        let _servers = [middle, last];
        let mut fleet = Self {
            binary,
            folder,
            network,
            client,
            _servers,
            server: None,
            agents: vec![None, None, None],
            pids,
            asked: 0,
            trace,
        };
        fleet.start_server()?;
        for host in 0..3 {
            fleet.start_agent(host)?;
        }
        Ok(fleet)
    }

    /// A round of requests, in the background.
    fn load(&mut self) -> Result<()> {
        let first = self.asked;
        self.asked += ROUND;
        let door = network::DOOR;
        self.client.say(&format!("load {door} /fleet {first} {ROUND} {PAUSE_MS}"))?;
        Ok(())
    }

    fn start_server(&mut self) -> Result<()> {
        let config = format!(
            "[server]\nhost = \"{SERVER}\"\nport = {SERVER_PORT}\n[server.tls]\n\
             cert_file = \"server.pem\"\nkey_file = \"server.key\"\n"
        );
        let mut command = self.command(2, "server", &config)?;
        self.server = Some(Kept::start("the server", &mut command)?);
        self.until("the server answers", |fleet| {
            Ok(fleet.ask(2, &["config", "show", "--server", &network::url()]).is_ok())
        })
    }

    fn start_agent(&mut self, host: usize) -> Result<()> {
        let buffer = self.folder.join(format!("buffer-{host}"));
        let config = format!(
            "{LIMITS}[agents.trace]\npids = [{}]\n{}\n[agents.sender]\nserver_url = \"{}\"\n\
             token_file = \"server/token\"\nca_file = \"ca.pem\"\ndisk_buffer_path = {buffer:?}\n",
            self.pids[host],
            self.trace,
            network::url(),
        );
        let mut command = self.command(host, &format!("agent-{host}"), &config)?;
        self.agents[host] = Some(Kept::start("an agent", &mut command)?);
        self.until("the agent captures", |fleet| {
            Ok(fleet.status(host).is_ok_and(|status| status["state"] == "capturing"))
        })
    }

    fn kill_server(&mut self) -> Result<()> {
        kill(self.server.take())
    }

    fn kill_agent(&mut self, host: usize) -> Result<()> {
        kill(self.agents[host].take())
    }

    /// A deeptrace on a host, with a data folder and a log of its own. Its working folder is the
    /// test's, so that the configuration names files without one.
    fn command(&self, host: usize, name: &str, config: &str) -> Result<Command> {
        let file = self.folder.join(format!("{name}.toml"));
        fs::write(&file, config)?;
        let path = self.folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(path)?;
        let role = name.split('-').next().unwrap_or(name);
        let mut command = self.on(host);
        command.args([role, "run", "--config"]).arg(file).arg("--data-dir").arg(name);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// The start of a command of deeptrace on a host.
    fn on(&self, host: usize) -> Command {
        let words = self.network.hosts[host].on_host();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(&self.binary).current_dir(&self.folder);
        command
    }

    /// What a command on a host prints.
    fn ask(&self, host: usize, arguments: &[&str]) -> Result<String> {
        let mut command = self.on(host);
        command.args(arguments).args(["--data-dir", "server", "--ca-file", "ca.pem"]);
        let out = command.stdin(Stdio::null()).output()?;
        if !out.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(String::from_utf8(out.stdout)?)
    }

    fn status(&self, host: usize) -> Result<Value> {
        let text = self.ask(host, &["agent", "status", "--format", "json"])?;
        Ok(serde_json::from_str(&text)?)
    }

    fn until(&self, what: &str, mut done: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        while !done(self)? {
            if begun.elapsed() > SETTLED {
                bail!("not seen within {SETTLED:?}: {what}; see {}", self.folder.display());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Waits until the agents have sent all that they have.
    fn settle(&self) -> Result<()> {
        std::thread::sleep(Duration::from_secs(3));
        self.until("the agents' buffers are empty", |fleet| {
            for host in 0..3 {
                let counters = fleet.status(host)?["counters"].clone();
                if counters["sender_memory_bytes"] != 0 || counters["sender_disk_bytes"] != 0 {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Waits until every agent has handed over what it has, and holds what the store has to the truth.
    fn judge(&mut self, when: &str, blind: &Range<u64>, wrong: &mut Vec<String>) -> Result<()> {
        self.settle()?;
        let text = self.ask(2, &["export", "--format", "json", "--output", "-"])?;
        let spans: Vec<Value> = serde_json::from_str(&text).context("the export is no array")?;
        let score = Score::new(&spans, self.asked - ROUND..self.asked);
        println!("{when:20} {score}");
        score.check(when, blind, wrong);
        for host in 0..3 {
            let counters = self.status(host)?["counters"].clone();
            let lost = counters.as_object().into_iter().flatten().filter(|(name, value)| {
                name.starts_with("sender_dropped") && value.as_u64() != Some(0)
            });
            wrong.extend(lost.map(|(name, value)| format!("{when}: agent {host}: {name} {value}")));
        }
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
        for agent in self.agents.iter_mut().flatten() {
            agent.stop(Duration::from_secs(15))?;
        }
        self.server.as_mut().map_or(Ok(()), |server| server.stop(Duration::from_secs(15)))
    }
}

/// Since the epoch.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Ends it without a chance to tidy up.
fn kill(kept: Option<Kept>) -> Result<()> {
    kept.context("it does not run")?.signal(Signal::KILL)
}
