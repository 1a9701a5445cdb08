//! `sampling`: the same three hosts, of whose traces a tenth is kept.
//!
//! A round with everything kept is what bytes and CPU time of the others are held against. Then the rate is changed
//! while the agents run; then errors of the last host are asked for; then an agent is cut off from the others,
//! and one is killed: what is kept must be whole, or say that it is not.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use super::{CUT, Fleet, LOOKED_AT, build, first_of, network, packages};
use crate::bench::usage;
use crate::test::watcher::told;

/// Requests of a round, and the pause between two of them.
const ROUND: usize = 3_000;
const PAUSE_MS: usize = 4;
/// A shorter wait than the default, so that the test need not wait for long.
const TRACE: &str = "sampling_wait_ms = 4000";
/// The same as it was changed since, for an agent that starts anew.
const TRACE_AS_CHANGED: &str =
    "sampling_wait_ms = 4000\nsampling_rate = 0.1\nalways_keep = [\"errors\"]";
/// Until all is decided and sent: the wait, and what is kept waits for company.
const DECIDED: Duration = Duration::from_secs(9);
/// Spans of a whole trace.
const WHOLE: usize = 4;
/// What one key costs on the wire: its kind, and 64 random bits as a varint.
const KEY_BYTES: u64 = 11;

/// What was spent so far.
#[derive(Clone, Debug, Default)]
struct Spent {
    bytes: u64,
    keys: u64,
    /// CPU time of threads, in ticks of 10 ms, by name.
    ticks: BTreeMap<String, u64>,
}

/// What the store has of a round.
struct Kept {
    whole: Vec<usize>,
    /// With the id of a trace that has a part of it.
    broken: Vec<(usize, String)>,
    twice: usize,
}

/// Does it.
pub fn sampling() -> Result<()> {
    let binary = build::binary()?;
    packages::ensure(packages::NETWORK)?;
    packages::ensure(packages::TLS)?;
    let mut fleet = Fleet::start(binary, "test-sampling", TRACE)?;
    let mut wrong = Vec::new();

    let before = fleet.spent()?;
    let all = fleet.round("/all", ROUND)?;
    let full = fleet.spent()?.since(&before);
    println!("rate 1.0: {} of {ROUND} traces whole, {full}", all.whole.len());
    if all.whole.len() < ROUND {
        wrong.push(format!("{} of {ROUND} whole without sampling", all.whole.len()));
    }

    fleet.set("sampling_rate", "0.1")?;
    let before = fleet.spent()?;
    let tenth = fleet.round("/tenth", ROUND)?;
    let spent = fleet.spent()?.since(&before);
    let share = tenth.whole.len() as f64 / ROUND as f64;
    let bytes = spent.all_bytes() as f64 / full.all_bytes() as f64;
    println!(
        "rate 0.1: share {share:.3}, {} broken, {bytes:.3} of the bytes, {spent}",
        tenth.broken.len()
    );
    if (share - 0.1).abs() > 0.02 {
        wrong.push(format!("a share of {share} is kept"));
    }
    if bytes > 0.15 {
        wrong.push(format!("{bytes} of the bytes are sent"));
    }
    if !tenth.broken.is_empty() || tenth.twice > 0 {
        wrong.push(format!(
            "{} traces broken without faults, {} spans twice",
            tenth.broken.len(),
            tenth.twice
        ));
    }

    fleet.set("always_keep", "[\"errors\"]")?;
    let errors = fleet.round("/last-fails", ROUND / 10)?;
    println!("errors on the last host: {} of {} whole", errors.whole.len(), ROUND / 10);
    if errors.whole.len() < ROUND / 10 {
        wrong.push(format!("{} of {} errors are kept", errors.whole.len(), ROUND / 10));
    }

    let first = fleet.load_of("/cut", ROUND)?;
    std::thread::sleep(Duration::from_secs(2));
    fleet.network.cut(true)?;
    std::thread::sleep(CUT);
    fleet.network.cut(false)?;
    // It has to be heard again, and what stood still has to be decided.
    std::thread::sleep(CUT);
    let cut = fleet.kept(first..first + ROUND, "/cut")?;
    fleet.marked("an agent cut off", &cut, &mut wrong)?;

    let first = fleet.load_of("/killed", ROUND)?;
    std::thread::sleep(Duration::from_secs(8));
    fleet.kill_agent(1)?;
    std::thread::sleep(Duration::from_secs(1));
    fleet.trace = TRACE_AS_CHANGED;
    fleet.start_agent(1)?;
    let killed = fleet.kept(first..first + ROUND, "/killed")?;
    fleet.marked("an agent killed", &killed, &mut wrong)?;

    fleet.stop()?;
    first_of(&wrong)
}

impl Fleet {
    /// Changes a key of `[agents.trace]` of all agents.
    fn set(&self, key: &str, value: &str) -> Result<()> {
        (0..3).try_for_each(|host| self.set_of(host, key, value))
    }

    fn set_of(&self, host: usize, key: &str, value: &str) -> Result<()> {
        let mut command = self.on(host);
        let key = format!("agents.trace.{key}");
        command.args(["config", "update", "--key", &key, "--value", value]);
        command.args(["--data-dir", &format!("agent-{host}")]);
        let out = command.output()?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        if !out.status.success() || !said.contains("in effect") {
            bail!("{key}: {said}{}", String::from_utf8_lossy(&out.stderr));
        }
        Ok(())
    }

    /// So many requests, until what is kept of them is in the store.
    fn round(&mut self, prefix: &str, count: usize) -> Result<Kept> {
        let first = self.load_of(prefix, count)?;
        self.kept(first..first + count, prefix)
    }

    /// So many requests, in the background. The number of the first.
    fn load_of(&mut self, prefix: &str, count: usize) -> Result<usize> {
        let first = self.asked;
        self.asked += count;
        let door = network::DOOR;
        self.client.say(&format!("load {door} {prefix} {first} {count} {PAUSE_MS}"))?;
        Ok(first)
    }

    /// What the store has of these requests, once the agents have decided.
    fn kept(&mut self, numbers: std::ops::Range<usize>, prefix: &str) -> Result<Kept> {
        self.client.say("wait")?;
        std::thread::sleep(DECIDED);
        self.settle()?;
        let spans = self.export()?;
        let mut found: BTreeMap<usize, BTreeMap<(String, String), &Value>> = BTreeMap::new();
        let mut twice = 0;
        for span in &spans {
            let path = told(span, "url.path");
            let number = path.strip_prefix(prefix).and_then(|it| it.get(1..)?.parse().ok());
            if let Some(number) = number.filter(|number| numbers.contains(number)) {
                let place = (told(span, "host.name"), told(span, "kind"));
                twice +=
                    usize::from(found.entry(number).or_default().insert(place, span).is_some());
            }
        }
        let (mut whole, mut broken) = (Vec::new(), Vec::new());
        for (number, spans) in found {
            match spans.values().next() {
                Some(span) if spans.len() < WHOLE => {
                    broken.push((number, told(span, "trace_id").to_owned()));
                }
                _ => whole.push(number),
            }
        }
        Ok(Kept { whole, broken, twice })
    }

    /// Every broken trace must say that something is missing.
    fn marked(&self, when: &str, kept: &Kept, wrong: &mut Vec<String>) -> Result<()> {
        let broken = kept.broken.iter().map(|(_, id)| id.as_str());
        let silent = self.silent(broken.take(LOOKED_AT))?;
        let (whole, broken) = (kept.whole.len(), kept.broken.len());
        println!("{when}: {whole} traces whole, {broken} broken, {} of them silent", silent.len());
        if !silent.is_empty() {
            wrong.push(format!("{when}: broken and silent: {silent:?}"));
        }
        if kept.twice > 0 {
            wrong.push(format!("{when}: {} spans twice", kept.twice));
        }
        Ok(())
    }

    fn spent(&self) -> Result<Spent> {
        let mut spent = Spent::default();
        for host in 0..3 {
            let counters = self.status(host)?["counters"].clone();
            let of = |name: &str| counters[name].as_u64().unwrap_or_default();
            spent.bytes += of("sender_acknowledged_bytes_total");
            spent.keys += of("sender_published_keys_total");
        }
        let agents = self.agents.iter().flatten().map(|kept| ("agent", kept));
        let server = self.servers.iter().flatten().map(|kept| ("server", kept));
        for (role, kept) in agents.chain(server) {
            for task in fs::read_dir(format!("/proc/{}/task", kept.pid()))? {
                let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
                // A thread that has just ended has none.
                let Ok(ticks) = usage::ticks(&stat) else { continue };
                let named = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
                let name = named.map_or("", |it| it.0);
                *spent.ticks.entry(format!("{role} {name}")).or_default() += ticks;
            }
        }
        Ok(spent)
    }
}

impl Spent {
    fn since(&self, before: &Self) -> Self {
        // Threads that have ended since are not counted.
        let of = |(name, ticks): (&String, &u64)| {
            (name.clone(), ticks.saturating_sub(*before.ticks.get(name).unwrap_or(&0)))
        };
        Self {
            bytes: self.bytes - before.bytes,
            keys: self.keys - before.keys,
            ticks: self.ticks.iter().map(of).collect(),
        }
    }

    /// Spans, and keys that were published.
    fn all_bytes(&self) -> u64 {
        self.bytes + self.keys * KEY_BYTES
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of spans, {} keys; CPU ms:", self.bytes, self.keys)?;
        let mut busy = self.ticks.iter().filter(|it| *it.1 > 0);
        busy.try_for_each(|(name, ticks)| write!(f, " {name} {}", ticks * 10))
    }
}
