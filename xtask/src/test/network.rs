//! `network`: real HTTP between network namespaces, with and without NAT, and over UNIX sockets. Every
//! client span must be joined to its server span and to no other, under the addresses each side saw.
//!
//! Two networks with the same addresses and ports run at once, as containers' networks may: addresses
//! cannot tell their connections apart. The number in each path is the truth.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::namespaces::{BEHIND, CLIENT, DOOR, Namespaces, SERVER};
use super::program::{PYTHON, Program};
use super::watcher::{LIMITS, Watcher, told};
use crate::{build, packages, root};

/// A way from a client to a server.
struct Way {
    name: &'static str,
    /// Where the client connects to. `SOCKET` is a path of the network.
    target: String,
    /// Where the server listens.
    listener: String,
    /// Peer that the client sees; address that the server sees as its own; peer that the server sees.
    seen: [&'static str; 3],
}

/// Connections of a way that are older than deeptrace, and new ones that are kept.
const KEPT: usize = 3;
/// Requests on each of them, and on connections of their own.
const REQUESTS: usize = 20;
/// The older connections' ports at the client, the same in both networks.
const PORTS: usize = 41_000;

fn ways() -> Vec<Way> {
    let way = |name, target: &str, listener: &str, seen| {
        let (target, listener) = (target.to_owned(), listener.to_owned());
        Way { name, target, listener, seen }
    };
    vec![
        way("IPv4", "10.97.2.2:8082", "10.97.2.2:8082", [SERVER.0, SERVER.0, CLIENT.0]),
        way("IPv4 NAT", "10.97.1.1:80", "10.97.2.2:8080", [DOOR.0, SERVER.0, BEHIND.0]),
        way("IPv6", "[fd97:2::2]:8083", "[fd97:2::2]:8083", [SERVER.1, SERVER.1, CLIENT.1]),
        way("IPv6 NAT", "[fd97:1::1]:80", "[fd97:2::2]:8081", [DOOR.1, SERVER.1, BEHIND.1]),
        way("mapped", "10.97.2.2:8084", "[::]:8084", [SERVER.0, SERVER.0, CLIENT.0]),
        way("UNIX", "SOCKET", "SOCKET", ["SOCKET", "SOCKET", ""]),
    ]
}

/// A network with its client and its server.
struct Side {
    name: String,
    socket: String,
    client: Program,
    server: Program,
    _namespaces: Namespaces,
}

/// Does it, on each hook that this kernel has.
pub fn network() -> Result<()> {
    let binary = build::binary()?;
    packages::ensure(packages::NETWORK)?;
    for hook in ["auto", "syscall-exit"] {
        println!("hook {hook}");
        on(&binary, hook)?;
    }
    Ok(())
}

fn on(binary: &Path, hook: &str) -> Result<()> {
    let folder = root().join("out/test-network");
    fs::create_dir_all(&folder)?;
    let mut sides = [side("a", &folder)?, side("b", &folder)?];
    for side in &mut sides {
        older(side)?;
    }
    let pids: Vec<u32> = sides.iter().flat_map(|s| [s.client.pid(), s.server.pid()]).collect();
    let config =
        format!("{LIMITS}[agents.trace]\npids = {pids:?}\n[agents.capture]\nhook = \"{hook}\"\n");
    let watcher = Watcher::start(binary, &folder, &config)?;
    for side in &mut sides {
        ask(side)?;
    }
    for side in &mut sides {
        side.client.say("wait")?;
    }
    let each = 2 * KEPT * REQUESTS + REQUESTS;
    let exchanges = sides.len() * ways().len() * each;
    watcher.settle(2 * exchanges)?;
    let spans = watcher.export()?;
    let mut wrong = Vec::new();
    for side in &sides {
        for way in ways() {
            let prefix = path(side, &way);
            let rows = rows(&spans, &format!("{prefix}/"));
            let good = check(side, &way, &rows, &mut wrong);
            println!("{:10} {good} of {each} exchanges joined, addresses right", prefix);
            if rows.len() != each {
                wrong.push(format!("{prefix}: {} paths of {each}", rows.len()));
            }
        }
    }
    if spans.len() != 2 * exchanges {
        wrong.push(format!("{} spans of {}", spans.len(), 2 * exchanges));
    }
    api(&watcher, &sides, exchanges, &mut wrong)?;
    if !wrong.is_empty() {
        println!("lost or given up: {}", watcher.losses()?);
    }
    watcher.stop()?;
    if let Some(first) = wrong.first() {
        bail!("{} things are wrong, the first: {first}", wrong.len());
    }
    Ok(())
}

fn side(name: &str, folder: &Path) -> Result<Side> {
    let namespaces = Namespaces::make()?;
    let socket = folder.join(format!("{name}.socket"));
    fs::remove_file(&socket).ok();
    let socket = socket.to_string_lossy().into_owned();
    let listeners: Vec<String> =
        ways().iter().map(|way| way.listener.replace("SOCKET", &socket)).collect();
    let mut arguments = vec!["serve"];
    arguments.extend(listeners.iter().map(String::as_str));
    let server = Program::start(&namespaces.in_server(), PYTHON, &arguments)?;
    let client = Program::client(&namespaces.in_client())?;
    Ok(Side { name: name.to_owned(), socket, client, server, _namespaces: namespaces })
}

fn path(side: &Side, way: &Way) -> String {
    format!("/{}/{}", side.name, way.name.replace(' ', "-"))
}

/// Opens the connections that are older than deeptrace, and uses them.
fn older(side: &mut Side) -> Result<()> {
    for (number, way) in ways().iter().enumerate() {
        let target = way.target.replace("SOCKET", &side.socket);
        for kept in 0..KEPT {
            let key = format!("{}-old-{kept}", number);
            let unix = way.name == "UNIX";
            let port = if unix { 0 } else { PORTS + number * KEPT + kept };
            side.client.say(&format!("open {key} {target} {port}"))?;
            side.client.say(&format!("ask {key} /before{} 0 5", path(side, way)))?;
        }
    }
    side.client.say("wait")?;
    Ok(())
}

/// Everything at once: the older connections, new ones that are kept, and new ones for each request.
fn ask(side: &mut Side) -> Result<()> {
    for (number, way) in ways().iter().enumerate() {
        let target = way.target.replace("SOCKET", &side.socket);
        let path = path(side, way);
        for kept in 0..KEPT {
            let (old, new) = (format!("{number}-old-{kept}"), format!("{number}-new-{kept}"));
            side.client.say(&format!("ask {old} {path} {} {REQUESTS}", kept * REQUESTS))?;
            side.client.say(&format!("open {new} {target} 0"))?;
            let first = (KEPT + kept) * REQUESTS;
            side.client.say(&format!("ask {new} {path} {first} {REQUESTS}"))?;
        }
        let first = 2 * KEPT * REQUESTS;
        side.client.say(&format!("each {target} {path} {first} {REQUESTS}"))?;
    }
    Ok(())
}

/// The client's spans and the server's of each path below `prefix`.
fn rows<'a>(spans: &'a [Value], prefix: &str) -> BTreeMap<String, [Vec<&'a Value>; 2]> {
    let mut rows: BTreeMap<String, [Vec<&Value>; 2]> = BTreeMap::new();
    for span in spans {
        let path = told(span, "url.path");
        if path.starts_with(prefix) {
            let side = usize::from(told(span, "kind") == "server");
            rows.entry(path).or_default()[side].push(span);
        }
    }
    rows
}

/// How many exchanges are as they must be.
fn check(
    side: &Side,
    way: &Way,
    rows: &BTreeMap<String, [Vec<&Value>; 2]>,
    wrong: &mut Vec<String>,
) -> usize {
    let before = wrong.len();
    for (path, ends) in rows {
        let [client, server] = ends;
        let (&[client], &[server]) = (client.as_slice(), server.as_slice()) else {
            wrong.push(format!(
                "{path}: {} client and {} server spans",
                client.len(),
                server.len()
            ));
            continue;
        };
        if let Some(problem) = exchange(side, way, client, server) {
            wrong.push(format!("{path}: {problem}\n{client}\n{server}"));
        }
    }
    rows.len() - (wrong.len() - before)
}

/// What is wrong with an exchange.
fn exchange(side: &Side, way: &Way, client: &Value, server: &Value) -> Option<String> {
    let own = |name: &str| name.replace("SOCKET", &side.socket);
    let [door, inside, behind] = way.seen.map(own);
    let client_port = told(client, "network.local.port");
    let mut expected = vec![
        (told(client, "parent_span_id"), String::new()),
        (told(server, "parent_span_id"), told(client, "span_id")),
        (told(server, "trace_id"), told(client, "trace_id")),
        (server["link"]["method"].as_str().unwrap_or_default().to_owned(), "connection".to_owned()),
        (told(client, "status"), "ok".to_owned()),
        (told(server, "status"), "ok".to_owned()),
        (told(client, "process.pid"), side.client.pid().to_string()),
        (told(server, "process.pid"), side.server.pid().to_string()),
        (told(client, "network.peer.address"), door),
        (told(server, "network.local.address"), inside),
        (told(server, "network.peer.address"), behind),
    ];
    if way.name != "UNIX" {
        let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
        expected.push((told(client, "network.peer.port"), port(&way.target)));
        expected.push((told(server, "network.local.port"), port(&way.listener)));
        let mapped: u32 = told(server, "network.peer.port").parse().unwrap_or_default();
        let translated = way.name.ends_with("NAT");
        if translated != ((30_000..31_000).contains(&mapped) && mapped.to_string() != client_port) {
            return Some(format!("the server sees port {mapped}, the client has {client_port}"));
        }
        if !translated {
            expected.push((mapped.to_string(), client_port));
        }
    }
    let odd = expected.into_iter().find(|(found, expected)| found != expected);
    odd.map(|(found, expected)| format!("{found:?} instead of {expected:?}"))
}

/// The same through the API: as many traces as exchanges, and one of each way as its two spans.
fn api(watcher: &Watcher, sides: &[Side], exchanges: usize, wrong: &mut Vec<String>) -> Result<()> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = watcher.server(&format!("/traces?limit=500&cursor={cursor}"))?;
        let traces = page["traces"].as_array().context("GET /traces has no traces")?;
        ids.extend(traces.iter().map(|trace| told(trace, "trace_id")));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    if ids.len() != exchanges {
        wrong.push(format!("GET /traces: {} traces of {exchanges}", ids.len()));
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    // Every seventh: of each way some, without asking for all.
    for id in ids.iter().step_by(7) {
        let trace = watcher.server(&format!("/traces/{id}"))?;
        let spans = trace["spans"].as_array().context("the trace has no spans")?;
        let paths: Vec<String> = spans.iter().map(|span| told(span, "url.path")).collect();
        if paths.len() != 2 || paths[0] != paths[1] {
            wrong.push(format!("GET /traces/{id}: {paths:?}"));
        }
        let way = paths.first().and_then(|path| path.rsplit_once('/')).unwrap_or_default().0;
        *seen.entry(way.to_owned()).or_default() += 1;
    }
    println!("API: {} traces, looked into: {seen:?}", ids.len());
    if seen.len() != sides.len() * ways().len() {
        wrong.push(format!("GET /traces/{{id}}: not every way was looked into: {seen:?}"));
    }
    Ok(())
}
