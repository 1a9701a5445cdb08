//! `fleet`: three hosts (networks with names of their own, NAT between two of them), an agent on each,
//! one server, under TLS with a token. Requests go through all three: A asks B through NAT, B asks C.
//!
//! First without faults; then the server is killed and started again under load, an agent is killed
//! and started again, and an agent is cut off from the server. What the buffers could hold must be
//! there afterwards, once, and joined rightly. The number in each path is the truth.
//!
//! All hosts are on one machine, so they share its boot id, and each agent sees all processes: it is
//! told which are its own.

mod kept;
mod network;
mod replicas;
mod sampling;
mod score;
mod shared;

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
pub use kept::kept;
use network::{Network, SERVER, SERVER_PORT};
pub use replicas::replicas;
pub use sampling::sampling;
use score::Score;
use shared::Shared;

/// Requests, and the pause between two of them.
#[derive(Clone, Copy)]
struct Round {
    count: usize,
    pause_ms: usize,
}

const ROUND: Round = Round { count: 400, pause_ms: 50 };
/// Traces that miss spans and are looked at one by one.
const LOOKED_AT: usize = 100;
/// How far the port for SDKs is from a server's.
const OTLP: u16 = 100;
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
    servers: Vec<Option<Kept>>,
    agents: Vec<Option<Kept>>,
    pids: [u32; 3],
    asked: usize,
    /// Further lines of the agents' `[agents.trace]`.
    trace: &'static str,
    /// What several servers have in common; `None`: there is one, with its own store.
    shared: Option<Shared>,
}

/// Does it.
pub fn fleet() -> Result<()> {
    let binary = build::binary()?;
    packages::ensure(packages::NETWORK)?;
    packages::ensure(packages::TLS)?;
    let mut fleet = Fleet::start(binary, "test-fleet", "")?;
    let mut wrong = Vec::new();

    fleet.load(ROUND)?;
    fleet.judge("without faults", &(0..0), &mut wrong)?;

    fleet.load(ROUND)?;
    std::thread::sleep(Duration::from_secs(4));
    fleet.kill_server(0)?;
    std::thread::sleep(Duration::from_secs(6));
    fleet.start_server(0)?;
    fleet.judge("the server killed", &(0..0), &mut wrong)?;

    fleet.load(ROUND)?;
    fleet.network.cut(true)?;
    std::thread::sleep(CUT);
    fleet.network.cut(false)?;
    fleet.judge("an agent cut off", &(0..0), &mut wrong)?;

    // The server is away when the agent is killed: what it had on disk comes with the next one.
    fleet.load(ROUND)?;
    fleet.network.cut(true)?;
    std::thread::sleep(Duration::from_secs(6));
    let blind = fleet.replace_agent(1)?;
    std::thread::sleep(Duration::from_secs(4));
    fleet.network.cut(false)?;
    fleet.judge("an agent killed", &blind, &mut wrong)?;

    fleet.stop()?;
    first_of(&wrong)
}

/// Fails with the first of what is wrong.
fn first_of(wrong: &[String]) -> Result<()> {
    match wrong.first() {
        Some(first) => bail!("{} things are wrong, the first: {first}", wrong.len()),
        None => Ok(()),
    }
}

impl Fleet {
    /// One server, and its files in a folder of this name.
    fn start(binary: PathBuf, name: &str, trace: &'static str) -> Result<Self> {
        let mut fleet = Self::hosts(binary, name, trace)?;
        fleet.start_servers(1)?;
        (0..3).try_for_each(|host| fleet.start_agent(host))?;
        Ok(fleet)
    }

    /// The hosts with the application.
    fn hosts(binary: PathBuf, name: &str, trace: &'static str) -> Result<Self> {
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
        Ok(Self {
            binary,
            folder,
            network,
            client,
            _servers,
            servers: Vec::new(),
            agents: vec![None, None, None],
            pids,
            asked: 0,
            trace,
            shared: None,
        })
    }

    /// A round of requests, in the background. Their numbers.
    fn load(&mut self, round: Round) -> Result<Range<usize>> {
        let Round { count, pause_ms } = round;
        let first = self.asked;
        self.asked += count;
        let door = network::DOOR;
        self.client.say(&format!("load {door} /fleet {first} {count} {pause_ms}"))?;
        Ok(first..self.asked)
    }

    /// So many servers, and of each a token for agents.
    fn start_servers(&mut self, count: usize) -> Result<()> {
        self.servers.resize_with(count, || None);
        for server in 0..count {
            self.start_server(server)?;
            let url = self.url(server);
            let made = ["token", "create", "agents", "--role", "agent", "--format", "json"];
            let made = self.ask_of(server, &[&made[..], &["--server", &url]].concat())?;
            let made: Value = serde_json::from_str(&made)?;
            let token = made["token"].as_str().context("no token was made")?;
            fs::write(self.folder.join(format!("agents-{server}.token")), token)?;
        }
        Ok(())
    }

    fn start_server(&mut self, server: usize) -> Result<()> {
        let config = format!(
            "[server]\nhost = \"{SERVER}\"\nport = {}\n[server.tls]\n\
             cert_file = \"server.pem\"\nkey_file = \"server.key\"\n\
             [server.otlp]\nhost = \"{SERVER}\"\ngrpc_port = 0\nhttp_port = {}\n{}",
            self.port(server),
            self.port(server) + OTLP,
            self.shared.as_ref().map(|shared| shared.config(server)).unwrap_or_default(),
        );
        let mut command = self.command(2, "server", &format!("server-{server}"), &config)?;
        self.servers[server] = Some(Kept::start("a server", &mut command)?);
        self.until("the server answers", |fleet| {
            let url = fleet.url(server);
            Ok(fleet.ask_of(server, &["config", "show", "--server", &url]).is_ok())
        })
    }

    fn url(&self, server: usize) -> String {
        format!("https://{SERVER}:{}", self.port(server))
    }

    /// Where agents that send find their server.
    fn door(&self) -> String {
        match self.shared.as_ref().is_some_and(|shared| shared.is_beside(0)) {
            true => self.url(0),
            false => network::url(),
        }
    }

    /// Where a server listens: at the door of agents, or behind what divides them among several.
    fn port(&self, server: usize) -> u16 {
        match &self.shared {
            None => SERVER_PORT,
            Some(_) => SERVER_PORT + 1 + server as u16,
        }
    }

    fn start_agent(&mut self, host: usize) -> Result<()> {
        let buffer = self.folder.join(format!("buffer-{host}"));
        let config = format!(
            "{LIMITS}[agents.trace]\npids = [{}]\n{}\n[agents.sender]\nserver_url = \"{}\"\n\
             token_file = \"agents-0.token\"\nca_file = \"ca.pem\"\ndisk_buffer_path = {buffer:?}\n",
            self.pids[host],
            self.trace,
            self.door(),
        );
        let mut command = self.command(host, "agent", &format!("agent-{host}"), &config)?;
        self.agents[host] = Some(Kept::start("an agent", &mut command)?);
        self.until("the agent captures", |fleet| {
            Ok(fleet.status(host).is_ok_and(|status| status["state"] == "capturing"))
        })
    }

    fn kill_server(&mut self, server: usize) -> Result<()> {
        kill(self.servers[server].take())
    }

    fn kill_agent(&mut self, host: usize) -> Result<()> {
        kill(self.agents[host].take())
    }

    /// Kills an agent and starts another two seconds later. The time for which there was none.
    fn replace_agent(&mut self, host: usize) -> Result<Range<u64>> {
        let from = now() - BLIND.0;
        self.kill_agent(host)?;
        std::thread::sleep(Duration::from_secs(2));
        self.start_agent(host)?;
        let to = now() + BLIND.1;
        Ok(from.as_nanos() as u64..to.as_nanos() as u64)
    }

    /// A deeptrace on a host, with a data folder and a log of its own. Its working folder is the
    /// test's, so that the configuration names files without one.
    fn command(&self, host: usize, role: &str, name: &str, config: &str) -> Result<Command> {
        let file = self.folder.join(format!("{name}.toml"));
        fs::write(&file, config)?;
        let path = self.folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(path)?;
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

    /// What a command prints that opens the store of the first server.
    fn ask(&self, arguments: &[&str]) -> Result<String> {
        self.ask_of(0, arguments)
    }

    /// The same of any server.
    fn ask_of(&self, server: usize, arguments: &[&str]) -> Result<String> {
        let (config, folder) = (format!("server-{server}.toml"), format!("server-{server}"));
        let place = ["--config", &config, "--data-dir", &folder, "--ca-file", "ca.pem"];
        printed(self.on(2).args(arguments).args(place))
    }

    fn status(&self, host: usize) -> Result<Value> {
        self.status_at(host, "http://127.0.0.1:7899")
    }

    /// What an agent says of itself that has its API there.
    fn status_at(&self, host: usize, url: &str) -> Result<Value> {
        let words = ["agent", "status", "--format", "json", "--agent", url];
        Ok(serde_json::from_str(&printed(self.on(host).args(words))?)?)
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

    /// All that the store has.
    fn export(&self) -> Result<Vec<Value>> {
        let text = self.ask(&["export", "--format", "json", "--output", "-"])?;
        serde_json::from_str(&text).context("the export is no array")
    }

    /// Those of these traces that do not say that something is missing.
    fn silent<'a>(&self, traces: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>> {
        let mut silent = Vec::new();
        for id in traces {
            let trace: Value =
                serde_json::from_str(&self.ask(&["trace", id, "--format", "json"])?)?;
            if trace["gaps"].as_array().is_none_or(Vec::is_empty) {
                silent.push(id);
            }
        }
        Ok(silent)
    }

    /// Waits until all was asked and every agent has handed over what it has, and holds what the store has
    /// of the last round to the truth.
    fn judge(&mut self, when: &str, blind: &Range<u64>, wrong: &mut Vec<String>) -> Result<()> {
        self.judge_of(self.asked - ROUND.count..self.asked, when, blind, wrong)
    }

    fn judge_of(
        &mut self,
        numbers: Range<usize>,
        when: &str,
        blind: &Range<u64>,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        self.client.say("wait")?;
        self.settle()?;
        let score = Score::new(&self.export()?, numbers);
        let silent = self.silent(score.broken().take(LOOKED_AT))?;
        let blind_ms = (blind.end - blind.start) / 1_000_000;
        println!("{when:20} {score}; an agent blind for {blind_ms} ms, {} unmarked", silent.len());
        score.check(when, blind, wrong);
        if !silent.is_empty() {
            wrong
                .push(format!("{when}: {} traces broken and not marked: {silent:?}", silent.len()));
        }
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
        for server in self.servers.iter_mut().flatten() {
            server.stop(Duration::from_secs(15))?;
        }
        self.shared.map_or(Ok(()), Shared::stop)
    }
}

/// What a command prints.
fn printed(command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output()?;
    if !out.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8(out.stdout)?)
}

/// Since the epoch.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Ends it without a chance to tidy up.
fn kill(kept: Option<Kept>) -> Result<()> {
    kept.context("it does not run")?.signal(Signal::KILL)
}
