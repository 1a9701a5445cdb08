//! `openapi`: schemathesis makes requests of what `/openapi.json` of a real server says, right ones and wrong
//! ones, and holds every answer to it: no 500, no status or type that is not documented, no body that is
//! not as its schema.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::program::{PYTHON, Program};
use super::watcher::{LIMITS, Watcher};
use crate::child::{free_ports, succeed};
use crate::servers::python;
use crate::{build, root};

/// Left out: that what fits a schema is taken. Times and durations are texts with a grammar of their own.
const LEFT_OUT: &str = "positive_data_acceptance";
/// Requests of each operation and kind.
const EXAMPLES: &str = "60";
/// The same requests in every run.
const SEED: &str = "1";

/// Does it.
pub fn openapi() -> Result<()> {
    let environment = python::environment("venv-openapi", "requirements-openapi.txt")?;
    let binary = build::binary()?;
    let folder = root().join("out/test-openapi");
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    let [port] = free_ports()?;
    let server = format!("127.0.0.1:{port}");
    let program = Program::start(&[], PYTHON, &["serve", &server])?;
    let mut client = Program::client(&[])?;
    let pids = format!("[agents.trace]\npids = [{}, {}]\n", program.pid(), client.pid());
    let watcher = Watcher::start(&binary, &folder, &format!("{LIMITS}{pids}"))?;
    for _ in 0..10 {
        client.say(&format!("get {server} /ok"))?;
        client.say(&format!("get {server} /fail"))?;
    }
    watcher.settle(40)?;
    let token = fs::read_to_string(folder.join("data/token")).context("the token is not there")?;
    let mut command = Command::new(environment.join("bin/schemathesis"));
    command.arg("run").arg(format!("http://127.0.0.1:{}/openapi.json", watcher.ports().0));
    command.args(["--checks", "all", "--exclude-checks", LEFT_OUT]);
    command.args(["--max-examples", EXAMPLES, "--seed", SEED, "--generation-deterministic"]);
    // A WebSocket is no request with an answer, and a poll waits for one.
    command.args(["--exclude-path-regex", "^/ws/|/orders$", "--request-timeout", "30"]);
    command.arg("--header").arg(format!("Authorization: Bearer {}", token.trim()));
    succeed(command.current_dir(&folder).env("NO_COLOR", "1"))?;
    watcher.stop()
}
