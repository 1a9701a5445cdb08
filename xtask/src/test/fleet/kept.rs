//! `kept`: on each of the three hosts two agents that see the same, one sends its spans, one keeps them.
//! Those that keep have two servers behind a balancer, so that questions go to agents of the other server as
//! well; each of the servers must answer as the one that has all spans, and what was sent for it is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Fleet, Round, build, first_of, network, packages};
use crate::child::Kept;
use crate::test::watcher::LIMITS;

const ROUND: Round = Round { count: 1_000, pause_ms: 20 };
/// Indices of each server: the first gets all spans, the others are behind the balancer.
const PREFIXES: [&str; 3] = ["all", "kept", "kept"];
/// Until agents have told of all: they do so every ten seconds, and what is younger is asked of everybody.
const TOLD: Duration = Duration::from_secs(25);
/// The API of an agent that keeps, beside the other one's.
const PORT: &str = "7898";
/// Traces asked for one after the other by one command, and commands at once.
const PAGE: usize = 50;
const ASKERS: usize = 2;
/// How often a trace is asked for of which a part is late.
const TRIES: usize = 3;
/// What two agents do not see alike: when.
const OF_TIME: [&str; 3] = ["start_time_unix_nano", "end_time_unix_nano", "duration_ns"];
const FIRST_BYTE: &str = "deeptrace.time_to_first_byte_ns";

/// Does it.
pub fn kept() -> Result<()> {
    let binary = build::binary()?;
    packages::ensure(packages::NETWORK)?;
    packages::ensure(packages::TLS)?;
    let mut fleet = Fleet::hosts(binary, "test-kept", "")?;
    fleet.share(&PREFIXES, 1)?;
    let mut keepers = Vec::new();
    for host in 0..3 {
        fleet.start_agent(host)?;
        keepers.push(fleet.start_keeper(host)?);
    }
    let mut wrong = Vec::new();
    fleet.load(ROUND)?;
    fleet.client.say("wait")?;
    fleet.settle()?;
    std::thread::sleep(TOLD);

    let ids = fleet.traces(0)?;
    if ids.len() < ROUND.count {
        wrong.push(format!("{} traces of {} requests", ids.len(), ROUND.count));
    }
    let expected = fleet.answers(0, &ids)?;
    for server in 1..PREFIXES.len() {
        let found = fleet.answers(server, &ids)?;
        let differing = ids.iter().filter(|id| expected.0.get(*id) != found.0.get(*id));
        let differing: Vec<&String> = differing.collect();
        println!(
            "server {server}: {} of {} answers as where all is sent, {} asked again",
            ids.len() - differing.len(),
            ids.len(),
            found.1,
        );
        if let Some(first) = differing.first() {
            let (expected, found) = (expected.0.get(*first), found.0.get(*first));
            wrong.push(format!(
                "server {server}: {} traces differ, the first: {expected:?} and {found:?}",
                differing.len()
            ));
        }
        if server == 1 {
            fleet.print_bytes(ids.len())?;
        }
    }
    let operations = fleet.operations(0)?;
    for server in 1..PREFIXES.len() {
        let found = fleet.operations(server)?;
        if found != operations {
            wrong.push(format!("server {server}: operations {found:?}, not {operations:?}"));
        }
    }

    // Its agents go to the other server, which has not heard their summaries itself.
    fleet.kill_server(1)?;
    std::thread::sleep(Duration::from_secs(15));
    let some = &ids[..ids.len().min(PAGE)];
    let found = fleet.answers(2, some)?.0;
    let same = some.iter().filter(|id| expected.0.get(*id) == found.get(*id)).count();
    println!("a server killed: {same} of {} answers of the other as before", some.len());
    if same < some.len() {
        wrong.push(format!("{} answers differ once a server is killed", some.len() - same));
    }

    keepers.iter_mut().try_for_each(|keeper| keeper.stop(Duration::from_secs(15)))?;
    fleet.stop()?;
    first_of(&wrong)
}

/// Traces by id, as far as two agents see them alike, and how often one was asked for again.
type Answers = (BTreeMap<String, Value>, usize);

impl Fleet {
    fn start_keeper(&mut self, host: usize) -> Result<Kept> {
        let name = format!("keeper-{host}");
        let buffer = self.folder.join(format!("buffer-of-{name}"));
        let config = format!(
            "{LIMITS}[agents.trace]\npids = [{}]\n[agents.sender]\nserver_url = \"{}\"\n\
             token_file = \"agents-1.token\"\nca_file = \"ca.pem\"\ndisk_buffer_path = {buffer:?}\nkeep_spans = true\n",
            self.pids[host],
            network::url(),
        );
        let mut command = self.command(host, "agent", &name, &config)?;
        let keeper = Kept::start("an agent that keeps", command.args(["--port", PORT]))?;
        self.until("the agent that keeps captures", |fleet| {
            Ok(fleet.status_at(host, &keeper_url()).is_ok_and(|it| it["state"] == "capturing"))
        })?;
        Ok(keeper)
    }

    /// The ids of all traces.
    fn traces(&self, server: usize) -> Result<Vec<String>> {
        let found = self.get(server, &format!("/traces?limit={}", ROUND.count))?;
        let ids = found["traces"].as_array().into_iter().flatten().map(|it| &it["trace_id"]);
        Ok(ids.filter_map(|id| id.as_str()).map(str::to_owned).collect())
    }

    /// Asked for by several at once.
    fn answers(&self, server: usize, ids: &[String]) -> Result<Answers> {
        let mut all = Answers::default();
        let share = ids.len().div_ceil(ASKERS).max(1);
        std::thread::scope(|scope| {
            let ask = |ids| scope.spawn(move || self.answers_of_one(server, ids));
            let asking: Vec<_> = ids.chunks(share).map(ask).collect();
            for asker in asking {
                let Ok(found) = asker.join() else { bail!("an asker has panicked") };
                let (answers, again) = found?;
                all.0.extend(answers);
                all.1 += again;
            }
            Ok(all)
        })
    }

    fn answers_of_one(&self, server: usize, ids: &[String]) -> Result<Answers> {
        let (mut answers, mut again) = (BTreeMap::new(), 0);
        for page in ids.chunks(PAGE) {
            let mut asked: Vec<&String> = page.iter().collect();
            for attempt in 0..TRIES {
                again += if attempt > 0 { asked.len() } else { 0 };
                let paths: Vec<String> = asked.iter().map(|id| format!("/traces/{id}")).collect();
                let found = self.get_all(server, &paths)?;
                if found.len() < asked.len() {
                    bail!("{} answers to {} questions", found.len(), asked.len());
                }
                let mut late = Vec::new();
                for (id, answer) in asked.into_iter().zip(found) {
                    if answer.get("missing").is_some() {
                        late.push(id);
                    }
                    answers.insert(id.clone(), without_times(answer));
                }
                asked = late;
                if asked.is_empty() {
                    break;
                }
            }
        }
        Ok((answers, again))
    }

    /// How many spans each operation has.
    fn operations(&self, server: usize) -> Result<BTreeSet<String>> {
        let found = self.get(server, "/analytics/operations")?;
        let rows = found["operations"].as_array().context("there are no operations")?;
        let row = |it: &Value| {
            let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
            format!("{} {} {} {}", text("service"), text("kind"), text("name"), it["span_count"])
        };
        Ok(rows.iter().map(row).collect())
    }

    /// What went over the network: where all is sent, and where what was asked for is.
    fn print_bytes(&self, asked: usize) -> Result<()> {
        let (mut sent, mut spans, mut summaries, mut answers) = (0, 0, 0, 0);
        for host in 0..3 {
            let sender = self.status(host)?["counters"].clone();
            sent += number(&sender, "sender_acknowledged_bytes_total");
            spans += number(&sender, "sender_acknowledged_spans_total");
            let keeper = self.status_at(host, &keeper_url())?["counters"].clone();
            summaries += number(&keeper, "sender_summaries_bytes_total");
            answers += number(&keeper, "sender_answers_bytes_total");
            answers += number(&keeper, "sender_acknowledged_bytes_total");
        }
        let (mut questions, mut forwarded, mut late) = (0, 0, 0);
        for server in 1..PREFIXES.len() {
            let counters = self.get(server, "/status")?["counters"].clone();
            questions += number(&counters, "orders_questions_bytes_total");
            forwarded += number(&counters, "orders_forwarded_answers_total");
            late += number(&counters, "orders_late_answers_total");
        }
        let row = |name: &str, bytes: u64| {
            println!(
                "{name:12} {bytes:>9} bytes, {:.1} a span",
                bytes as f64 / spans.max(1) as f64
            );
        };
        println!(
            "{spans} spans, {asked} traces asked for, {forwarded} answers by way of the other server, {late} late"
        );
        row("sending all", sent);
        row("summaries", summaries);
        row("answers", answers);
        row("questions", questions);
        Ok(())
    }
}

fn keeper_url() -> String {
    format!("http://127.0.0.1:{PORT}")
}

fn number(counters: &Value, name: &str) -> u64 {
    counters[name].as_u64().unwrap_or_default()
}

/// Two agents see the same bytes, but not at the same nanosecond.
fn without_times(mut trace: Value) -> Value {
    if let Some(fields) = trace.as_object_mut() {
        // Clocks are known from times; gaps are of the start of each agent.
        fields.remove("clocks");
        fields.remove("gaps");
    }
    for span in trace["spans"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
    {
        OF_TIME.iter().for_each(|name| _ = span.remove(*name));
        if let Some(attributes) = span.get_mut("attributes").and_then(Value::as_object_mut) {
            attributes.remove(FIRST_BYTE);
        }
    }
    trace
}
