//! The ends at which spans leave: commands, files of the store, the API, log lines.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deeptrace_capture::recording::Writer;
use deeptrace_model::Event;
use deeptrace_store::{Batch as StoreBatch, Mode, Store};

use crate::case::{Case, cases};
use crate::{CONFIGURED, needles, options, rules, search, spans};

/// Everything a command prints.
fn printed(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deeptrace"));
    command.arg("--config").arg(folder.join("deeptrace.toml"));
    let out = command.args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{arguments:?}: {said}");
    [out.stdout, out.stderr].concat()
}

fn configured(folder: &Path) {
    std::fs::write(folder.join("deeptrace.toml"), CONFIGURED).unwrap();
}

fn search_all(cases: &[Case], bytes: &[u8], place: &str) {
    cases.iter().for_each(|case| search(case, &needles(case), bytes, place));
}

#[test]
fn no_secret_is_in_what_replay_prints() {
    let folder = tempfile::tempdir().unwrap();
    configured(folder.path());
    for case in cases() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let mut feed = |event: &Event<'_>| writer.write(event).unwrap();
        case.events(&case.session().deliveries(), &mut feed);
        let path = folder.path().join("case.rec");
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        for format in ["json", "text"] {
            let bytes = printed(folder.path(), &["replay", "case.rec", "--format", format]);
            search(&case, &needles(&case), &bytes, &format!("replay --format {format}"));
        }
    }
}

/// A server over a data folder, ended when this is dropped.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(folder: &Path) -> Self {
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_deeptrace"))
            .args(["server", "run", "--port", "0", "--config", "deeptrace.toml"])
            .args(["--data-dir", "data"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let url = lines.find_map(|line| Some(line.split_once("API at ")?.1.to_owned()));
        Self { child, url: url.expect("the line that says where it listens") }
    }

    fn get(&self, path: &str) -> String {
        let mut answer = ureq::get(format!("{}{path}", self.url))
            .call()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        answer.body_mut().read_to_string().unwrap()
    }
}

/// All bytes of all files below a folder.
fn files(folder: &Path, bytes: &mut Vec<u8>) {
    let paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in paths {
        if path.is_dir() {
            files(&path, bytes);
        } else {
            std::fs::File::open(path).unwrap().read_to_end(bytes).unwrap();
        }
    }
}

#[test]
fn no_secret_is_in_the_store_nor_in_what_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    configured(folder.path());
    let (cases, rules) = (cases(), rules(CONFIGURED));
    let data = folder.path().join("data");
    let mut count = 0;
    {
        let mut options_of_store = deeptrace_store::Options::new(&data);
        options_of_store.retention = deeptrace_model::Duration(u64::MAX);
        let store: std::sync::Arc<dyn Store> =
            deeptrace_store::open("embedded", &options_of_store, Mode::Write).unwrap();
        for case in &cases {
            let deliveries = case.session().deliveries();
            let batch = spans(options(&rules, 512), |sink| case.events(&deliveries, sink));
            count += batch.spans.len();
            let (spans, links) = (batch.spans, batch.links);
            store.write(&StoreBatch { spans, links, gaps: Vec::new() }).unwrap();
        }
    }
    let mut stored = Vec::new();
    files(&data, &mut stored);
    search_all(&cases, &stored, "a file of the store");
    let all = ["--data-dir", "data"];
    let exported = printed(
        folder.path(),
        &[&["export", "--format", "json", "--output", "-"], &all[..]].concat(),
    );
    search_all(&cases, &exported, "an export");
    let ids = String::from_utf8_lossy(&exported).matches("\"span_id\"").count();
    assert_eq!(ids, count, "all spans are exported");
    search_all(&cases, &printed(folder.path(), &[&["traces"], &all[..]].concat()), "traces");

    let server = Server::start(folder.path());
    let listed = server.get("/traces?limit=1000&start=2000-01-01T00:00:00Z");
    let value: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let traces = value["traces"].as_array().unwrap();
    assert!(traces.len() >= cases.len(), "{} traces", traces.len());
    search_all(&cases, listed.as_bytes(), "GET /traces");
    for trace in traces {
        let answer = server.get(&format!("/traces/{}", trace["trace_id"].as_str().unwrap()));
        search_all(&cases, answer.as_bytes(), "GET /traces/{trace_id}");
    }
    for path in [
        "/spans/search?limit=1000&start=2000-01-01T00:00:00Z",
        "/analytics/services?start=2000-01-01T00:00:00Z",
        "/analytics/operations?service=shop&start=2000-01-01T00:00:00Z",
        "/status",
        "/metrics",
        "/config",
    ] {
        search_all(&cases, server.get(path).as_bytes(), path);
    }
    let begun = Instant::now();
    let log = folder.path().join("log");
    while std::fs::read(&log).unwrap().is_empty() && begun.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(server);
    search_all(&cases, &std::fs::read(&log).unwrap(), "the log");
}
