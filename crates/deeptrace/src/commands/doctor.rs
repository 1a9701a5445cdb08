//! `deeptrace doctor`: whether this host lets us work, and what to do where it does not.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Args;
use deeptrace_http::{BindError, Listener, ServerFiles, Tls, Token};
use deeptrace_server::config::Config;
use deeptrace_store::{Mode, StoreError};
use serde::Serialize;

use crate::Common;
use crate::client::Client;
use crate::output::Output;

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: sudo deeptrace doctor")]
pub struct Options {
    #[command(flatten)]
    output: Output,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Row {
    name: String,
    status: Health,
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Warn,
    Fail,
}

impl Row {
    fn new(name: &str, status: Health, detail: impl Into<String>, remedy: &str) -> Self {
        let (name, remedy) = (name.to_owned(), remedy.to_owned());
        Self { name, status, detail: detail.into(), remedy }
    }
}

/// Looks at everything; fails if something is in the way.
pub fn run(options: &Options, common: &Common) -> Result<()> {
    let mut rows = kernel();
    match common.load() {
        Ok(loaded) => {
            let file = loaded.file.as_ref().map_or_else(
                || "no file: the defaults".to_owned(),
                |file| file.display().to_string(),
            );
            rows.push(Row::new("configuration", Health::Ok, file, ""));
            rows.push(memory(loaded.agent.budget.memory_bytes));
            let listen = loaded.agent.listen;
            rows.push(port("agent port", listen, "--agent-port", || {
                api_port("agent port", answers(false, listen), listen, "--agent-port")
            }));
            rows.extend(evidence(listen));
            let listen = loaded.server.listen;
            let is_running = answers(loaded.server.tls.is_some(), listen);
            rows.push(port("server port", listen, "--port", || {
                api_port("server port", is_running, listen, "--port")
            }));
            let otlp = &loaded.server.otlp;
            for (name, address, key) in [
                ("OTLP gRPC port", otlp.grpc, "server.otlp.grpc_port"),
                ("OTLP HTTP port", otlp.http, "server.otlp.http_port"),
            ] {
                rows.extend(address.map(|address| {
                    port(name, address, key, || otlp_port(name, is_running, address, key))
                }));
            }
            rows.extend(loaded.server.tls.as_ref().map(tls));
            rows.push(store(&loaded.server, common));
        }
        Err(error) => {
            let remedy = "mend it; deeptrace config validate checks it";
            rows.push(Row::new("configuration", Health::Fail, error.to_string(), remedy));
        }
    }
    let failures = rows.iter().filter(|row| row.status == Health::Fail).count();
    options.output.print(&rows, |out, rows| {
        for row in rows {
            let mark = match row.status {
                Health::Ok => "ok  ",
                Health::Warn => "warn",
                Health::Fail => "FAIL",
            };
            writeln!(out, "{mark}  {}: {}", row.name, row.detail)?;
            if !row.remedy.is_empty() {
                writeln!(out, "      → {}", row.remedy)?;
            }
        }
        Ok(())
    })?;
    anyhow::ensure!(failures == 0, "{failures} of {} checks failed; see above", rows.len());
    Ok(())
}

#[cfg(feature = "live")]
fn kernel() -> Vec<Row> {
    use deeptrace_capture::live::{CheckStatus, checks};
    let row = |check: deeptrace_capture::live::Check| {
        let status = match check.status {
            CheckStatus::Ok => Health::Ok,
            CheckStatus::Warn => Health::Warn,
            CheckStatus::Fail => Health::Fail,
        };
        Row::new(check.name, status, check.detail, &check.remedy)
    };
    checks().into_iter().map(row).collect()
}

#[cfg(not(feature = "live"))]
fn kernel() -> Vec<Row> {
    let remedy = "use a build with the feature `live`";
    vec![Row::new("live capture", Health::Fail, "not part of this build", remedy)]
}

/// Whether the control group lets us use what `[agents.limits]` allows.
fn memory(limit: Option<u64>) -> Row {
    let name = "memory limit";
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let file = format!("/sys/fs/cgroup{path}/memory.max");
    let allowed = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    let mib = |bytes: u64| bytes >> 20;
    match (allowed, limit) {
        (Some(allowed), Some(limit)) if allowed < limit => Row::new(
            name,
            Health::Warn,
            format!("the control group allows {} MiB", mib(allowed)),
            "lower agents.limits.memory_mb below it, or raise it",
        ),
        (Some(allowed), _) => {
            let detail = format!("the control group allows {} MiB", mib(allowed));
            Row::new(name, Health::Ok, detail, "")
        }
        (None, _) => Row::new(name, Health::Ok, "none by the control group", ""),
    }
}

/// Whether a port is free; `taken` says what to think of one that is not.
fn port(name: &str, address: SocketAddr, option: &'static str, taken: impl FnOnce() -> Row) -> Row {
    match Listener::bind(address, option) {
        Ok(_) => Row::new(name, Health::Ok, format!("{address} is free"), ""),
        Err(BindError::InUse { .. }) => taken(),
        Err(error) => Row::new(name, Health::Fail, error.to_string(), ""),
    }
}

/// A port that is taken, by deeptrace or by another program.
fn api_port(name: &str, is_ours: bool, address: SocketAddr, option: &str) -> Row {
    if is_ours {
        return Row::new(name, Health::Ok, format!("deeptrace answers at {address}"), "");
    }
    let remedy = format!("stop it, or choose another port with {option}");
    Row::new(name, Health::Fail, format!("another program has {address}"), &remedy)
}

/// The same of a port for spans of SDKs, without which all else works.
fn otlp_port(name: &str, is_running: bool, address: SocketAddr, key: &str) -> Row {
    if is_running {
        return Row::new(name, Health::Ok, format!("{address} is in use, and deeptrace runs"), "");
    }
    let remedy = format!("stop it, or choose another port with {key} (0: none)");
    Row::new(name, Health::Warn, format!("another program has {address}"), &remedy)
}

/// Whether deeptrace is what listens there.
fn answers(is_tls: bool, address: SocketAddr) -> bool {
    let scheme = if is_tls { "https://" } else { "http://" };
    let client = Client::of_anybody(&format!("{scheme}{address}"));
    let health = client.get::<serde_json::Value>("/health", &[]);
    health.is_ok_and(|health| health["status"] == "ok")
}

/// Whether the files of `[server.tls]` can be used.
fn tls(files: &ServerFiles) -> Row {
    match Tls::read(files) {
        Ok(_) => Row::new("server TLS", Health::Ok, files.cert_file.display().to_string(), ""),
        Err(error) => Row::new("server TLS", Health::Fail, error.to_string(), "see docs/fleet.md"),
    }
}

/// Of the agent that runs, if one does: in which processes less can be observed than there is.
fn evidence(address: SocketAddr) -> Vec<Row> {
    let client = Client::of_anybody(&format!("http://{address}"));
    let query = [("limit", "1000".to_owned())];
    let Ok(answer) = client.get::<serde_json::Value>("/processes", &query) else {
        return Vec::new();
    };
    let processes = answer["processes"].as_array().map_or(&[][..], Vec::as_slice);
    let row = |process: &serde_json::Value| {
        let missing = process["evidence"]["missing"].as_array()?;
        let why: Vec<&str> = missing.iter().filter_map(|why| why.as_str()).collect();
        let (service, pid) = (process["service"].as_str()?, process["pid"].as_u64()?);
        let remedy =
            "calls that are not explained otherwise are inferred, or left without a parent";
        Some(Row::new(
            "evidence",
            Health::Warn,
            format!("{service} ({pid}): {}", why.join("; ")),
            remedy,
        ))
    };
    processes.iter().filter_map(row).collect()
}

/// Whether the data folder and the store can be used. A folder that is not there is not made.
fn store(config: &Config, common: &Common) -> Row {
    let name = "store";
    let folder = common.data_dir.display();
    let has_token = Token::path(&common.data_dir).exists();
    if has_token && let Err(error) = Token::open(&common.data_dir) {
        return Row::new(name, Health::Fail, error.to_string(), "");
    }
    let options = config.store_options(&common.data_dir);
    let place = match config.elasticsearch.hosts.as_slice() {
        hosts if config.backend == "elasticsearch" => hosts.join(", "),
        _ if !common.data_dir.exists() => {
            let detail = format!("{folder} will be made by the first start");
            return Row::new(name, Health::Ok, detail, "");
        }
        _ => folder.to_string(),
    };
    let stats = deeptrace_store::open(config.backend, &options, Mode::Read)
        .and_then(|store| Ok((store.stats()?, store.health()?)));
    match stats {
        Ok((stats, cluster)) => {
            let is_red = cluster.as_ref().is_some_and(|cluster| cluster.status == "red");
            let cluster = cluster.map(|it| format!(", cluster {} is {}", it.name, it.status));
            let (spans, mib) = (stats.spans, stats.bytes >> 20);
            let detail =
                format!("{place}: {spans} spans, {mib} MiB{}", cluster.unwrap_or_default());
            let health = if is_red { Health::Warn } else { Health::Ok };
            Row::new(name, health, detail, "")
        }
        Err(StoreError::Absent { .. }) => {
            Row::new(name, Health::Ok, format!("{place} holds no spans yet"), "")
        }
        Err(error) => Row::new(name, Health::Fail, error.to_string(), ""),
    }
}
