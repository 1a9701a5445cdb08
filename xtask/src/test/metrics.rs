//! `metrics`: a real Prometheus scrapes a real deeptrace, and every query of the dashboards and alert rules
//! in `deploy/` is asked of it: those of dashboards have an answer, those of rules name what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::program::{PYTHON, Program};
use super::watcher::{LIMITS, Watcher};
use crate::api::get;
use crate::child::{Kept, free_ports, succeed};
use crate::{build, packages, root};

/// Prometheus, with its tool.
const PACKAGES: &[&str] = &["prometheus"];
/// Time for a few scrapes a second apart.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does it.
pub fn metrics() -> Result<()> {
    packages::ensure(PACKAGES)?;
    let binary = build::binary()?;
    let folder = root().join("out/test-metrics");
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    let rules = root().join("deploy/prometheus/deeptrace.rules.yml");
    succeed(Command::new("promtool").args(["check", "rules"]).arg(&rules))?;
    let example = root().join("deploy/prometheus/prometheus.yml");
    succeed(Command::new("promtool").args(["check", "config"]).arg(&example))?;

    let [front, port] = free_ports()?.map(|port| port.to_string());
    let server = format!("127.0.0.1:{front}");
    let program = Program::start(&[], PYTHON, &["serve", &server])?;
    let mut client = Program::client(&[])?;
    let pids = format!("[agents.trace]\npids = [{}, {}]\n", program.pid(), client.pid());
    let watcher = Watcher::start(&binary, &folder, &format!("{LIMITS}{pids}"))?;
    let _prometheus = prometheus(&folder, &watcher, &port, &rules)?;
    check_text(&watcher)?;

    let names = format!("/api/v1/query?query={}", encoded("traces_span_metrics_calls_total"));
    let begun = Instant::now();
    // A rate needs what is asked for to be there in two scrapes.
    let mut scrapes = 0;
    while scrapes < 5 {
        client.say(&format!("get {server} /ok"))?;
        client.say(&format!("get {server} /fail"))?;
        std::thread::sleep(Duration::from_secs(1));
        let found = get(&port, &names)?["data"]["result"].as_array().map_or(0, Vec::len);
        scrapes += usize::from(found > 0);
        if begun.elapsed() > PATIENCE {
            bail!("Prometheus has no spans after {PATIENCE:?}: {}", get(&port, "/api/v1/targets")?);
        }
    }
    for target in
        get(&port, "/api/v1/targets")?["data"]["activeTargets"].as_array().into_iter().flatten()
    {
        if target["health"] != "up" {
            bail!("Prometheus cannot read {}: {}", target["scrapeUrl"], target["lastError"]);
        }
    }
    let asked = dashboards(&port)?;
    let checked = rule_names(&port)?;
    exemplars(&port, &watcher)?;
    println!("{asked} queries of dashboards have answers; {checked} metrics of rules are there");
    watcher.stop()
}

fn prometheus(folder: &Path, watcher: &Watcher, port: &str, rules: &Path) -> Result<Kept> {
    let (server, agent) = watcher.ports();
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nrule_files: [\"{}\"]\nscrape_configs:\n  - job_name: deeptrace\n    \
         static_configs:\n      - targets: [\"127.0.0.1:{server}\", \"127.0.0.1:{agent}\"]\n",
        rules.display()
    );
    let path = folder.join("prometheus.yml");
    fs::write(&path, config)?;
    let log = fs::File::create(folder.join("prometheus.log"))?;
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", path.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg("--enable-feature=exemplar-storage");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut kept = Kept::start("prometheus", &mut command)?;
    let begun = Instant::now();
    while get(port, "/api/v1/query?query=1").is_err() {
        kept.alive()?;
        if begun.elapsed() > PATIENCE {
            bail!("prometheus is not ready after {PATIENCE:?}; see {}", folder.display());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(kept)
}

/// What promtool says of the text format, of server and agent.
fn check_text(watcher: &Watcher) -> Result<()> {
    let (server, agent) = watcher.ports();
    for port in [server, agent] {
        let text = ureq::get(format!("http://127.0.0.1:{port}/metrics")).call()?;
        let text = text.into_body().read_to_string()?;
        let mut command = Command::new("promtool");
        command.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("failed to start promtool")?;
        let mut input = child.stdin.take().context("promtool has no input")?;
        std::io::Write::write_all(&mut input, text.as_bytes())?;
        drop(input);
        let out = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if !out.status.success() {
            bail!("promtool check metrics of port {port}: {}: {said}", out.status);
        }
    }
    Ok(())
}

/// Asks every query of every dashboard; how many.
fn dashboards(port: &str) -> Result<usize> {
    let mut asked = 0;
    for entry in fs::read_dir(root().join("deploy/grafana"))?.flatten() {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(entry.path())?)?;
        for panel in dashboard["panels"].as_array().context("a dashboard has no panels")? {
            for target in panel["targets"].as_array().context("a panel has no queries")? {
                let query = target["expr"].as_str().context("a query is no text")?;
                let filled = query.replace("$__rate_interval", "1m").replace("$service", ".*");
                let found = ask(port, &filled).with_context(|| format!("{}", panel["title"]))?;
                if found == 0 {
                    bail!("{}: no answer to {filled}", panel["title"]);
                }
                asked += 1;
            }
        }
    }
    if asked < 20 {
        bail!("only {asked} queries were found in deploy/grafana");
    }
    Ok(asked)
}

/// How many series answer.
fn ask(port: &str, query: &str) -> Result<usize> {
    let answer = get(port, &format!("/api/v1/query?query={}", encoded(query)))?;
    if answer["status"] != "success" {
        bail!("{query}: {}", answer["error"]);
    }
    Ok(answer["data"]["result"].as_array().map_or(0, Vec::len))
}

/// Every metric that a rule names is there, and Prometheus has evaluated every rule; how many metrics.
fn rule_names(port: &str) -> Result<usize> {
    let answer = get(port, "/api/v1/label/__name__/values")?;
    let names = answer["data"].as_array().context("no names of metrics")?;
    let there: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
    let groups = get(port, "/api/v1/rules")?;
    let rules = groups["data"]["groups"].as_array().context("no groups of rules")?.iter();
    let mut named = BTreeSet::new();
    for rule in rules.flat_map(|group| group["rules"].as_array().into_iter().flatten()) {
        let query = rule["query"].as_str().context("a rule has no query")?;
        ask(port, query)?;
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        named.extend(
            words
                .filter(|it| it.starts_with("deeptrace_") || it.starts_with("traces_"))
                .map(str::to_owned),
        );
    }
    if named.len() < 5 {
        bail!("the rules name only {named:?}");
    }
    match named.iter().find(|name| !there.contains(name.as_str())) {
        Some(name) => bail!("a rule names {name}, which nobody tells"),
        None => Ok(named.len()),
    }
}

/// The trace of an exemplar is one that the server finds.
fn exemplars(port: &str, watcher: &Watcher) -> Result<()> {
    let query = encoded("traces_span_metrics_duration_seconds_bucket");
    let now = crate::shop::now();
    let path = format!("/api/v1/query_exemplars?query={query}&start={}&end={now}", now - 300.0);
    let answer = get(port, &path)?;
    let exemplar = &answer["data"][0]["exemplars"][0];
    let id = exemplar["labels"]["trace_id"].as_str();
    let id = id.with_context(|| format!("Prometheus has no exemplar: {answer}"))?;
    let trace = watcher.server(&format!("/traces/{id}"))?;
    if trace["spans"].as_array().is_none_or(Vec::is_empty) {
        bail!("the trace {id} of an exemplar has no spans");
    }
    Ok(())
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
