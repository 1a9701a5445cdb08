//! `processes`: what is watched, changed while it runs: by hand, and by rules in the configuration, each
//! for processes that were there before and for children that come later.

use std::fs;

use anyhow::{Result, bail};
use serde_json::json;

use super::program::Program;
use super::watcher::{LIMITS, Watcher};
use super::witness::{Witness, named};
use crate::{build, root};

/// Where the servers listen: two programs, children of the first.
const ALPHA: &str = "127.0.0.1:19210";
const BETA: &str = "127.0.0.1:19211";
const OLDER: &str = "127.0.0.1:19212";
const FORKED: &str = "127.0.0.1:19213";
const STARTED: &str = "127.0.0.1:19214";
const LATER: &str = "127.0.0.1:19215";
/// A child of the second.
const OTHER: &str = "127.0.0.1:19209";
/// Two more programs, and children of the second.
const EXCLUDED: &str = "127.0.0.1:19216";
const PLAIN: &str = "127.0.0.1:19217";
const PLAIN_FORKED: &str = "127.0.0.1:19218";
const PLAIN_STARTED: &str = "127.0.0.1:19219";

/// Does it.
pub fn processes() -> Result<()> {
    let binary = build::binary()?;
    let folder = root().join("out/test-processes");
    fs::create_dir_all(&folder)?;
    let (alpha, beta) = (named(&folder, "dt-alpha")?, named(&folder, "dt-beta")?);
    let gamma = named(&folder, "dt-gamma")?;
    let mut first = Program::start(&[], &alpha, &["serve", ALPHA])?;
    let mut second = Program::start(&[], &beta, &["serve", BETA])?;
    let older = first.say_for_pid(&format!("fork {OLDER}"))?;
    let watcher = Watcher::start(&binary, &folder, &include(&["dt-nobody"], &[]))?;
    let mut witness = Witness::new(watcher, Program::client(&[])?);
    by_hand(&mut witness, &mut first, &gamma, older)?;
    by_rules(&mut witness, &first, &mut second, &gamma)?;
    let excluded = named(&folder, "dt-excluded")?;
    by_default(&mut witness, &excluded, &named(&folder, "dt-plain")?)?;
    witness.watcher.stop()
}

/// `agent add-process` and `remove-process`.
fn by_hand(witness: &mut Witness, first: &mut Program, gamma: &str, older: u32) -> Result<()> {
    witness.expect("nothing is watched", &[(ALPHA, false), (BETA, false), (OLDER, false)])?;
    let pid = first.pid().to_string();
    witness.watcher.command(&["agent", "add-process", "--pid", &pid])?;
    witness.expect("alpha was added", &[(ALPHA, true), (BETA, false), (OLDER, true)])?;
    let forked = first.say_for_pid(&format!("fork {FORKED}"))?;
    let started = first.say_for_pid(&format!("start {gamma} {STARTED}"))?;
    let all = [(ALPHA, true), (BETA, false), (OLDER, true), (FORKED, true), (STARTED, true)];
    let spans = witness.expect("children came", &all)?;
    let pids = [first.pid(), older, forked, started];
    for (span, pid) in spans.iter().zip(pids) {
        if span["attributes"]["process.pid"] != pid {
            bail!("a span of process {pid} says {}", span["attributes"]["process.pid"]);
        }
    }
    let child = format!("child of {pid}");
    for (pid, rule) in pids.into_iter().zip(["by hand", &child, &child, &child]) {
        let verdict = witness.verdict(pid)?;
        if verdict != (rule.to_owned(), true) {
            bail!("process {pid} should be watched as {rule:?}, but is {verdict:?}");
        }
    }

    witness.watcher.command(&["agent", "remove-process", "--pid", &started.to_string()])?;
    let one = [(ALPHA, true), (FORKED, true), (STARTED, false)];
    witness.expect("a child was removed", &one)?;
    witness.watcher.command(&["agent", "remove-process", "--pid", &pid])?;
    first.say(&format!("fork {LATER}"))?;
    let none = [ALPHA, BETA, OLDER, FORKED, STARTED, LATER].map(|address| (address, false));
    witness.expect("alpha was removed", &none)?;

    let gone = witness.watcher.command(&["agent", "add-process", "--pid", "4194303"]);
    match gone {
        Err(error) if error.to_string().contains("there is no process 4194303") => Ok(()),
        other => bail!("a process that is not there was added: {other:?}"),
    }
}

/// `include_processes` and `exclude_processes`, by command, API and hang-up.
fn by_rules(
    witness: &mut Witness,
    first: &Program,
    second: &mut Program,
    gamma: &str,
) -> Result<()> {
    let update = |witness: &Witness, value: &str| {
        let key = "agents.trace.include_processes";
        witness.watcher.command(&["config", "update", "--key", key, "--value", value])
    };
    let said = update(witness, "dt-bet?")?;
    if !said.contains("include_processes: in effect") {
        bail!("config update says {said:?}");
    }
    second.say(&format!("start {gamma} {OTHER}"))?;
    witness.expect("include dt-bet?", &[(ALPHA, false), (BETA, true), (OTHER, true)])?;
    witness.watcher.put_config(&include_json(&["dt-nobody"]))?;
    witness.expect("include dt-nobody", &[(ALPHA, false), (BETA, false), (OTHER, false)])?;

    // What was removed by hand stays so, whatever the rules say.
    witness.watcher.put_config(&include_json(&["dt-*"]))?;
    witness.expect("include dt-*", &[(ALPHA, false), (OLDER, false), (BETA, true)])?;
    let verdict = witness.verdict(first.pid())?;
    if verdict != ("by hand".to_owned(), false) {
        bail!("alpha was removed by hand, but is {verdict:?}");
    }
    let (alpha, beta) = (first.pid().to_string(), second.pid().to_string());
    witness.watcher.command(&["agent", "add-process", "--pid", &alpha])?;
    witness
        .expect("alpha is back", &[(ALPHA, true), (OLDER, true), (LATER, true), (BETA, true)])?;

    witness.watcher.reconfigure(&include(&["dt-*"], &["dt-b*"]))?;
    let pid = second.pid();
    let excluded = ("exclude dt-b*".to_owned(), false);
    // What the API changed is over what the file says, until it is told to forget that.
    witness.watcher.until("the file was read again", |_| Ok(witness.verdict(pid)? == excluded))?;
    witness.expect("exclude dt-b*", &[(ALPHA, true), (BETA, false)])?;
    witness.watcher.command(&["agent", "add-process", "--pid", &beta])?;
    witness.expect("by hand beats exclude", &[(ALPHA, true), (BETA, true)])?;

    if witness.watcher.put_config(&include_json(&["[a"])).is_ok() {
        bail!("a pattern that is none was accepted");
    }
    witness.expect("a bad rule changes nothing", &[(ALPHA, true), (BETA, true)])?;
    Ok(())
}

/// Without a list of names everything is watched but what is excluded, and what is removed by hand with
/// the children that it makes then.
fn by_default(witness: &mut Witness, excluded: &str, plain: &str) -> Result<()> {
    witness.watcher.reconfigure(&include(&[], &["dt-exc*"]))?;
    let left_out = Program::start(&[], excluded, &["serve", EXCLUDED])?;
    let mut server = Program::start(&[], plain, &["serve", PLAIN])?;
    let rules = [("exclude dt-exc*", false), ("default", true)];
    let rules = rules.map(|(rule, watched)| (rule.to_owned(), watched));
    let pids = [left_out.pid(), server.pid()];
    witness.watcher.until("the file was read again", |_| {
        Ok([witness.verdict(pids[0])?, witness.verdict(pids[1])?] == rules)
    })?;
    witness.expect("everything but dt-exc*", &[(EXCLUDED, false), (PLAIN, true)])?;

    let pid = server.pid().to_string();
    witness.watcher.command(&["agent", "remove-process", "--pid", &pid])?;
    let forked = server.say_for_pid(&format!("fork {PLAIN_FORKED}"))?;
    let started = server.say_for_pid(&format!("start {excluded} {PLAIN_STARTED}"))?;
    let none = [(PLAIN, false), (PLAIN_FORKED, false), (PLAIN_STARTED, false)];
    witness.expect("one was removed", &none)?;
    for child in [forked, started] {
        let verdict = witness.verdict(child)?;
        if verdict != (format!("child of {pid}"), false) {
            bail!("a child of a process that was removed by hand is {verdict:?}");
        }
    }
    witness.watcher.command(&["agent", "add-process", "--pid", &pid])?;
    let all = [(PLAIN, true), (PLAIN_FORKED, true), (PLAIN_STARTED, false)];
    witness.expect("it was added again; its child is excluded", &all)?;
    Ok(())
}

fn include_json(names: &[&str]) -> serde_json::Value {
    json!({"agents": {"trace": {"include_processes": names}}})
}

fn include(include: &[&str], exclude: &[&str]) -> String {
    format!(
        "{LIMITS}[agents.trace]\ninclude_processes = {include:?}\nexclude_processes = {exclude:?}\n"
    )
}
