//! The protocol on real sockets, traced live by the program that embeds DeepTrace. Needs root; says
//! SKIPPED elsewhere.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use deeptrace_capture::live::{CheckStatus, checks};
use serde_json::Value;

const DEEPTRACE: &str = env!("CARGO_BIN_EXE_deeptrace-tally");

/// A program, ended when this is dropped.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a line before it ends").unwrap()
    }

    fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        assert_eq!(self.line(), "ok", "{line}");
    }
}

fn deeptrace(folder: &Path) -> Program {
    let written = folder.join("deeptrace.toml");
    let watched = "[agents.trace]\ninclude_processes = [\"tally-server\", \"tally-client\"]\n\
                   [agents.limits]\ncpu_percent = 100\n";
    std::fs::write(&written, watched).unwrap();
    let mut command = Command::new(DEEPTRACE);
    command.args(["run", "--port", "0", "--agent-port", "0", "--config"]).arg(&written);
    let mut program = Program::start(command.arg("--data-dir").arg(folder.join("data")));
    while !program.line().contains("agent API at") {}
    program
}

fn export(folder: &Path) -> Vec<Value> {
    let mut command = Command::new(DEEPTRACE);
    command.args(["export", "--format", "json", "--output", "-", "--data-dir"]);
    let out = command.arg(folder.join("data")).output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_default()
}

const ROUNDS: usize = 25;
const CONNECTIONS: usize = 4;

#[test]
fn every_call_is_a_span_on_both_sides() {
    if let Some(check) = checks().iter().find(|check| check.status == CheckStatus::Fail) {
        eprintln!("SKIPPED: tally, live: {}; {}", check.detail, check.remedy);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut server = Program::start(Command::new(env!("CARGO_BIN_EXE_tally-server")).arg("0"));
    let port = server.line();
    let mut client = Program::start(Command::new(env!("CARGO_BIN_EXE_tally-client")).arg(port));
    // Half of the connections are older than the agent, and have been used.
    (0..CONNECTIONS / 2).for_each(|_| client.say("open"));
    client.say("call 1");
    let _deeptrace = deeptrace(folder.path());
    (0..CONNECTIONS / 2).for_each(|_| client.say("open"));
    client.say(&format!("call {ROUNDS}"));

    let rounds = ROUNDS * CONNECTIONS;
    let begun = Instant::now();
    while export(folder.path()).len() < rounds * 10 && begun.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(200));
    }
    // More than there were would be as wrong.
    std::thread::sleep(Duration::from_millis(1500));
    let mut counts = BTreeMap::<String, usize>::new();
    for span in export(folder.path()) {
        let text = |key: &str| span[key].as_str().unwrap_or("-").to_owned();
        let name = span["attributes"]["tally.name"].as_str().unwrap_or("-").to_owned();
        let what = name.split(' ').next().unwrap_or_default().to_owned();
        let fields = [text("protocol"), text("kind"), text("name"), what, text("status")];
        *counts.entry(fields.join(" ")).or_default() += 1;
        if span["name"] == "ADD" {
            // 16 bytes of head, the trace context, and the body.
            let body = 1 + name.len() + 8;
            assert_eq!(span["request_size"], 16 + 55 + body, "{span}");
            assert_eq!(span["response_size"], 16 + 8, "{span}");
        }
        if span["status"] == "error" {
            assert_eq!(span["attributes"]["error.type"], "404", "{span}");
            assert_eq!(span["status_message"], format!("no tally of {name}"), "{span}");
        }
    }
    let expected = [
        ("tally client ADD tea ok", rounds),
        ("tally client GET nothing error", rounds),
        ("tally client GET slow error", rounds),
        ("tally client GET tea ok", rounds),
        ("tally consumer NOTE tea ok", rounds),
        ("tally producer NOTE tea ok", rounds),
        ("tally server ADD tea ok", rounds),
        ("tally server GET nothing error", rounds),
        ("tally server GET slow error", rounds),
        ("tally server GET tea ok", rounds),
    ];
    let expected = expected.map(|(what, count)| (what.to_owned(), count));
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn the_protocol_is_listed() {
    let out = Command::new(DEEPTRACE).args(["protocols", "--format", "json"]).output().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    assert!(rows.iter().any(|row| row["name"] == "tally"), "{rows:?}");
}
