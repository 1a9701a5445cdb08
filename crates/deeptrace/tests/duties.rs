//! Duties by the real binary: import, export, cleanup, erase, backup and restore, on a data folder and
//! through a running server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// A folder for one test, with a data folder in it.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command on data folder `data`, in a folder without a configuration.
    fn command(&self, data: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deeptrace"));
        command.args(arguments).arg("--data-dir").arg(self.path(data)).current_dir(self.0.path());
        command
    }

    fn output(&self, data: &str, arguments: &[&str]) -> Output {
        self.command(data, arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// What the command prints, which must succeed.
    fn run(&self, data: &str, arguments: &[&str]) -> String {
        let output = self.output(data, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the command complains of, which must fail.
    fn fail(&self, data: &str, arguments: &[&str]) -> String {
        let output = self.output(data, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn export(&self, data: &str) -> Vec<Value> {
        let text = self.run(data, &["export", "--output", "-"]);
        serde_json::from_str(&text).unwrap()
    }

    /// The bytes of every file below a folder.
    fn bytes(&self, name: &str) -> Vec<u8> {
        let (mut bytes, mut folders) = (Vec::new(), vec![self.path(name)]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => bytes.extend(fs::read(path).unwrap()),
                }
            }
        }
        bytes
    }
}

/// A running server, ended when this is dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(host: &Host, data: &str, settings: &[(&str, String)]) -> Self {
        let mut command = host.command(data, &["server", "run", "--port", "0"]);
        let mut child = command
            .envs(settings.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("API at ").map(|(_, url)| url.to_owned()));
        Self { child, url: url.unwrap() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Bytes that no compression makes shorter, so that they lie in files as they are.
fn noise(seed: u64) -> String {
    use base64::Engine;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes: Vec<u8> = (0..30_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// `len` traces of a server span and a client span below it, a second apart, the last one now; every
/// third for user anna, whose payload is `secret`.
fn spans(len: u64, secret: &str) -> Vec<Value> {
    let span = |n: u64, trace: u64, kind: &str, parent: Option<u64>| {
        let start = now() - (len - trace) * 1_000_000_000;
        let is_anna = trace.is_multiple_of(3);
        let user = if is_anna { "anna@shop.example" } else { "bert@shop.example" };
        let payload = if is_anna { json!({ "base64": secret }) } else { json!("GET / HTTP/1.1") };
        json!({
            "trace_id": format!("{:032x}", u128::from(trace + 1) << 64 | 7), "span_id": format!("{n:016x}"),
            "parent_span_id": parent.map(|parent| format!("{parent:016x}")), "kind": kind,
            "name": "GET /users/{id}", "service": if kind == "server" { "front" } else { "users" },
            "start_time_unix_nano": start, "end_time_unix_nano": start + 1_000_000,
            "duration_ns": 1_000_000, "status": "ok", "status_message": null, "protocol": "http",
            "attributes": {"enduser.id": user, "http.response.status_code": 200, "thread.id": 5},
            "request_size": 10, "response_size": 20,
            "link": parent.map(|_| json!({"method": "thread", "relation": "child", "confidence": 0.97,
                "algorithm": "auto"})),
            "links": [], "request_payload": payload, "response_payload": "",
            "unknown": [], "truncated": false, "lost_events": 0,
        })
    };
    let both = |trace: u64| {
        let root = 1_000 + 2 * trace;
        [span(root, trace, "server", None), span(root + 1, trace, "client", Some(root))]
    };
    // As an export has them: the newest first.
    (0..len).rev().flat_map(both).collect()
}

fn write(host: &Host, name: &str, spans: &[Value]) -> String {
    let path = host.path(name);
    fs::write(&path, serde_json::to_vec(spans).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_was_exported_is_imported_and_exported_alike() {
    let host = Host::new();
    let originals = spans(30, &noise(1));
    let file = write(&host, "first.json", &originals);
    let said = host.run("a", &["import", "--input", &file]);
    assert!(said.starts_with("60 spans and 30 links; 0 were there"), "{said}");
    assert_eq!(host.export("a"), originals);
    let again = host.run("a", &["import", "--input", &file]);
    assert!(again.starts_with("0 spans and 0 links; 60 were there"), "{again}");

    // Byte for byte, in each format that another store can be filled from, compressed or not.
    host.run("a", &["export", "--output", "a.json"]);
    for format in ["json", "otlp", "otlp-protobuf", "jaeger", "zipkin"] {
        let exported = format!("a.{format}");
        host.run("a", &["export", "--format", format, "--output", &exported]);
        let packed = zstd::encode_all(&fs::read(host.path(&exported)).unwrap()[..], 3).unwrap();
        fs::write(host.path(&format!("{exported}.zst")), packed).unwrap();
        let data = format!("data-{format}");
        host.run(&data, &["import", "--input", &format!("{exported}.zst")]);
        host.run(&data, &["export", "--output", "b.json"]);
        let [first, second] =
            ["a.json", "b.json"].map(|name| fs::read_to_string(host.path(name)).unwrap());
        match format {
            "json" => assert!(first == second, "the round trip changed something"),
            _ => {
                let ids = |spans: Vec<Value>| -> Vec<Value> {
                    spans
                        .iter()
                        .map(|it| {
                            json!([
                                it["trace_id"],
                                it["span_id"],
                                it["parent_span_id"],
                                it["link"],
                                it["status"],
                                it["protocol"]
                            ])
                        })
                        .collect()
                };
                assert_eq!(ids(host.export(&data)), ids(originals.clone()), "{format}");
            }
        }
    }
    let anna = host.run("a", &["export", "--output", "-", "--user", "anna@shop.example"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&anna).unwrap().len(), 20);
    let none = host.run("a", &["export", "--output", "-", "--service", "nobody"]);
    assert_eq!(none, "[]\n");
}

#[test]
fn erasing_leaves_nothing_behind_and_nothing_comes_back() {
    let host = Host::new();
    let secret = noise(2);
    let originals = spans(30, &secret);
    let file = write(&host, "spans.json", &originals);
    host.run("data", &["import", "--input", &file]);
    let part = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(&secret).unwrap()[9_000..9_064].to_vec()
    };
    let is_there = |data: &str| memchr::memmem::find(&host.bytes(data), &part).is_some();
    assert!(is_there("data"), "the search finds nothing: the test would show nothing");
    host.run("data", &["backup", "--output", "backups/one"]);

    let target = ["erase", "--match", "user=anna@shop.example"];
    let asked = host.fail("data", &target);
    assert!(asked.contains("--yes"), "{asked}");
    let preview = host.run("data", &[&target[..], &["--dry-run", "--format", "json"]].concat());
    let preview: Value = serde_json::from_str(&preview).unwrap();
    assert_eq!((&preview["spans"], &preview["looked_at"]), (&json!(20), &json!(60)));
    assert_eq!(preview["services"], json!({"front": 10, "users": 10}));
    assert!(is_there("data"));

    let yes = ["--yes", "--format", "json", "--output", "receipt.json"];
    host.run("data", &[&target[..], &yes].concat());
    assert!(!is_there("data"), "bytes of what was erased are still there");
    let noted = fs::read_to_string(host.path("data/audit.spool")).unwrap();
    for action in ["import", "backup", "erase"] {
        let is_noted =
            |line: &str| line.contains(&format!("deeptrace {action}\"")) && line.contains("begun");
        assert!(noted.lines().any(is_noted), "{action}: {noted}");
    }
    let left: Vec<Value> = originals
        .iter()
        .filter(|it| it["attributes"]["enduser.id"] != "anna@shop.example")
        .cloned()
        .collect();
    assert_eq!(host.export("data"), left);
    let receipt = fs::read_to_string(host.path("receipt.json")).unwrap();
    assert!(!receipt.contains("anna"), "{receipt}");
    assert!(memchr::memmem::find(&host.bytes("data"), b"anna@shop.example").is_none());
    host.run("data", &["erase", "--verify", "receipt.json"]);
    fs::write(host.path("forged.json"), receipt.replace("\"spans\": 20", "\"spans\": 21")).unwrap();
    let forged = host.fail("data", &["erase", "--verify", "forged.json"]);
    assert!(forged.contains("was changed after it was signed"), "{forged}");

    // What comes late is kept out, by the file and out of the backup.
    let late = host.run("data", &["import", "--input", &file]);
    assert!(late.contains("40 were there already, 20 had been erased"), "{late}");
    assert_eq!(host.export("data"), left);
    let restored = host.run("restored", &["restore", "--input", "backups/one"]);
    assert!(restored.contains("1 erasures were applied and took 20"), "{restored}");
    assert_eq!(host.export("restored"), left);
    assert!(!is_there("restored"), "the backup has brought it back");
    host.run("restored", &["erase", "--verify", "receipt.json"]);

    // A backup that was moved away knows by the receipt.
    fs::create_dir(host.path("elsewhere")).unwrap();
    fs::rename(host.path("backups/one"), host.path("elsewhere/one")).unwrap();
    let arguments = ["restore", "--input", "elsewhere/one", "--receipt", "receipt.json"];
    host.run("third", &arguments);
    assert_eq!(host.export("third"), left);
}

#[test]
fn a_backup_that_is_not_whole_and_a_folder_in_use_are_refused() {
    let host = Host::new();
    let file = write(&host, "spans.json", &spans(9, &noise(3)));
    host.run("data", &["import", "--input", &file]);
    fs::write(host.path("deeptrace.toml"), "[storage]\nspan_retention_days = 3\n").unwrap();
    host.run("data", &["backup", "--output", "one"]);
    let occupied = host.fail("data", &["backup", "--output", "one"]);
    assert!(occupied.contains("is not empty"), "{occupied}");
    let in_use = host.fail("data", &["restore", "--input", "one"]);
    assert!(in_use.contains("is not empty"), "{in_use}");
    let none = host.fail("new", &["restore", "--input", "data"]);
    assert!(none.contains("no whole backup"), "{none}");

    let store = host.path("one/store/spans.db");
    let whole = fs::read(&store).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&store, changed).unwrap();
    let refused = host.fail("new", &["restore", "--input", "one"]);
    assert!(refused.contains("store/spans.db was changed"), "{refused}");
    assert!(!host.path("new").exists() && !host.path("new.restoring").exists());
    fs::write(&store, whole).unwrap();
    host.run("new", &["restore", "--input", "one"]);
    assert_eq!(host.export("new"), host.export("data"));
    let config = fs::read_to_string(host.path("new/deeptrace.toml")).unwrap();
    assert!(config.contains("span_retention_days = 3"));
    let absent = host.fail("nowhere", &["cleanup", "--days", "1"]);
    assert!(absent.contains("no spans are stored"), "{absent}");
}

#[test]
fn a_running_server_does_the_duties_of_its_folder() {
    let host = Host::new();
    let backups = host.path("backups");
    fs::create_dir(&backups).unwrap();
    let settings = [
        ("DEEPTRACE_BACKUP__FOLDER", backups.to_str().unwrap().to_owned()),
        ("DEEPTRACE_BACKUP__TIME", "00:00".to_owned()),
    ];
    let server = Server::start(&host, "data", &settings);
    let url = server.url.clone();
    let at = ["--server", url.as_str()];
    let mut originals = spans(12, &noise(4));
    let old = now() - 5 * 24 * 3_600_000_000_000;
    for span in
        originals.iter_mut().filter(|it| it["trace_id"] == format!("{:032x}", 1_u128 << 64 | 7))
    {
        span["start_time_unix_nano"] = json!(old);
        span["end_time_unix_nano"] = json!(old + 1_000_000);
    }
    let file = write(&host, "spans.json", &originals);
    let said = host.run("data", &[&["import", "--input", &file][..], &at].concat());
    assert!(said.starts_with("24 spans and 12 links"), "{said}");
    let cleaned =
        host.run("data", &[&["cleanup", "--days", "3", "--format", "json"][..], &at].concat());
    assert_eq!(
        serde_json::from_str::<Value>(&cleaned).unwrap(),
        json!({"spans": 2, "links": 1, "gaps": 0})
    );
    let erase = ["erase", "--match", "enduser.id=anna@shop.example", "--yes", "--format", "json"];
    let receipt = host.run("data", &[&erase[..], &at].concat());
    let receipt: Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["statement"]["spans"], 6);
    host.run("data", &[&["backup", "--output", "by-hand/one"][..], &at].concat());
    assert_eq!(host.export("data").len(), 16);

    // Without the token nothing of it is done.
    let client: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let refused = client.delete(format!("{url}/spans?days=1")).call().unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(client.get(format!("{url}/jobs/abc")).call().unwrap().status(), 401);

    // The daily backup is made because today's time has come.
    let begun = Instant::now();
    let daily = loop {
        let names = fs::read_dir(&backups).unwrap().map(|it| it.unwrap().file_name());
        let whole = names
            .filter_map(|name| name.into_string().ok())
            .find(|name| name.starts_with("deeptrace-") && !name.ends_with(".part"));
        match whole {
            Some(name) => break name,
            None => assert!(begun.elapsed() < Duration::from_secs(120), "no daily backup was made"),
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    drop(server);
    let restored = host.run("restored", &["restore", "--input", &format!("backups/{daily}")]);
    assert!(restored.contains("restored "), "{restored}");
    assert!(Path::new(&host.path("restored/spans.db")).exists());
}

/// What is typed beside the folder of a running server, without its address, and what is said.
const WITHOUT_ADDRESS: &[(&[&str], &str)] = &[
    (&["user", "add", "anna", "--role", "viewer"], "anna: viewer of all services"),
    (&["user", "list"], "anna"),
    (&["user", "remove", "anna"], "anna: removed"),
    (&["token", "create", "ci", "--role", "viewer"], "ci, viewer of all services"),
    (&["token", "list"], "ci"),
    (&["cleanup", "--days", "3"], "removed 0 spans"),
    (&["backup", "--output", "backup"], "0 spans in"),
    (&["asso", "algo", "fifo"], "correlation.default_algorithm: in effect"),
    (&["asso", "algo"], "* in effect: http://127.0.0.1:"),
    (&["asso", "config"], "fifo"),
    (&["asso", "run", "--start", "-1h", "--end", "now"], "done (fifo)"),
    (&["config", "reload"], "correlation.default_algorithm: in effect"),
];

#[test]
fn a_running_server_is_found_by_its_folder() {
    let host = Host::new();
    let server = Server::start(&host, "data", &[]);
    for (arguments, expected) in WITHOUT_ADDRESS {
        let said = host.run("data", arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let algorithm = host.run("data", &["asso", "algo"]);
    assert!(algorithm.contains(&server.url), "{algorithm}");
    drop(server);
    let alone = host.run("data", &["token", "list"]);
    assert!(alone.contains("ci"), "{alone}");
}

/// A trace that is large enough lies behind more small ones than a page looks at.
#[test]
fn a_list_goes_on_until_it_is_full() {
    let host = Host::new();
    let mut all = spans(200, "");
    let oldest = all.iter().filter(|it| it["trace_id"] == format!("{:032x}", 1_u128 << 64 | 7));
    let (mut call, parent) = {
        let both: Vec<&Value> = oldest.collect();
        (both[1].clone(), both[1]["span_id"].clone())
    };
    call["span_id"] = json!("00000000000003e7");
    call["parent_span_id"] = parent;
    all.push(call);
    let file = write(&host, "spans.json", &all);
    host.run("data", &["import", "--input", &file]);
    let list = |limit: &str| -> Value {
        let arguments = ["traces", "--min-spans", "3", "--limit", limit, "--format", "json"];
        serde_json::from_str(&host.run("data", &arguments)).unwrap()
    };
    for limit in ["1", "20"] {
        let found = list(limit);
        assert_eq!(found["traces"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!(found["traces"][0]["span_count"], 3);
    }
    assert_eq!(list("20")["next_cursor"], Value::Null);
}
