//! Configuration as people write it: files, variables, options; and what they are told.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use deeptrace::config::{Loaded, Loader, takes_effect, validate};
use serde_json::json;

/// The snippets of the documentation, as they stand.
const DOCUMENTED: &str = r#"
[agents.trace]
pids = [1234, 5678]
include_processes = ["nginx", "redis-server", "app-server"]
exclude_processes = ["systemd", "kernel"]
monitor_containers = true      # default
sampling_rate = 0.1

[agents.capture]
max_payload_size = 512
enable_compression = true
exclude_payloads = ["payment-service", "auth-service"]
filter_headers = ["Authorization", "X-API-Key"]
mask_patterns = ["password", "ssn", "credit_card"]

[agents.sender]
server_url = "https://traces.example:7901"
mem_buffer_size = 16           # MB
disk_buffer_size = 100         # MB, 0 = off
disk_buffer_path = "/var/lib/deeptrace/buffer"

[server]
host = "0.0.0.0"
port = 7901

[elasticsearch]
hosts = ["http://localhost:9200"]
username = "elastic"
password = "changeme"
index_prefix = "deeptrace"

[correlation]
default_algorithm = "auto"
window_size = 1000             # ms
similarity_threshold = 0.8

[storage]
span_retention_days = 7        # default
"#;

const MORE: &str = r#"
[storage]
backend = "embedded"
max_bytes = 1000000000

[correlation]
link_wait_ms = 5000
probe_budget_us_per_s = 500

[correlation.evidence]
thread = false

[agents.trace]
sampling_wait_ms = 1000
always_keep = ["errors", "slow:1s"]

[agents.trace.sampling_by_service]
cart = 0.5

[agents.limits]
cpu_percent = 10
memory_mb = 256

[[services]]
match = "cart*"
name = "cart"

[server.tls]
[server.auth]

[server.oidc]
issuer = "https://id.example/realms/ops"
client_id = "deeptrace"
client_secret = "hush"
scopes = ["profile", "email"]
roles_claim = "/realm_access/roles"
services_claim = "services"
default_role = "viewer"
audience = "https://traces.example"
label = "Example ID"
ca_file = "/etc/ssl/id.pem"

[server.oidc.roles]
"deeptrace.admins" = "admin"

[server.otlp]
grpc_port = 4317
http_port = 4318

[[alerts]]
name = "errors"
kind = "error-rate"
threshold = 0.05

[[webhooks]]
name = "on-call"
url = "https://hooks.example/deeptrace"

[backup]
"#;

/// A folder with one `deeptrace.toml`.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeptrace.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn loader(path: &Path) -> Loader {
    Loader { file: Some(path.to_owned()), ..Loader::default() }
}

#[test]
fn everything_documented_is_accepted() {
    let (_folder, path) = file(DOCUMENTED);
    let loaded = validate(&path).unwrap();
    assert_eq!(loaded.agent.rules.include, ["nginx", "redis-server", "app-server"]);
    assert_eq!(loaded.server.listen, "0.0.0.0:7901".parse().unwrap());
    assert_eq!(loaded.server.threshold, 0.8);
    let notes = loaded.notes();
    assert!(!notes.iter().any(|note| note.contains("not in effect")), "{notes:?}");

    let (_folder, path) = file(MORE);
    assert_eq!(validate(&path).unwrap().agent.services[0].name, "cart");
}

/// Text of the file, and what the error says after the file's name.
const MISTAKES: &[(&str, &str)] = &[
    (
        "[agents.trace]\n\nsample_rate = 0.1\n",
        ":3: unknown key `agents.trace.sample_rate`; the nearest known one is \
         `agents.trace.sampling_rate`",
    ),
    ("[agent.trace]\n", ":1: unknown key `agent`; the nearest known one is `agents`"),
    (
        "[capture]\nmax_payload_size = 1\n",
        ":1: unknown key `capture`; the nearest known one is `agents.capture`",
    ),
    (
        "[server.tls]\ncert = \"a\"\n",
        ":2: unknown key `server.tls.cert`; the nearest known one is `server.tls.cert_file`",
    ),
    (
        "[server.oidc]\nissuer = \"http://id.example\"\n",
        ":2: server.oidc.issuer: give the address of the provider as its tokens name it, with https \
         (http on this host only), without a query",
    ),
    ("[[alerts]]\nnaim = \"a\"\n", ":2: alerts[0].naim: unknown field `naim`, expected one of"),
    (
        "[[services]]\nmatch = \"a\"\nname = \"a\"\n[[services]]\nmatsch = \"b\"\n",
        ":5: services[1].matsch: unknown field `matsch`, expected `match` or `name`",
    ),
    ("[[services]]\nmatch = \"a\"\n", ":1: services[0]: missing field `name`"),
    ("[server]\nport = \"http\"\n", ":2: server.port: invalid type: string \"http\", expected u16"),
    ("[server]\nport = 70000\n", ":2: server.port: invalid value: integer `70000`, expected u16"),
    (
        "[agents.trace]\npids = [1, \"x\"]\n",
        ":2: agents.trace.pids[1]: invalid type: string \"x\", expected u32",
    ),
    (
        "[correlation]\nsimilarity_threshold = 2\n",
        ":2: correlation.similarity_threshold: 2 is not between 0 and 1",
    ),
    ("agents = 3\n", ":1: agents: invalid type: integer `3`, expected struct Agents"),
    ("[server\n", ":1: "),
    ("[server]\nport = 1\nport = 2\n", ":3: duplicate key"),
];

#[test]
fn each_mistake_is_named_with_its_line() {
    for (text, expected) in MISTAKES {
        let (_folder, path) = file(text);
        let error = validate(&path).unwrap_err().to_string();
        let said = error.strip_prefix(&path.display().to_string()).unwrap_or(&error);
        assert!(said.starts_with(expected), "{text}\n{said}\n{expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_asked_for() {
    let error = validate(Path::new("/nowhere/deeptrace.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/deeptrace.toml: cannot read"), "{error}");
}

fn source(loaded: &Loaded, key: &str) -> (serde_json::Value, String) {
    let row = loaded.rows().into_iter().find(|row| row.key == key).unwrap();
    (row.value, row.source)
}

#[test]
fn each_layer_is_over_the_one_before() {
    let (_folder, path) = file("[server]\nport = 1\n[agents.trace]\npids = [7]\n");
    let mut loader = loader(&path);
    let port = |loader: &Loader, changes| source(&loader.load(changes).unwrap(), "server.port");
    assert_eq!(port(&loader, None), (json!(1), format!("{}:2", path.display())));
    let name = "DEEPTRACE_SERVER__PORT".to_owned();
    loader.environment = vec![(name.clone(), "2".to_owned())];
    assert_eq!(port(&loader, None), (json!(2), name));
    loader.argument("server.port", "--port", Some(3));
    assert_eq!(port(&loader, None), (json!(3), "--port".to_owned()));
    let changes = json!({"server": {"port": 4}});
    assert_eq!(port(&loader, Some(&changes)), (json!(4), "PUT /config".to_owned()));

    let loaded = loader.load(None).unwrap();
    assert_eq!(source(&loaded, "server.host"), (json!("127.0.0.1"), "default".to_owned()));
    assert_eq!(loaded.changed(&loader.load(Some(&changes)).unwrap()), ["server.port"]);
}

#[test]
fn variables_are_read_in_the_form_of_their_key() {
    let cases = [
        ("DEEPTRACE_AGENTS__TRACE__SAMPLING_RATE", "0.1", json!(0.1)),
        ("DEEPTRACE_AGENTS__TRACE__PIDS", "[1, 2]", json!([1, 2])),
        ("DEEPTRACE_AGENTS__TRACE__PIDS", "1", json!([1])),
        ("DEEPTRACE_AGENTS__TRACE__INCLUDE_PROCESSES", "nginx, redis*", json!(["nginx", "redis*"])),
        ("DEEPTRACE_AGENTS__TRACE__MONITOR_CONTAINERS", "false", json!(false)),
        ("DEEPTRACE_ELASTICSEARCH__USERNAME", "12345", json!("12345")),
        ("DEEPTRACE_CORRELATION__EVIDENCE__THREAD", "false", json!(false)),
    ];
    for (name, text, expected) in cases {
        let environment = vec![(name.to_owned(), text.to_owned())];
        // What selects the backend by being there must say where it is.
        let (_folder, path) = file("[storage]\nbackend = \"embedded\"\n");
        let loaded = Loader { environment, ..loader(&path) }.load(None).unwrap();
        let key = name.trim_start_matches("DEEPTRACE_").to_lowercase().replace("__", ".");
        assert_eq!(source(&loaded, &key), (expected, name.to_owned()));
    }
    let (_folder, path) = file("");
    let environment = vec![("DEEPTRACE_SERVER__PROT".to_owned(), "1".to_owned())];
    let error = Loader { environment, ..loader(&path) }.load(None).unwrap_err().to_string();
    assert_eq!(
        error,
        "DEEPTRACE_SERVER__PROT: unknown key `server.prot`; the nearest known one is `server.port`"
    );
}

#[test]
fn secrets_are_not_shown() {
    let (_folder, path) =
        file("[elasticsearch]\nhosts = [\"http://localhost:9200\"]\npassword = \"changeme\"\n");
    let loaded = validate(&path).unwrap();
    assert_eq!(source(&loaded, "elasticsearch.password").0, json!("…"));
    assert!(!serde_json::to_string(&loaded.rows()).unwrap().contains("changeme"));

    let (_folder, path) = file(MORE);
    let loaded = validate(&path).unwrap();
    assert_eq!(source(&loaded, "server.oidc.client_secret").0, json!("…"));
    let shown = format!("{} {:?}", serde_json::to_string(&loaded.rows()).unwrap(), loaded.server);
    assert!(shown.contains("deeptrace.admins") && !shown.contains("hush"), "{shown}");

    let (_folder, path) =
        file("[agents.sender]\nserver_url = \"https://ann:changeme@traces.example:7901/x\"\n");
    let url = source(&validate(&path).unwrap(), "agents.sender.server_url").0;
    assert_eq!(url, json!("https://…@traces.example:7901/x"));

    for wrong in
        ["password = 4711", "password = \"4711", "password = \"4711\"\npassword = \"4711\""]
    {
        let (_folder, path) = file(&format!("[elasticsearch]\n{wrong}\n"));
        let error = validate(&path).unwrap_err().to_string();
        assert!(!error.contains("4711"), "{error}");
    }
}

#[test]
fn what_is_masked_takes_effect_at_once() {
    for key in ["exclude_payloads", "filter_headers", "mask_patterns", "mask_card_numbers"] {
        assert_eq!(takes_effect(&format!("agents.capture.{key}")), "live", "{key}");
    }
    let (_folder, path) = file("[agents.capture]\nmask_patterns = [\"ok\", \"a|b\"]\n");
    let error = validate(&path).unwrap_err().to_string();
    assert!(
        error.contains(":2: agents.capture.mask_patterns[1]") && error.contains("'|'"),
        "{error}"
    );
}
