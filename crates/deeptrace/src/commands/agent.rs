//! `deeptrace agent …`: runs the agent, or asks a running one.

use std::io::Write;

use anyhow::Result;
use clap::{Args, Subcommand};
use deeptrace_agent::control::{TlsLibrary, Watched};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::run::{self, Roles};
use crate::client::{Client, Method};
use crate::output::{Output, plain, table};
use crate::{Common, arguments};

/// Where the agent listens when nobody says.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7899";

/// What can be done with an agent.
#[derive(Subcommand)]
pub enum Command {
    /// Capture and correlation only; its API keeps the latest spans
    #[command(after_help = "Example: sudo deeptrace agent run --port 7899")]
    Run(RunOptions),
    /// How a running agent is
    #[command(after_help = "Example: deeptrace agent status --format json")]
    Status(Target),
    /// End a running agent
    #[command(after_help = "Example: sudo deeptrace agent stop")]
    Stop(Target),
    /// What is watched, and which rule has it watched
    #[command(after_help = "Example: deeptrace agent list-processes")]
    ListProcesses(Target),
    /// Watch a process and its children from now on
    #[command(after_help = "Example: sudo deeptrace agent add-process --pid 1234")]
    AddProcess(OneProcess),
    /// Do not watch a process any more
    #[command(after_help = "Example: sudo deeptrace agent remove-process --pid 1234")]
    RemoveProcess(OneProcess),
}

/// Options of `agent run`.
#[derive(Args)]
pub struct RunOptions {
    /// Port of its API [default: 7899]
    #[arg(long)]
    port: Option<u16>,
    /// Address of its API [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

/// The running agent, and how its answer is printed.
#[derive(Args)]
pub struct Target {
    /// The agent
    #[arg(long, value_name = "URL", value_parser = arguments::url, default_value = DEFAULT_URL)]
    agent: String,
    #[command(flatten)]
    output: Output,
}

/// A process of a running agent.
#[derive(Args)]
pub struct OneProcess {
    /// Its id
    #[arg(long)]
    pid: u32,
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub fn run(command: Command, common: &Common) -> Result<()> {
    match command {
        Command::Run(options) => {
            let mut loader = run::loader(common);
            loader.argument("agents.port", "--port", options.port);
            loader.argument("agents.host", "--listen", options.listen);
            run::start(loader, common, Roles { agent: true, server: false, log_spans: false })
        }
        Command::Status(target) => {
            let status: Value = target.client(common)?.get("/status", &[])?;
            target.output.print(&status, print_status)
        }
        Command::Stop(target) => {
            let client = target.client(common)?;
            let stopping: Value = client.send(Method::Post, "/shutdown", &Value::Null)?;
            target.output.print(&stopping, |out, stopping| {
                writeln!(out, "the agent (process {}) is stopping", stopping["pid"])
            })
        }
        Command::ListProcesses(target) => list(&target, common),
        Command::AddProcess(OneProcess { pid, target }) => {
            let body = json!({"pid": pid});
            let added: Value = target.client(common)?.send(Method::Post, "/processes", &body)?;
            target.output.print(&added, |out, _| writeln!(out, "process {pid} is watched"))
        }
        Command::RemoveProcess(OneProcess { pid, target }) => {
            let removed: Value = target.client(common)?.delete(&format!("/processes/{pid}"))?;
            target
                .output
                .print(&removed, |out, _| writeln!(out, "process {pid} is not watched any more"))
        }
    }
}

impl Target {
    fn client(&self, common: &Common) -> Result<Client> {
        Client::new(&self.agent, common)
    }
}

/// A page of `GET /processes`.
#[derive(Serialize, Deserialize)]
struct Processes {
    processes: Vec<Watched>,
    next_cursor: Option<String>,
}

fn list(target: &Target, common: &Common) -> Result<()> {
    let client = target.client(common)?;
    let mut all: Vec<Watched> = Vec::new();
    let mut cursor = None;
    loop {
        let mut query = vec![("limit", "1000".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: Processes = client.get("/processes", &query)?;
        all.extend(page.processes);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    target.output.print(&all, |out, all| {
        let row = |p: &Watched| {
            vec![
                p.pid.to_string(),
                plain(&p.comm),
                plain(&p.service),
                p.service_source.clone(),
                p.watched_by.clone(),
                p.tls.iter().map(tls).collect::<Vec<_>>().join("; "),
                p.evidence.as_ref().map(|found| found.kinds.join(", ")).unwrap_or_default(),
            ]
        };
        let cells: Vec<Vec<String>> = all.iter().map(row).collect();
        let heads = ["PID", "NAME", "SERVICE", "NAMED BY", "WATCHED BY", "TLS", "EVIDENCE"];
        table(out, &heads, &cells)
    })
}

/// A library, whether its plaintext is seen, and why not.
fn tls(found: &TlsLibrary) -> String {
    let seen = if found.plaintext { "plaintext" } else { "no plaintext" };
    match found.detail.as_str() {
        "" => format!("{}: {seen}", found.library),
        detail => format!("{}: {seen} ({detail})", found.library),
    }
}

/// The report first, then every counter that is not zero.
fn print_status(out: &mut dyn Write, status: &Value) -> std::io::Result<()> {
    let table = status.as_object().into_iter().flatten();
    for (name, value) in table.filter(|(_, value)| !value.is_object()) {
        let text = value.as_str().map_or_else(|| value.to_string(), plain);
        writeln!(out, "{name}: {text}")?;
    }
    for (name, value) in status["counters"].as_object().into_iter().flatten() {
        if value.as_u64() != Some(0) {
            writeln!(out, "  {name}: {value}")?;
        }
    }
    Ok(())
}
