//! `tls`: HTTPS between real servers and clients, each with its own TLS library, without keys. Half of the
//! connections are older than deeptrace. Each exchange must be seen once on each side, joined to the other
//! and to nothing else, with the sizes of its plaintext. The number in each path is the truth.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::program::{PYTHON, Program};
use super::watcher::{LIMITS, Watcher, told};
use crate::certificate::Certificate;
use crate::child::{self, Kept};
use crate::{build, packages, root};

/// Requests on an older connection, and on a newer one.
const REQUESTS: usize = 10;
/// Bytes of answers, and of a header of the requests: in one record, and in several.
const SIZES: [usize; 5] = [0, 90, 5_000, 16_500, 70_000];
const FILLS: [usize; 4] = [0, 300, 36, 2_000];

/// How often it is killed under load.
const KILLS: usize = 5;

/// Starts programs that are watched as its children from their first moment.
const SHELL: &str = "echo ok; while read -r line; do $line && echo ok || echo failed; done";

/// Clients that ask once and end: OpenSSL with HTTP/1.1 and HTTP/2, and GnuTLS.
const ONCE: [(&str, &str); 3] = [
    ("curl", "curl --silent --show-error --http1.1 --output /dev/null --cacert CERTIFICATE"),
    ("curl2", "curl --silent --show-error --http2 --output /dev/null --cacert CERTIFICATE"),
    ("wget", "wget --quiet --output-document /dev/null --ca-certificate CERTIFICATE"),
];

/// What speaks: its name, and its words before the role.
struct Peer {
    name: &'static str,
    words: Vec<String>,
    /// The role of its client; none where it is a server only.
    ask: Option<&'static str>,
    serves: bool,
}

struct Bench {
    folder: PathBuf,
    certificate: String,
    key: String,
}

/// A client with the server it talks to.
struct Pair {
    name: String,
    client: Program,
}

/// Does it with those clients of which every exchange is seen.
pub fn tls() -> Result<()> {
    run(|client| !client.starts_with("go") && client != "wget")
}

/// Does it with all: clients in Go on older connections, and a GnuTLS that lives for milliseconds, too.
pub fn all() -> Result<()> {
    run(|_| true)
}

fn run(is_meant: impl Fn(&str) -> bool) -> Result<()> {
    let binary = build::binary()?;
    let bench = Bench::make()?;
    let peers = bench.peers()?;
    let (mut servers, mut ports) = (Vec::new(), BTreeMap::new());
    for (number, peer) in peers.iter().filter(|peer| peer.serves).enumerate() {
        let port = (29_310 + number).to_string();
        let arguments = ["serve", &port, &bench.certificate, &bench.key];
        servers.push(Program::run(&mut bench.command(peer, &arguments))?);
        ports.insert(peer.name, port);
    }
    let nginx = bench.nginx("29300")?;
    ports.insert("nginx", "29300".to_owned());
    let mut shell = Program::run(Command::new("sh").args(["-c", SHELL]))?;
    let mut pairs = Vec::new();
    for peer in &peers {
        let Some(role) = peer.ask.filter(|_| is_meant(peer.name)) else { continue };
        for (server, port) in &ports {
            let arguments = [role, port.as_str(), &bench.certificate];
            let client = Program::run(&mut bench.command(peer, &arguments))?;
            pairs.push(Pair { name: format!("{}-{server}", peer.name), client });
        }
    }
    for pair in &mut pairs {
        pair.client.say("open old")?;
        pair.client.say("get old /before/10 0")?;
    }
    let pids = servers.iter().map(Program::pid).chain(pairs.iter().map(|pair| pair.client.pid()));
    let pids: Vec<u32> = pids.chain([nginx.pid(), shell.pid()]).collect();
    let config = format!("{LIMITS}[agents.trace]\npids = {pids:?}\n");
    let watcher = Watcher::start(&binary, &bench.folder, &config)?;
    watcher.reads_tls_of(&pids[..pids.len() - 1])?;
    // Who waits inside of a call is not seen to begin it: what that call reads is lost, and a loss makes
    // parsers careful until nothing was under way for a second.
    for pair in &mut pairs {
        pair.client.say("get old /before/10 0")?;
    }
    std::thread::sleep(Duration::from_millis(1500));
    for pair in &mut pairs {
        pair.ask("old", 0)?;
        pair.client.say("open new")?;
        pair.ask("new", REQUESTS)?;
    }
    let once: Vec<_> = ONCE.iter().filter(|(name, _)| is_meant(name)).collect();
    bench.once(&mut shell, &ports, &once)?;
    let asked_once = once.len() * REQUESTS * ports.len();
    let count = 2 * (2 * REQUESTS * pairs.len() + asked_once);
    watcher.settle(count + pairs.len())?;
    let spans = watcher.export()?;
    let mut wrong = Vec::new();
    let names = pairs.iter().map(|pair| (pair.name.clone(), 2 * REQUESTS));
    let of_once = once.iter().flat_map(|(name, _)| {
        ports.keys().map(move |server| (format!("{name}-{server}"), REQUESTS))
    });
    for (name, expected) in names.chain(of_once) {
        check(&spans, &name, expected, &mut wrong);
    }
    let is_asked =
        |span: &&Value| told(span, "protocol") != "tls" && told(span, "url.path") != "/before/10";
    let http = spans.iter().filter(is_asked).count();
    if http != count {
        wrong.push(format!("{http} spans under TLS of {count}"));
    }
    wrong.iter().take(10).for_each(|what| println!("{what}"));
    if !wrong.is_empty() {
        println!("lost or given up: {}", watcher.losses()?);
    }
    watcher.stop()?;
    if let Some(first) = wrong.first() {
        bail!("{} things are wrong, the first: {first}", wrong.len());
    }
    survive(|| Watcher::start(&binary, &bench.folder, &config), &mut pairs)
}

/// Deeptrace is killed under load, again and again: no application may notice.
fn survive(start: impl Fn() -> Result<Watcher>, pairs: &mut [Pair]) -> Result<()> {
    let over = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let load = scope.spawn(|| -> Result<usize> {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                for pair in pairs.iter_mut() {
                    pair.client
                        .say("get new /load/16500 300")
                        .with_context(|| pair.name.clone())?;
                    count += 1;
                }
            }
            Ok(count)
        });
        let killed = (0..KILLS).try_for_each(|_| {
            let watcher = start()?;
            std::thread::sleep(Duration::from_millis(700));
            watcher.kill()
        });
        over.store(true, Ordering::Relaxed);
        let count = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))?;
        killed.and(count)
    })?;
    println!("{count} requests answered while deeptrace was killed {KILLS} times");
    Ok(())
}

/// A path that tells its pair, its number and the size of its answer.
fn path(name: &str, number: usize) -> String {
    format!("/{name}/{number}/{}", SIZES[number % SIZES.len()])
}

impl Pair {
    fn ask(&mut self, connection: &str, first: usize) -> Result<()> {
        for number in first..first + REQUESTS {
            let fill = FILLS[number % FILLS.len()];
            let path = path(&self.name, number);
            self.client
                .say(&format!("get {connection} {path} {fill}"))
                .with_context(|| self.name.clone())?;
        }
        Ok(())
    }
}

/// Holds the spans of a pair to what was asked.
fn check(spans: &[Value], name: &str, expected: usize, wrong: &mut Vec<String>) {
    let before = wrong.len();
    for number in 0..expected {
        let path = path(name, number);
        let size = SIZES[number % SIZES.len()] as u64;
        let of = |kind: &str| -> Vec<&Value> {
            let all = spans.iter().filter(|span| told(span, "url.path") == path);
            all.filter(|span| told(span, "kind") == kind).collect()
        };
        let (clients, servers) = (of("client"), of("server"));
        let (&[client], &[server]) = (clients.as_slice(), servers.as_slice()) else {
            let (clients, servers) = (clients.len(), servers.len());
            wrong.push(format!("{path}: {clients} client and {servers} server spans"));
            continue;
        };
        if server["parent_span_id"] != client["span_id"] {
            wrong.push(format!("{path}: the server's parent is {}", server["parent_span_id"]));
        }
        let sizes =
            |span: &Value| [&span["request_size"], &span["response_size"]].map(Value::as_u64);
        // curl does not read a last frame that is empty: nine bytes of HTTP/2.
        let read_less =
            sizes(server)[1].zip(sizes(client)[1]).map(|(all, read)| all.wrapping_sub(read));
        let is_curl = name.starts_with("curl2") && read_less == Some(9);
        let agree = sizes(client) == sizes(server) || is_curl;
        if !agree || sizes(client)[1] < Some(size) {
            wrong.push(format!("{path}: sizes {:?} and {:?}", sizes(client), sizes(server)));
        }
        for span in [client, server] {
            if told(span, "url.scheme") != "https" || told(span, "tls.protocol.name") != "tls" {
                wrong.push(format!("{path}: does not say that it is under TLS"));
            }
        }
    }
    println!(
        "{name:24} {} of {expected} exchanges right",
        expected.saturating_sub(wrong.len() - before)
    );
}

impl Bench {
    fn make() -> Result<Self> {
        packages::ensure(packages::TLS)?;
        for (program, package) in [("node", "nodejs"), ("go", "golang-go")] {
            // Whoever has another one has chosen it.
            let found = Command::new("which").arg(program).stdout(Stdio::null()).status()?;
            if !found.success() {
                packages::ensure(&[package])?;
            }
        }
        let folder = root().join("out/test-tls");
        fs::create_dir_all(&folder)?;
        let Certificate { certificate, key } = Certificate::make(&folder)?;
        for size in SIZES {
            fs::create_dir_all(folder.join("files"))?;
            fs::write(folder.join(format!("files/{size}")), "x".repeat(size))?;
        }
        Ok(Self { folder, certificate, key })
    }

    fn peers(&self) -> Result<Vec<Peer>> {
        let source = |name: &str| {
            root().join("xtask/src/test/tls").join(name).to_string_lossy().into_owned()
        };
        let python = |name, kind: &str| {
            let words = vec![PYTHON.to_owned(), source("peer.py"), kind.to_owned()];
            Peer { name, words, ask: Some("ask"), serves: true }
        };
        let node = vec!["node".to_owned(), source("peer.js")];
        let (whole, stripped) =
            (self.build_go(&source("peer.go"), "")?, self.build_go(&source("peer.go"), "-s -w")?);
        let go = |name, program: &str, ask, serves| Peer {
            name,
            words: vec![program.to_owned()],
            ask: Some(ask),
            serves,
        };
        Ok(vec![
            python("blocking", "blocking"),
            python("asyncio", "asyncio"),
            Peer { name: "node", words: node, ask: Some("ask"), serves: true },
            go("go", &whole, "ask", true),
            go("go-stripped", &stripped, "ask1", true),
        ])
    }

    fn build_go(&self, source: &str, linker: &str) -> Result<String> {
        let name = if linker.is_empty() { "peer-go" } else { "peer-go-stripped" };
        let program = self.folder.join(name).to_string_lossy().into_owned();
        let mut build = Command::new("go");
        build.args(["build", "-ldflags", linker, "-o", &program, source]);
        child::succeed(build.env("CGO_ENABLED", "0"))?;
        Ok(program)
    }

    fn command(&self, peer: &Peer, arguments: &[&str]) -> Command {
        let mut command = Command::new(&peer.words[0]);
        command.args(&peer.words[1..]).args(arguments);
        command
    }

    fn nginx(&self, port: &str) -> Result<Kept> {
        let folder = self.folder.display();
        let (certificate, key) = (&self.certificate, &self.key);
        let text = format!(
            "daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;\n\
             events {{}}\n\
             http {{ access_log off; keepalive_requests 100000; keepalive_timeout 600;\n\
             server {{ listen 127.0.0.1:{port} ssl http2; root {folder};\n\
             ssl_certificate {certificate}; ssl_certificate_key {key};\n\
             location / {{ rewrite ^/.*/([0-9]+)$ /files/$1 break; }} }} }}\n"
        );
        let file = self.folder.join("nginx.conf");
        fs::write(&file, text)?;
        Kept::start("nginx", Command::new("nginx").arg("-c").arg(&file))
    }

    /// Each request by a process of its own.
    fn once(
        &self,
        shell: &mut Program,
        ports: &BTreeMap<&str, String>,
        clients: &[&(&str, &str)],
    ) -> Result<()> {
        for (client, command) in clients {
            for (server, port) in ports {
                for number in 0..REQUESTS {
                    let path = path(&format!("{client}-{server}"), number);
                    let command = command.replace("CERTIFICATE", &self.certificate);
                    shell.say(&format!("{command} https://localhost:{port}{path}"))?;
                }
            }
        }
        Ok(())
    }
}
