//! `replicas`: the same three hosts, with two servers over one OpenSearch behind a balancer.
//!
//! Without faults; then a server, an agent and OpenSearch are killed in turn, and a host is cut off from the
//! servers, all under load. What the buffers could hold must be there afterwards, once, and joined rightly,
//! and both servers must answer alike.

use std::ops::Range;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Fleet, OTLP, Round, SERVER, Shared, build, first_of, packages, printed};

/// Indices of each server.
const PREFIXES: [&str; 2] = ["deeptrace"; 2];
const ROUND: Round = Round { count: 2_000, pause_ms: 15 };
/// What is killed stays away so long; a host is cut off so long.
const AWAY: Duration = Duration::from_secs(8);
const CUT: Duration = Duration::from_secs(40);
/// Into a round, before a fault.
const BEFORE: Duration = Duration::from_secs(6);
/// Traces of a round that both servers are asked for.
const ASKED: usize = 40;

/// A round of requests: their numbers, and when it began, since the epoch.
struct Begun {
    numbers: Range<usize>,
    at: Duration,
}

/// Does it.
pub fn replicas() -> Result<()> {
    let binary = build::binary()?;
    packages::ensure(packages::NETWORK)?;
    packages::ensure(packages::TLS)?;
    let mut fleet = Fleet::hosts(binary, "test-replicas", "")?;
    fleet.share(&PREFIXES, 0)?;
    (0..3).try_for_each(|host| fleet.start_agent(host))?;
    let mut wrong = Vec::new();
    fleet.report()?;

    let round = fleet.begin()?;
    fleet.agree(&round, "without faults", &(0..0), &mut wrong)?;

    let round = fleet.begin()?;
    std::thread::sleep(BEFORE);
    fleet.kill_server(0)?;
    std::thread::sleep(AWAY);
    fleet.start_server(0)?;
    fleet.agree(&round, "a server killed", &(0..0), &mut wrong)?;

    let round = fleet.begin()?;
    std::thread::sleep(BEFORE);
    let blind = fleet.replace_agent(1)?;
    fleet.agree(&round, "an agent killed", &blind, &mut wrong)?;

    let round = fleet.begin()?;
    std::thread::sleep(BEFORE);
    fleet.shared()?.kill()?;
    std::thread::sleep(AWAY);
    fleet.shared()?.restart()?;
    fleet.agree(&round, "OpenSearch killed", &(0..0), &mut wrong)?;

    let round = fleet.begin()?;
    std::thread::sleep(BEFORE);
    fleet.network.cut(true)?;
    std::thread::sleep(CUT);
    fleet.network.cut(false)?;
    fleet.agree(&round, "a host cut off", &(0..0), &mut wrong)?;

    fleet.stop()?;
    first_of(&wrong)
}

impl Fleet {
    /// Starts servers over one OpenSearch with these indices; `beside`: so many, the first, are not for
    /// whoever comes to the door.
    pub fn share(&mut self, prefixes: &'static [&'static str], beside: usize) -> Result<()> {
        let (on_host, folder) = (self.network.hosts[2].on_host(), self.folder.join("shared"));
        self.shared = Some(Shared::start(folder, on_host, prefixes, beside)?);
        self.start_servers(prefixes.len())
    }

    fn begin(&mut self) -> Result<Begun> {
        let at = super::now();
        Ok(Begun { numbers: self.load(ROUND)?, at })
    }

    fn shared(&mut self) -> Result<&mut Shared> {
        self.shared.as_mut().context("the servers share nothing")
    }

    /// What a server answers to a `GET`.
    pub fn get(&self, server: usize, path: &str) -> Result<Value> {
        let answers = self.get_all(server, &[path.to_owned()])?;
        answers.into_iter().next().with_context(|| format!("no answer to {path}"))
    }

    /// What it answers to several, one after the other.
    pub fn get_all(&self, server: usize, paths: &[String]) -> Result<Vec<Value>> {
        let token = std::fs::read_to_string(self.folder.join(format!("server-{server}/token")))?;
        let mut command = self.curl(&token);
        command.args(paths.iter().map(|path| format!("{}{path}", self.url(server))));
        let text = printed(&mut command)?;
        let answers = serde_json::Deserializer::from_str(&text).into_iter();
        let answers = answers.collect::<Result<Vec<Value>, _>>();
        answers.with_context(|| format!("{paths:?}: {text}"))
    }

    /// Says as an SDK does to each server that there is nothing, under TLS.
    fn report(&self) -> Result<()> {
        let token = std::fs::read_to_string(self.folder.join("agents-0.token"))?;
        for server in 0..self.servers.len() {
            let mut command = self.curl(&token);
            command.args(["-f", "-H", "Content-Type: application/json", "-d", "{}"]);
            command.arg(format!("https://{SERVER}:{}/v1/traces", self.port(server) + OTLP));
            let answer = printed(&mut command)?;
            if answer != "{}" {
                bail!("server {server} says to a report: {answer}");
            }
        }
        Ok(())
    }

    /// `curl` on the host of the servers.
    fn curl(&self, token: &str) -> Command {
        let words = self.network.hosts[2].on_host();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["curl", "-sS", "--cacert", "ca.pem", "-H"]);
        command.arg(format!("Authorization: Bearer {}", token.trim()));
        command.current_dir(&self.folder);
        command
    }

    /// Judges a round, and whether all servers say the same of it.
    fn agree(
        &mut self,
        round: &Begun,
        when: &str,
        blind: &Range<u64>,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        self.judge_of(round.numbers.clone(), when, blind, wrong)?;
        let window = format!("start={}&end={}", seconds(round.at)?, seconds(super::now())?);
        let traces = format!("/traces?limit={ASKED}&{window}");
        let found = self.get(0, &traces)?;
        let ids = found["traces"].as_array().into_iter().flatten().map(|it| &it["trace_id"]);
        let ids: Vec<String> = ids.filter_map(|id| id.as_str()).map(str::to_owned).collect();
        if ids.len() < ASKED {
            bail!("{when}: the list has {} traces", ids.len());
        }
        let mut paths: Vec<String> = ids.iter().map(|id| format!("/traces/{id}")).collect();
        paths.push(traces);
        paths.push(format!("/spans/search?limit=200&{window}"));
        for what in ["services", "operations", "topology", "latency", "errors", "critical-path"] {
            paths.push(format!("/analytics/{what}?{window}"));
        }
        let mut differing = 0;
        for path in &paths {
            let first = self.get(0, path)?;
            for server in 1..self.servers.len() {
                let other = self.get(server, path)?;
                if first != other {
                    differing += 1;
                    wrong.push(format!("{when}: {path} differs: {first} and {other}"));
                }
            }
        }
        println!("{when:20} {} answers of each server, {differing} differ", paths.len());
        Ok(())
    }
}

/// A time as a query has it, to the second.
fn seconds(since_epoch: Duration) -> Result<String> {
    let at = format!("@{}", since_epoch.as_secs());
    Ok(printed(Command::new("date").args(["-u", "-d", &at, "+%FT%TZ"]))?.trim().to_owned())
}
