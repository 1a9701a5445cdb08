//! `otlp`: an application that half of has an OpenTelemetry SDK, seen by us at the same time. Its traces are
//! X

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::program::{PYTHON, Program};
use super::watcher::{LIMITS, Watcher};
use crate::api::get;
use crate::bench::jaeger;
use crate::child::{Kept, free_ports};
use crate::servers::python;
use crate::{build, root};

/// Requests of each of the clients.
const REQUESTS: usize = 50;
const CLIENTS: usize = 4;
/// A request, from its caller to the service that nobody instrumented: who, and what of which kind.
const TREE: &[&str] = &[
    "client of the caller",
    "server of front",
    "internal of front",
    "client of front",
    "server of back",
    "internal of back",
    "client of back",
    "server of plain",
];
/// A settled trace goes out after nine seconds where SDKs report.
const PATIENCE: Duration = Duration::from_secs(90);

/// Who takes what we push, and a Jaeger that shows it.
struct Receiver {
    /// Of ours.
    protocol: &'static str,
    endpoint: String,
    /// Of Jaeger's query API.
    query: u16,
    kept: Vec<Kept>,
}

/// Does it.
pub fn otlp() -> Result<()> {
    let environment = python::environment("venv-otlp", "requirements-otlp.txt")?;
    let binary = build::binary()?;
    for name in ["Jaeger 1", "rotel", "Jaeger 2"] {
        let folder = root().join("out/test-otlp").join(name.replace(' ', "-").to_lowercase());
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder)?;
        let mut receiver = match name {
            "Jaeger 1" => jaeger_1(&folder)?,
            "rotel" => rotel(&environment, &folder)?,
            _ => jaeger_2(&folder)?,
        };
        let seen = one(&environment, &binary, &folder, &receiver);
        let seen = seen.with_context(|| format!("{name}: see {}", folder.display()))?;
        println!("{name}: {seen} traces of {} spans, one tree each, none twice", TREE.len());
        receiver.kept.iter_mut().rev().try_for_each(|kept| kept.stop(PATIENCE))?;
    }
    Ok(())
}

/// Jaeger 1 with its store in memory, over HTTP.
fn jaeger_1(folder: &Path) -> Result<Receiver> {
    let (mut command, ports) = jaeger::all_in_one(&jaeger::build("all-in-one")?)?;
    Ok(Receiver {
        protocol: "http/protobuf",
        endpoint: format!("http://127.0.0.1:{}", ports.otlp),
        query: ports.query,
        kept: vec![jaeger::started(&mut command, folder, ports.query)?],
    })
}

/// Jaeger 2, which is a distribution of the OpenTelemetry Collector, over gRPC.
fn jaeger_2(folder: &Path) -> Result<Receiver> {
    let [grpc, query, query_grpc, health] = free_ports()?.map(|port| port.to_string());
    let config = JAEGER_2
        .replace("@grpc", &grpc)
        .replace("@query_grpc", &query_grpc)
        .replace("@query", &query)
        .replace("@health", &health);
    fs::write(folder.join("jaeger.yaml"), config)?;
    let mut command = Command::new(jaeger::build("jaeger")?);
    command.arg("--config").arg(folder.join("jaeger.yaml"));
    let query = query.parse()?;
    Ok(Receiver {
        protocol: "grpc",
        endpoint: format!("http://127.0.0.1:{grpc}"),
        query,
        kept: vec![jaeger::started(&mut command, folder, query)?],
    })
}

const JAEGER_2: &str = r#"
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: {receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter]}
  telemetry: {metrics: {level: none}}
extensions:
  healthcheckv2: {use_v2: true, http: {endpoint: "127.0.0.1:@health"}}
  jaeger_query:
    storage: {traces: memory}
    http: {endpoint: "127.0.0.1:@query"}
    grpc: {endpoint: "127.0.0.1:@query_grpc"}
  jaeger_storage: {backends: {memory: {memory: {max_traces: 10000}}}}
receivers:
  otlp: {protocols: {grpc: {endpoint: "127.0.0.1:@grpc"}}}
processors: {batch: {timeout: 200ms}}
exporters:
  jaeger_storage_exporter: {trace_storage: memory}
"#;

/// rotel, which takes OTLP over gRPC and hands it on to Jaeger 1 over HTTP.
fn rotel(environment: &Path, folder: &Path) -> Result<Receiver> {
    let mut receiver = jaeger_1(folder)?;
    let packages = fs::read_dir(environment.join("lib"))?.next().context("no Python")??;
    let agent = packages.path().join("site-packages/rotel/rotel-agent");
    let [grpc, http] = free_ports()?;
    let mut command = Command::new(agent);
    command.args(["start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"]);
    command.args(["--otlp-exporter-endpoint", &receiver.endpoint]);
    command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")]);
    command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")]);
    command.arg("--pid-file").arg(folder.join("rotel.pid"));
    let log = File::create(folder.join("rotel.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    receiver.kept.push(Kept::start("rotel", &mut command)?);
    (receiver.protocol, receiver.endpoint) = ("grpc", format!("http://127.0.0.1:{grpc}"));
    Ok(receiver)
}

/// One run: the application, its load, our trees, and Jaeger's; how many traces.
fn one(environment: &Path, binary: &Path, folder: &Path, receiver: &Receiver) -> Result<usize> {
    let [front, back, plain] = free_ports()?.map(|port| format!("127.0.0.1:{port}"));
    let [grpc, http] = free_ports()?;
    let service = |arguments: &[&str]| {
        let mut command = Command::new(environment.join("bin/python"));
        command.arg(root().join("xtask/src/test/instrumented.py")).args(arguments);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{http}"));
        Program::run(&mut command)
    };
    let programs = [
        Program::start(&[], PYTHON, &["serve", &plain])?,
        service(&["back", &back, &plain])?,
        service(&["front", &front, &back, "carry"])?,
    ];
    let mut caller = Program::client(&[])?;
    let pids: Vec<String> =
        programs.iter().chain([&caller]).map(|program| program.pid().to_string()).collect();
    let config = format!(
        "{LIMITS}[agents.trace]\npids = [{}]\n[server.otlp]\ngrpc_port = {grpc}\nhttp_port = {http}\n\
         [export.otlp]\nendpoint = \"{}\"\nprotocol = \"{}\"\n",
        pids.join(", "),
        receiver.endpoint,
        receiver.protocol
    );
    let watcher = Watcher::start(binary, folder, &config)?;
    for client in 0..CLIENTS {
        caller.say(&format!("load {front} /order{client} 0 {REQUESTS} 20"))?;
    }
    caller.say("wait")?;
    let ours = trees(&watcher)?;
    let begun = Instant::now();
    while let Err(error) =
        ours.iter().try_for_each(|(trace, spans)| same(receiver.query, trace, spans))
    {
        if begun.elapsed() > PATIENCE {
            return Err(error.context(format!("after {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    watcher.stop()?;
    Ok(ours.len())
}

/// The traces that the server shows, by id, once all are there; fails where one is not as it must be.
fn trees(watcher: &Watcher) -> Result<BTreeMap<String, Vec<Value>>> {
    let begun = Instant::now();
    loop {
        let found =
            watcher.server("/traces?operation=GET+/order/%7Bid%7D&service=front&limit=1000")?;
        let listed = found["traces"].as_array().context("no traces")?;
        let mut traces = BTreeMap::new();
        for listed in listed {
            let id = listed["trace_id"].as_str().context("a trace without an id")?;
            let trace = watcher.server(&format!("/traces/{id}"))?;
            traces.insert(id.to_owned(), trace["spans"].as_array().context("no spans")?.clone());
        }
        let wrong = traces.iter().find_map(|(id, spans)| Some((id, not_as_expected(spans)?)));
        match wrong {
            None if traces.len() == CLIENTS * REQUESTS => return Ok(traces),
            _ if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_secs(1)),
            None => bail!("{} traces of {}", traces.len(), CLIENTS * REQUESTS),
            Some((id, why)) => bail!("trace {id}: {why}"),
        }
    }
}

/// Why these spans are not the chain that each request is.
fn not_as_expected(spans: &[Value]) -> Option<String> {
    let text = |span: &Value, field: &str| span[field].as_str().unwrap_or_default().to_owned();
    let kinds: Vec<String> = spans
        .iter()
        .map(|span| format!("{} of {}", text(span, "kind"), text(span, "service")))
        .collect();
    if spans.len() != TREE.len() {
        return Some(format!("{} spans: {}", spans.len(), kinds.join(", ")));
    }
    let mut parent: Option<String> = None;
    for expected in TREE {
        let (kind, service) = expected.split_once(" of ")?;
        let is_it = |span: &&Value| {
            span["parent_span_id"].as_str() == parent.as_deref()
                && text(span, "kind") == kind
                && (text(span, "service") == service || !is_named(service))
        };
        let of_parent: Vec<&Value> = spans.iter().filter(is_it).collect();
        let [only] = of_parent[..] else {
            return Some(format!("{} times {expected}: {}", of_parent.len(), kinds.join(", ")));
        };
        // What `prepare` did is beside what was called, not above it.
        if kind != "internal" {
            parent = Some(text(only, "span_id"));
        }
    }
    None
}

/// The services that say their names; the others are named after what they run.
fn is_named(service: &str) -> bool {
    ["front", "back"].contains(&service)
}

/// Fails unless Jaeger shows the trace with the same spans, parents, names and times.
fn same(query: u16, trace: &str, ours: &[Value]) -> Result<()> {
    let answer = get(&query.to_string(), &format!("/api/traces/{trace}"))?;
    let theirs = answer["data"][0]["spans"].as_array().context("Jaeger does not have it")?;
    let processes = &answer["data"][0]["processes"];
    let shown: BTreeSet<String> = theirs
        .iter()
        .map(|span| {
            let parent = &span["references"][0]["spanID"];
            let service = &processes[span["processID"].as_str().unwrap_or_default()]["serviceName"];
            let (start, took) = (&span["startTime"], &span["duration"]);
            format!(
                "{} {parent} {} {service} {start} {took}",
                span["spanID"], span["operationName"]
            )
        })
        .collect();
    let wanted: BTreeSet<String> = ours
        .iter()
        .map(|span| {
            let number = |field: &str| span[field].as_u64().unwrap_or(0);
            let start = number("start_time_unix_nano") / 1000;
            let took = number("duration_ns") / 1000;
            let (id, parent) = (&span["span_id"], &span["parent_span_id"]);
            format!("{id} {parent} {} {} {start} {took}", span["name"], span["service"])
        })
        .collect();
    if theirs.len() != ours.len() || shown != wanted {
        bail!("trace {trace}: Jaeger shows\n{shown:#?}\ninstead of\n{wanted:#?}");
    }
    Ok(())
}
