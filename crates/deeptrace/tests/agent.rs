//! The agent's HTTP API, of a real `deeptrace agent run` that watches one process of this test: every
//! route with what it answers, and every refusal with its code. Needs root; says SKIPPED elsewhere.
#![cfg(feature = "live")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A running agent, ended when this is dropped.
struct Agent {
    child: Child,
    url: String,
    token: String,
    client: ureq::Agent,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    /// Starts one whose configuration is `config`; `None`: this host or user may not capture.
    fn start(folder: &Path, config: &str) -> Option<Self> {
        let can = deeptrace_capture::live::checks();
        let is_refused = |check: &&deeptrace_capture::live::Check| {
            check.status == deeptrace_capture::live::CheckStatus::Fail
        };
        if let Some(check) = can.iter().find(is_refused) {
            eprintln!("SKIPPED: the agent's API: {}; {}", check.detail, check.remedy);
            return None;
        }
        let written = folder.join("deeptrace.toml");
        fs::write(&written, config).unwrap();
        let data = folder.join("data");
        let mut child = Command::new(env!("CARGO_BIN_EXE_deeptrace"))
            .args(["agent", "run", "--port", "0", "--config"])
            .arg(&written)
            .arg("--data-dir")
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("agent API at ").map(|(_, url)| url.to_owned()));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)));
        Some(Self {
            child,
            url: said.expect("the line that says where it listens"),
            token: fs::read_to_string(data.join("token")).unwrap().trim().to_owned(),
            client: config.build().into(),
        })
    }

    /// Status and body of the answer.
    fn ask(&self, method: &str, path: &str, body: Option<&str>, token: bool) -> (u16, String) {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json");
        if token {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        let body = body.unwrap_or_default().to_owned();
        let mut answer = self.client.run(request.body(body).unwrap()).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn json(&self, path: &str) -> Value {
        let (status, text) = self.ask("GET", path, None, false);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// A server of one request at a time in a process of its own; where it listens.
fn server(folder: &Path) -> (Child, u16) {
    let script = "import http.server\n\
        class Quiet(http.server.BaseHTTPRequestHandler):\n\
        \x20   def do_GET(self):\n\
        \x20       self.send_response(200)\n\
        \x20       self.send_header('Content-Length', '2')\n\
        \x20       self.end_headers()\n\
        \x20       self.wfile.write(b'ok')\n\
        \x20   def log_message(self, *_): pass\n\
        server = http.server.HTTPServer(('127.0.0.1', 0), Quiet)\n\
        print(server.server_port, flush=True)\n\
        server.serve_forever()\n";
    let path = folder.join("server.py");
    fs::write(&path, script).unwrap();
    let mut child = Command::new("python3").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

fn get(port: u16) {
    get_path(port, "/users/7");
}

fn get_path(port: u16, path: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
}

/// Asks until `found` says yes, for ten seconds.
fn eventually(what: &str, mut found: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !found() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_route_answers_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[agents.trace]\ninclude_processes = [\"none-of-these\"]\n";
    let Some(agent) = Agent::start(folder.path(), config) else { return };
    let (mut server, port) = server(folder.path());
    let pid = server.id();

    assert_eq!(agent.json("/health"), json!({"status": "ok"}));
    let status = agent.json("/status");
    assert_eq!((&status["state"], &status["step"]), (&json!("capturing"), &json!("full")));
    assert_eq!(status["pid"], agent.child.id());
    assert_eq!(agent.json("/processes")["processes"], json!([]), "nothing is watched yet");

    let watched = agent.ask("POST", "/processes", Some(&json!({"pid": pid}).to_string()), true);
    assert_eq!(watched, (201, json!({"pid": pid}).to_string()));
    let processes = agent.json("/processes");
    assert_eq!(processes["processes"][0]["pid"], pid);
    assert_eq!(processes["processes"][0]["watched_by"], "by hand");

    get(port);
    let spans = || agent.json("/spans")["spans"].as_array().unwrap().clone();
    eventually("the request becomes a span", || !spans().is_empty());
    let span = &spans()[0];
    assert_eq!((&span["name"], &span["kind"]), (&json!("GET /users/{id}"), &json!("server")));
    assert_eq!(span["attributes"]["process.pid"], pid);
    let row = &agent.json("/spans/stats")["stats"][0];
    assert_eq!((&row["protocol"], &row["span_count"]), (&json!("http"), &json!(1)));
    eventually("the counters tell of it", || {
        agent.ask("GET", "/metrics", None, false).1.contains("deeptrace_span_spans_total 1\n")
    });

    let programs = agent.json("/ebpf/programs");
    let programs = programs["programs"].as_array().unwrap();
    assert!(!programs.is_empty());
    assert!(programs.iter().all(|it| it["name"].as_str().unwrap().starts_with("deeptrace")));
    let maps = agent.json("/ebpf/maps");
    assert!(maps["maps"].as_array().unwrap().iter().any(|map| map["name"] == "events"));

    for (route, state) in [("/stop", "stopped"), ("/start", "capturing")] {
        let (code, text) = agent.ask("POST", route, None, true);
        assert_eq!((code, text), (200, json!({"state": state}).to_string()));
        assert_eq!(agent.json("/status")["state"], state);
    }
    let unwatched = agent.ask("DELETE", &format!("/processes/{pid}"), None, true);
    assert_eq!(unwatched, (200, json!({"pid": pid}).to_string()));

    let changed = json!({"agents": {"limits": {"memory_mb": 300}}});
    let (code, text) = agent.ask("PUT", "/config", Some(&changed.to_string()), true);
    assert_eq!(code, 200, "{text}");
    assert!(agent.json("/config").to_string().contains("300"));
    assert_eq!(agent.ask("POST", "/config/reload", None, true).0, 200);

    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn what_is_masked_changes_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[agents.trace]\ninclude_processes = [\"none-of-these\"]\n";
    let Some(agent) = Agent::start(folder.path(), config) else { return };
    let (mut server, port) = server(folder.path());
    let watch = json!({"pid": server.id()}).to_string();
    assert_eq!(agent.ask("POST", "/processes", Some(&watch), true).0, 201);
    let query_of = |path: &str| {
        get_path(port, path);
        let mut query = Value::Null;
        eventually("the request becomes a span", || {
            let spans = agent.json("/spans")["spans"].as_array().unwrap().clone();
            let path = path.split('?').next().unwrap();
            let of_path = spans.iter().find(|span| span["attributes"]["url.path"] == path);
            query = of_path.map_or(Value::Null, |span| span["attributes"]["url.query"].clone());
            of_path.is_some()
        });
        query
    };
    assert_eq!(query_of("/before?password=open-sesame"), "password=open-sesame");

    let changed = json!({"agents": {"capture": {"mask_patterns": ["password"]}}}).to_string();
    let (code, text) = agent.ask("PUT", "/config", Some(&changed), true);
    assert!(
        code == 200 && text.contains("\"applied\":[\"agents.capture.mask_patterns\"]"),
        "{text}"
    );
    assert_eq!(query_of("/after?password=open-sesame"), "password=***********");

    let wrong = json!({"agents": {"capture": {"mask_patterns": ["pass*"]}}}).to_string();
    let (code, text) = agent.ask("PUT", "/config", Some(&wrong), true);
    assert!(code == 400 && text.contains("agents.capture.mask_patterns[0]"), "{text}");
    assert_eq!(query_of("/still?password=open-sesame"), "password=***********");

    // The file is the truth again, as after SIGHUP.
    assert_eq!(agent.ask("POST", "/config/reload", None, true).0, 200);
    assert_eq!(query_of("/again?password=open-sesame"), "password=open-sesame");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Method, path, body, with the token; status, code of the error.
type Refusal = (&'static str, &'static str, Option<&'static str>, bool, u16, &'static str);

const REFUSALS: &[Refusal] = &[
    ("GET", "/nowhere", None, true, 404, "NOT_FOUND"),
    ("DELETE", "/status", None, true, 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/spans?limit=0", None, false, 400, "INVALID_REQUEST"),
    ("GET", "/spans?limt=5", None, false, 400, "INVALID_REQUEST"),
    ("POST", "/processes", Some("{\"pid\": 1}"), false, 401, "UNAUTHORIZED"),
    ("POST", "/processes", Some("{\"pid\": 4194303}"), true, 404, "NOT_FOUND"),
    ("POST", "/processes", Some("{\"pid\": \"x\"}"), true, 422, "INVALID_REQUEST"),
    ("POST", "/processes", Some("{"), true, 400, "INVALID_REQUEST"),
    ("DELETE", "/processes/x", None, true, 400, "INVALID_REQUEST"),
    ("DELETE", "/processes/4194303", None, true, 404, "NOT_FOUND"),
    ("POST", "/stop", None, false, 401, "UNAUTHORIZED"),
    ("PUT", "/config", Some("{\"agents\": {\"limts\": {}}}"), true, 400, "INVALID_REQUEST"),
    ("PUT", "/config", Some("{}"), false, 401, "UNAUTHORIZED"),
];

#[test]
fn every_refusal_has_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[agents.trace]\ninclude_processes = [\"none-of-these\"]\n";
    let Some(agent) = Agent::start(folder.path(), config) else { return };
    for (method, path, body, token, status, code) in REFUSALS {
        let (got, text) = agent.ask(method, path, *body, *token);
        let shape: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(
            (got, shape["error"]["code"].as_str()),
            (*status, Some(*code)),
            "{path}: {text}"
        );
        assert!(shape["error"]["message"].as_str().is_some_and(|it| !it.is_empty()), "{text}");
    }
    assert_eq!(agent.json("/health"), json!({"status": "ok"}));
}

#[test]
fn agent_stop_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[agents.trace]\ninclude_processes = [\"none-of-these\"]\n";
    let Some(mut agent) = Agent::start(folder.path(), config) else { return };
    let status = Command::new(env!("CARGO_BIN_EXE_deeptrace"))
        .args(["agent", "stop", "--agent", &agent.url, "--data-dir"])
        .arg(folder.path().join("data"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    eventually("it ends", || agent.child.try_wait().unwrap().is_some());
    assert!(agent.child.wait().unwrap().success());
}
