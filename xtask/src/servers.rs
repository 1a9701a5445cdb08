//! `./x servers`: real servers with real clients, watched as a user would watch them. Each client writes
//! down what it did (`truth.rs`); the spans of both sides are held to that (`check.rs`).
//!
//! A server is one file and one line in [`TABLE`].

mod activemq;
mod brokers;
mod check;
mod client;
mod directories;
mod dubbo;
mod grpc;
mod http2;
mod jvm;
mod mariadb;
mod memcached;
mod nginx;
mod opensmtpd;
mod php;
mod postgresql;
pub mod python;
mod pythons;
pub mod record;
mod redis;
mod rocketmq;
mod session;
pub mod setting;
mod sofarpc;
mod tars;
pub mod tools;
mod truth;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::child::Kept;
use crate::test::Skipped;
use crate::test::watcher::{LIMITS, Watcher};
use crate::{build, packages, root};
use check::Verdict;
use client::Client;
use setting::Setting;

/// A real server, with a real client.
pub struct Server {
    /// Its name, and the client's where one server has several.
    name: &'static str,
    /// What it speaks: the name in the table of protocols.
    protocol: &'static str,
    /// Debian packages that it needs.
    packages: &'static [&'static str],
    /// The folder in `xtask/servers/java` that it is built from.
    maven: Option<&'static str>,
    /// Whether it takes too long for every run.
    long: bool,
    /// Starts it; it must serve `setting.port`.
    start: fn(&Setting) -> Result<Vec<Kept>>,
    /// The client; what `truth.py` says of its arguments is added.
    client: fn(&Setting) -> Result<Command>,
    /// Under TLS, and of which sides the plaintext is seen.
    tls: Option<Tls>,
    /// How names of spans begin that come by themselves, as heartbeats do: neither demanded nor counted as
    /// invented.
    background: &'static [&'static str],
}

/// What most have.
const SERVER: Server = Server {
    name: "",
    protocol: "",
    packages: &[],
    maven: None,
    long: false,
    start: |_| bail!("it cannot be started"),
    client: |_| bail!("it has no client"),
    tls: None,
    background: &[],
};

/// Whose plaintext is seen under TLS.
#[derive(Clone, Copy, PartialEq)]
enum Tls {
    /// The client's and the server's.
    Both,
    /// The client's: the server's library is none that is read.
    Client,
}

/// All, by kind.
const TABLE: &[Server] = &[
    nginx::SERVER,
    http2::NGINX,
    http2::HAPROXY,
    http2::CADDY,
    http2::TLS,
    http2::C_TLS,
    http2::GNUTLS,
    grpc::PYTHON,
    grpc::GO,
    grpc::NODE,
    grpc::GO_TLS,
    grpc::NODE_TLS,
    redis::SERVER,
    redis::TLS,
    redis::NODE_TLS,
    redis::C_TLS,
    memcached::SERVER,
    postgresql::SERVER,
    postgresql::TLS,
    postgresql::NODE_TLS,
    postgresql::C_TLS,
    mariadb::SERVER,
    mariadb::TLS,
    mariadb::NODE_TLS,
    mariadb::C_TLS,
    brokers::MOSQUITTO,
    brokers::MOSQUITTO_TLS,
    brokers::NATS,
    brokers::RABBITMQ,
    brokers::RABBITMQ_TLS,
    brokers::RABBITMQ_NODE_TLS,
    brokers::RABBITMQ_C_TLS,
    brokers::RABBITMQ_STOMP,
    directories::ZOOKEEPER,
    directories::SLAPD,
    directories::BIND,
    opensmtpd::SERVER,
    php::SERVER,
    pythons::THRIFT,
    pythons::THRIFT_FRAMED,
    pythons::ZMTP,
    pythons::WEBSOCKET,
    jvm::MONGO,
    jvm::KAFKA,
    jvm::KAFKA_CONSUMER,
    jvm::CASSANDRA,
    activemq::OPENWIRE,
    activemq::OPENWIRE_LOOSE,
    activemq::AMQP,
    activemq::STOMP,
    dubbo::HESSIAN,
    dubbo::FASTJSON,
    rocketmq::SERVER,
    sofarpc::SERVER,
    tars::SERVER,
];

/// Which servers.
#[derive(clap::Args)]
pub struct Options {
    /// Servers by name; all if none is named
    #[arg(value_name = "SERVER")]
    names: Vec<String>,
    /// Watch with this program instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// `./x servers`.
pub fn servers(options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("watching other processes needs root: run 'sudo ./x servers'");
    }
    for name in &options.names {
        if !TABLE.iter().any(|server| server.name == name) {
            let names: Vec<&str> = TABLE.iter().map(|server| server.name).collect();
            bail!("there is no server {name:?}; there are {}", names.join(", "));
        }
    }
    let binary = options.binary.clone().map_or_else(build::binary, Ok)?;
    let is_named = |server: &Server| options.names.iter().any(|name| name == server.name);
    test(&binary, |server| options.names.is_empty() || is_named(server))
}

/// The servers that start in seconds.
pub fn core() -> Result<()> {
    test(&build::binary()?, |server| !server.long)
}

/// The others.
pub fn long() -> Result<()> {
    test(&build::binary()?, |server| server.long)
}

/// What became of a server's test.
enum Outcome {
    Done(Box<Verdict>),
    /// It is not to be had on this machine.
    Missing(String),
    Failed(String),
}

fn test(binary: &Path, is_meant: impl Fn(&Server) -> bool) -> Result<()> {
    let mut rows = Vec::new();
    for server in TABLE.iter().filter(|server| is_meant(server)) {
        eprintln!("x: server {}", server.name);
        let begun = Instant::now();
        let outcome = match prepare(server) {
            Err(error) => Outcome::Missing(format!("{error:#}")),
            Ok(setting) => match one(server, &setting, binary) {
                Ok(verdict) => Outcome::Done(Box::new(verdict)),
                Err(error) => Outcome::Failed(format!("{error:#}")),
            },
        };
        rows.push((server, outcome, begun.elapsed().as_secs()));
    }
    println!("\n{}", check::TITLES);
    let (mut failed, mut missing) = (Vec::new(), Vec::new());
    for (server, outcome, seconds) in &rows {
        let told = match outcome {
            Outcome::Done(verdict) => verdict.to_string(),
            Outcome::Missing(why) => format!("NOT TO BE HAD: {why}"),
            Outcome::Failed(why) => format!("FAILED: {why}"),
        };
        println!("{:14} {:10} {seconds:4} {told}", server.name, server.protocol);
        match outcome {
            Outcome::Done(verdict) if verdict.wrong.is_empty() => {}
            Outcome::Missing(_) => missing.push(server.name),
            _ => failed.push(server.name),
        }
    }
    println!("{} servers, of which failed: {failed:?}, not to be had: {missing:?}", rows.len());
    if !failed.is_empty() {
        bail!("{} of {} servers: {}", failed.len(), rows.len(), failed.join(", "));
    }
    if !missing.is_empty() {
        let because = format!("not to be had: {}; the others passed", missing.join(", "));
        return Err(Skipped::because(&because));
    }
    Ok(())
}

/// Installs what a server and its client need.
fn prepare(server: &Server) -> Result<Setting> {
    packages::ensure(server.packages)?;
    python::ensure()?;
    Setting::new(&root().join("out/servers").join(server.name))
}

fn one(server: &Server, setting: &Setting, binary: &Path) -> Result<Verdict> {
    let kept = (server.start)(setting)?;
    setting.serves().with_context(|| format!("see {}", setting.log().display()))?;
    let mut command = (server.client)(setting)?;
    if server.tls.is_some() {
        command.args(["--tls", &setting.path("cert.pem")]);
    }
    let mut client = Client::start(command, setting)?;
    let pids: Vec<u32> = kept.iter().map(Kept::pid).chain([client.pid()]).collect();
    let config = format!("{LIMITS}[agents.trace]\npids = {pids:?}\n");
    let watcher = Watcher::start(binary, &setting.folder.join("watcher"), &config)?;
    match server.tls {
        Some(Tls::Both) => watcher.reads_tls_of(&pids)?,
        Some(Tls::Client) => watcher.reads_tls_of(&[client.pid()])?,
        None => {}
    }
    let calls = client.go()?;
    watcher.settle(check::sides(server).len() * calls.len())?;
    let spans = watcher.export()?;
    std::fs::write(setting.folder.join("spans.json"), serde_json::to_string_pretty(&spans)?)?;
    let verdict = check::check(server, client.pid(), &calls, &spans);
    if !verdict.wrong.is_empty() {
        println!("{}: lost or given up: {}", server.name, watcher.losses()?);
        verdict.wrong.iter().take(12).for_each(|wrong| println!("  {wrong}"));
    }
    watcher.stop()?;
    client.stop()?;
    kept.into_iter().try_for_each(|mut kept| kept.stop(setting::PATIENCE))?;
    Ok(verdict)
}
