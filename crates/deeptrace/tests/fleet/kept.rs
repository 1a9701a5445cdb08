//! Spans that stay on the agents: the answers are those of a server that got all of them, for a few of the
//! bytes. The spans are those of the demo, recorded, and made more of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use deeptrace_agent::sink::Batch;
use deeptrace_erase::{Target, Tombstone};
use deeptrace_model::{Duration, Method, Span, SpanId, TraceSpan, WallTime};
use deeptrace_server::clock;
use serde_json::Value;

use crate::agent::Agent;
use crate::demo::{Demo, Trace};
use crate::server::{Server, wait};

/// Hosts, each with an agent.
const HOSTS: usize = 3;
/// Rounds of three seconds of the demo; `FLEET_ROUNDS` says otherwise, for a measurement (docs/fleet.md).
const ROUNDS: u64 = 1;
/// Traces that are asked for, at most; or `FLEET_ASKED`.
const ASKED: usize = 1_000;
/// Agents have so long to answer where all of them do.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
/// Spans that are given to an agent before it has written or sent those that it was given.
const AHEAD: u64 = 8_192;

/// Hosts with what they have seen, and the traces that it makes.
pub struct Story {
    demo: Demo,
    /// By how much it is moved into the minutes before now.
    moved: u64,
    hosts: BTreeMap<u32, usize>,
    _template: tempfile::TempDir,
}

impl Story {
    pub fn new(rounds: u64) -> Self {
        let template = tempfile::tempdir().unwrap();
        let recording =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recording/shop.rec");
        let mut replay = Command::new(env!("CARGO_BIN_EXE_deeptrace"));
        replay.arg("replay").arg(recording).arg("--store").arg(template.path());
        assert!(replay.args(["--output", "/dev/null"]).status().unwrap().success());
        let demo = Demo::open(template.path());
        // What is younger than a summary would be asked of everybody.
        let end = clock::now().minus(Duration::from_secs(75));
        let moved = end.0 - demo.begin(rounds + 1).0;
        let pids: BTreeSet<u32> = demo
            .round(0)
            .iter()
            .flat_map(|trace| trace.spans.iter().map(|it| it.span.process.pid.0))
            .collect();
        let hosts = pids.into_iter().zip((0..HOSTS).cycle()).collect();
        Self { demo, moved, hosts, _template: template }
    }

    pub fn round(&self, number: u64) -> Vec<Trace> {
        let mut traces = self.demo.round(number);
        for it in traces.iter_mut().flat_map(|trace| &mut trace.spans) {
            let span = Arc::make_mut(&mut it.span);
            (span.start, span.end) = (self.later(span.start), self.later(span.end));
            it.link.iter_mut().for_each(|link| link.child_start = self.later(link.child_start));
        }
        traces
    }

    fn later(&self, time: WallTime) -> WallTime {
        WallTime(time.0 + self.moved)
    }

    /// What each host saw of these traces.
    pub fn batches(&self, traces: &[Trace]) -> Vec<Batch> {
        let mut batches: Vec<Batch> = (0..HOSTS).map(|_| Batch::default()).collect();
        for TraceSpan { span, link, .. } in traces.iter().flat_map(|trace| &trace.spans) {
            let batch = &mut batches[self.hosts[&span.process.pid.0]];
            batch.spans.push(Span::clone(span));
            // Those across an exchange are found by its key.
            let link = link.iter().filter(|link| link.method != Method::Connection);
            batch.links.extend(link.cloned());
        }
        batches
    }
}

/// Gives an agent spans as fast as it takes them; returns how many.
fn give(agent: &mut Agent, counter: &str, given: u64, batch: Batch) -> u64 {
    let spans = batch.spans.len() as u64;
    wait("room", || agent.counter(counter) + AHEAD >= given);
    agent.sink().send(batch);
    given + spans
}

fn bytes(agents: &[Agent], names: &[&str]) -> u64 {
    agents.iter().flat_map(|agent| names.iter().map(|name| agent.counter(name))).sum()
}

/// Until agents have told of all that they were given.
fn all_told(keepers: &[Agent]) {
    let told = |agent: &Agent| agent.counter("sender_summaries_bytes_total");
    let before: Vec<u64> = keepers.iter().map(told).collect();
    for (agent, before) in keepers.iter().zip(before) {
        wait("a summary of the last spans", || told(agent) > before);
    }
}

/// All pages of a search.
fn pages(server: &Server, query: &str, count: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for _ in 0..count {
        let mut page = server.get(&format!("/traces?{query}{cursor}"));
        assert_eq!(page.get("missing"), None);
        found.append(page["traces"].as_array_mut().unwrap());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found
}

#[test]
fn answers_are_those_of_a_server_that_has_all_spans_for_a_few_of_the_bytes() {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse().unwrap());
    let rounds = number("FLEET_ROUNDS").unwrap_or(ROUNDS);
    let most = number("FLEET_ASKED").map_or(ASKED, |it| it as usize);
    let story = Story::new(rounds);
    let (all, some) = (Server::start(), Server::waiting(PATIENCE));
    let mut senders: Vec<Agent> = (0..HOSTS).map(|_| Agent::start(&all)).collect();
    let mut keepers: Vec<Agent> = (0..HOSTS).map(|_| Agent::keeping(&some)).collect();
    let (sent, written) = ("sender_acknowledged_spans_total", "ingest_written_spans_total");
    let (mut given, mut ids): (Vec<u64>, Vec<String>) = (vec![0; HOSTS], Vec::new());
    let mut counts: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for number in 0..rounds {
        let traces = story.round(number);
        ids.extend(traces.iter().map(|trace| trace.id.to_string()));
        for span in traces.iter().flat_map(|trace| &trace.spans).map(|it| &it.span) {
            let (service, name) = (span.service.to_string(), span.name.to_string());
            let kind = serde_json::to_value(span.kind).unwrap().as_str().unwrap().to_owned();
            *counts.entry((service, name, kind)).or_default() += 1;
        }
        for (host, batch) in story.batches(&traces).into_iter().enumerate() {
            give(&mut senders[host], sent, given[host], batch.clone());
            given[host] = give(&mut keepers[host], written, given[host], batch);
        }
    }
    let spans: u64 = given.iter().sum();
    for host in 0..HOSTS {
        // Where no answer comes for a second they are sent twice.
        let waiting = ["sender_memory_bytes", "sender_disk_bytes"];
        wait("all spans at the server", || {
            senders[host].counter(sent) >= given[host]
                && waiting.iter().all(|name| senders[host].counter(name) == 0)
        });
        wait("all spans in the agents' stores", || keepers[host].counter(written) == given[host]);
    }
    all_told(&keepers);
    let summaries = bytes(&keepers, &["sender_summaries_bytes_total"]);

    let stride = (ids.len() / most).max(1);
    let asked: Vec<&String> = ids.iter().step_by(stride).take(most).collect();
    let mut answered = 0;
    for id in &asked {
        let (expected, found) =
            (all.get(&format!("/traces/{id}")), some.get(&format!("/traces/{id}")));
        assert!(expected == found, "{id}\nsent: {expected:#}\nkept: {found:#}");
        answered += found["spans"].as_array().unwrap().len();
    }
    let names = ["sender_answers_bytes_total", "sender_acknowledged_bytes_total"];
    let answers = bytes(&keepers, &names);
    // What was sent twice counts once.
    let once = |host: usize| {
        let bytes = senders[host].counter("sender_acknowledged_bytes_total") as f64;
        bytes * given[host] as f64 / senders[host].counter(sent) as f64
    };
    let everything = (0..HOSTS).map(once).sum::<f64>() as u64;
    let questions = some.counter("orders_questions_bytes_total");
    let needed = summaries + answers + questions;
    let share = |bytes: u64| format!("{:.2} %", 100.0 * bytes as f64 / everything as f64);
    println!(
        "{} traces of {spans} spans, {} of them asked for ({answered} spans, {} questions)",
        ids.len(),
        asked.len(),
        some.counter("orders_questions_total"),
    );
    println!("send all       {everything} bytes");
    println!("summaries      {summaries} bytes, {}", share(summaries));
    println!("answers        {answers} bytes, {}", share(answers));
    println!("questions      {questions} bytes, {}", share(questions));
    println!("query-driven   {needed} bytes, {}", share(needed));
    assert_eq!(some.counter("orders_late_answers_total"), 0);
    assert_eq!(some.get("/status")["store"]["span_count"], 0, "spans stay on the agents");
    // What is known of a span without asking takes less than a twentieth of it.
    assert!(summaries * 20 < everything, "summaries are too large");

    for query in ["limit=50", "limit=20&min_duration=40ms", "limit=20&errors=true"] {
        let (expected, found) = (pages(&all, query, 3), pages(&some, query, 3));
        assert!(!expected.is_empty() || query.contains("errors"), "{query}");
        assert_eq!(found, expected, "{query}");
    }
    // The server that was sent spans twice counts them twice for a while; summaries are told once.
    let found = some.get("/analytics/operations");
    let count = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        ((text("service"), text("name"), text("kind")), row["span_count"].as_u64().unwrap())
    };
    let found: BTreeMap<_, _> = found["operations"].as_array().unwrap().iter().map(count).collect();
    assert_eq!(found, counts);
}

#[test]
fn a_trace_says_which_agent_did_not_answer() {
    let story = Story::new(1);
    let server = Server::start();
    let mut agents: Vec<Agent> = (0..HOSTS).map(|_| Agent::keeping(&server)).collect();
    let traces = story.round(0);
    let written = "ingest_written_spans_total";
    for (agent, batch) in agents.iter_mut().zip(story.batches(&traces)) {
        let given = batch.spans.len() as u64;
        agent.sink().send(batch);
        wait("spans in the agent's store", || agent.counter(written) == given);
    }
    all_told(&agents);
    wait("heartbeats", || server.get("/agents")["agents"].as_array().unwrap().len() == HOSTS);
    let hosts = |trace: &Trace| -> BTreeSet<usize> {
        trace.spans.iter().map(|it| story.hosts[&it.span.process.pid.0]).collect()
    };
    let trace = traces.iter().find(|trace| hosts(trace).len() == HOSTS).unwrap();
    let root = story.hosts[&trace.spans[0].span.process.pid.0];
    let path = format!("/traces/{}", trace.id);
    let whole = server.get(&path);
    assert_eq!(
        (whole["spans"].as_array().unwrap().len(), whole.get("missing")),
        (trace.spans.len(), None)
    );

    let gone = (root + 1) % HOSTS;
    drop(agents.remove(gone));
    let part = server.get(&path);
    let missing = part["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{part:#}");
    assert!(["late", "away"].contains(&missing[0]["reason"].as_str().unwrap()));
    let ids = |answer: &Value| -> BTreeSet<String> {
        let spans = answer["spans"].as_array().unwrap().iter();
        spans.map(|span| span["span_id"].as_str().unwrap().to_owned()).collect()
    };
    let lost: BTreeSet<SpanId> = (trace.spans.iter())
        .filter(|it| story.hosts[&it.span.process.pid.0] == gone)
        .map(|it| it.span.id)
        .collect();
    assert!(!lost.iter().any(|id| ids(&part).contains(&id.to_string())));
    assert!(ids(&part).is_subset(&ids(&whole)) && ids(&part).len() < ids(&whole).len());
}

#[test]
fn servers_over_one_store_answer_alike_whichever_one_agents_poll() {
    let story = Story::new(1);
    let (one, other) = Server::pair();
    let mut agents: Vec<Agent> = [&one, &other, &other].into_iter().map(Agent::keeping).collect();
    let traces = story.round(0);
    for (agent, batch) in agents.iter_mut().zip(story.batches(&traces)) {
        let given = batch.spans.len() as u64;
        agent.sink().send(batch);
        wait("spans in the agent's store", || agent.counter("ingest_written_spans_total") == given);
    }
    all_told(&agents);
    let operations = |server: &Server| server.get("/analytics/operations")["operations"].clone();
    wait("summaries at both servers", || operations(&one) == operations(&other));
    for trace in traces.iter().take(8) {
        let path = format!("/traces/{}", trace.id);
        let (found, same) = (one.get(&path), other.get(&path));
        assert_eq!(found["spans"].as_array().unwrap().len(), trace.spans.len(), "{found:#}");
        assert_eq!((found.get("missing"), &found), (None, &same));
    }
    let late = |server: &Server| server.counter("orders_late_answers_total");
    assert_eq!((late(&one), late(&other)), (0, 0));
    assert!(one.counter("orders_forwarded_answers_total") > 0);
}

#[test]
fn what_is_erased_is_in_no_file_of_an_agent() {
    const SECRET: &str = "anna@shop.example";
    let story = Story::new(1);
    let server = Server::start();
    let mut agent = Agent::keeping(&server);
    let mut batch = story.batches(&story.round(0)).remove(0);
    batch.spans[7].attributes.push(("user.name".into(), SECRET.into()));
    let (id, given) = (batch.spans[7].id, batch.spans.len() as u64);
    agent.sink().send(batch);
    wait("spans in the agent's store", || agent.counter("ingest_written_spans_total") == given);
    let path = format!("/traces/{id}");
    let holds = |answer: &Value| answer.to_string().contains(SECRET);
    wait("the span", || holds(&server.get(&path)));

    let target = Target::parse(&format!("user={SECRET}")).unwrap();
    let tombstone = Tombstone::new(&target, clock::now(), []).unwrap();
    server.tombstones.set(&*server.store, &Arc::new(tombstone)).unwrap();
    wait("erasure", || agent.counter("sender_erased_spans_total") == 1);
    assert!(!holds(&server.get(&path)));
    let mut files = vec![agent.folder()];
    let mut searched = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        searched += bytes.len();
        assert!(memchr::memmem::find(&bytes, SECRET.as_bytes()).is_none(), "{}", path.display());
    }
    assert!(searched > 10_000, "the store was searched");
}
