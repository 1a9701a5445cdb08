//! `stores`: the suite of the store's contract on real servers, one after the other: OpenSearch 2 and 3,
//! Elasticsearch 7.10; behind nginx with TLS and a password or an API key; and with the server killed in the
//! middle of writing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::Skipped;
use crate::child::{self, Kept};
use crate::servers::setting::{PATIENCE, Setting};
use crate::servers::tools;
use crate::{packages, root};

/// A server: its folder in `xtask/servers/java`, and the oldest Java that runs it.
struct Server {
    name: &'static str,
    java: u32,
}

const SERVERS: [Server; 3] = [
    Server { name: "opensearch2", java: 17 },
    Server { name: "elasticsearch7", java: 17 },
    Server { name: "opensearch3", java: 21 },
];

/// How often the server is killed, and the time between.
const KILLS: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(4);
/// Variables of the tests.
const HOSTS: &str = "DEEPTRACE_TEST_ELASTICSEARCH";
const UNTIL: &str = "DEEPTRACE_TEST_ELASTICSEARCH_UNTIL";
/// Whoever may enter.
const NAME: &str = "deeptrace";
const PASSWORD: &str = "only for this test";
const API_KEY: &str = "b25seTpmb3J0aGlzdGVzdA==";

const OF_NGINX: &str = r#"
daemon off; pid FOLDER/pid; error_log stderr crit; user root; events { }
http {
    access_log off; keepalive_requests 100000; client_max_body_size 100m;
    client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
    ssl_certificate FOLDER/cert.pem; ssl_certificate_key FOLDER/key.pem;
    upstream node { server 127.0.0.1:BEHIND; keepalive 8; }
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "";
    map $http_authorization $is_known { default 0; "ApiKey API_KEY" 1; }
    server {
        listen 127.0.0.1:PORT ssl;
        location / { auth_basic "node"; auth_basic_user_file FOLDER/users; proxy_pass http://node; }
    }
    server {
        listen 127.0.0.1:OTHER ssl;
        location / { if ($is_known = 0) { return 401 "{}"; } proxy_pass http://node; }
    }
}
"#;

/// Does it.
pub fn stores() -> Result<()> {
    let mut missing = Vec::new();
    for server in &SERVERS {
        let Some(java) = tools::java_home(server.java)? else {
            missing.push(format!("{} needs Java {} or later", server.name, server.java));
            continue;
        };
        one(server, &java).with_context(|| server.name)?;
    }
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(Skipped::because(&format!("{}; the others passed", missing.join("; ")))),
    }
}

fn one(server: &Server, java: &Path) -> Result<()> {
    let setting = Setting::new(&root().join("out/stores").join(server.name))?;
    let mut running = start(server, java, &setting)?;
    let url = format!("http://127.0.0.1:{}", setting.port);
    println!("{}: directly", server.name);
    suite(&["--test", "conformance", "--test", "elastic"], &[], &[(HOSTS, &url)])?;
    if server.name == SERVERS[0].name {
        guarded(&setting)?;
    }
    println!("{}: killed", server.name);
    killed(server, java, &setting, &mut running)?;
    running.stop(PATIENCE)
}

/// Passes tests of the store's crate, those whose names have one of `names` in them.
fn suite(files: &[&str], names: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    child::succeed(&mut tests(files, names, variables))
}

fn tests(files: &[&str], names: &[&str], variables: &[(&str, &str)]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--quiet", "--package", "deeptrace-store"]).args(files);
    command.args(["--", "--test-threads=2"]).args(names);
    command.envs(variables.iter().copied()).current_dir(root());
    command
}

/// The server behind nginx, which asks for a password on one port and for an API key on another.
fn guarded(behind: &Setting) -> Result<()> {
    packages::ensure(packages::TLS)?;
    let setting = Setting::new(&root().join("out/stores/nginx"))?;
    let (certificate, key) = (setting.path("cert.pem"), setting.path("key.pem"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    make.args(["-nodes", "-days", "9", "-subj", "/CN=localhost", "-addext"]);
    make.args(["subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", &key]);
    // Who is believed to make certificates may not be a server.
    make.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    child::succeed(make.args(["-out", &certificate]).stderr(Stdio::null()))?;
    let hash = Command::new("openssl").args(["passwd", "-apr1", PASSWORD]).output()?;
    let hash = String::from_utf8_lossy(&hash.stdout).into_owned();
    setting.write("users", &format!("{NAME}:{hash}"))?;
    let text = OF_NGINX.replace("BEHIND", &behind.port.to_string()).replace("API_KEY", API_KEY);
    let config = setting.write("nginx.conf", &text)?;
    let mut command = Command::new("nginx");
    let mut nginx =
        setting.start("nginx", command.args(["-p", &setting.path(""), "-c", &config]))?;
    setting.serves()?;
    let of = |port: u16| format!("https://localhost:{port}");
    let (password, api_key) = (of(setting.port), of(setting.other));
    let files = ["--test", "conformance", "--test", "elastic"];
    println!("TLS and a password");
    suite(
        &files,
        &["documents", "survive", "links", "full_disk", "away", "who_may_not"],
        &[
            (HOSTS, &password),
            ("DEEPTRACE_TEST_ELASTICSEARCH_CA_FILE", &certificate),
            ("DEEPTRACE_TEST_ELASTICSEARCH_USERNAME", NAME),
            ("DEEPTRACE_TEST_ELASTICSEARCH_PASSWORD", PASSWORD),
        ],
    )?;
    println!("TLS and an API key");
    suite(
        &files,
        &["documents", "who_may_not"],
        &[
            (HOSTS, &api_key),
            ("DEEPTRACE_TEST_ELASTICSEARCH_CA_FILE", &certificate),
            ("DEEPTRACE_TEST_ELASTICSEARCH_API_KEY", API_KEY),
        ],
    )?;
    nginx.stop(PATIENCE)
}

/// The server is killed while a test writes to it, and started again.
fn killed(server: &Server, java: &Path, setting: &Setting, running: &mut Kept) -> Result<()> {
    let until: PathBuf = setting.folder.join("until");
    let url = format!("http://127.0.0.1:{}", setting.port);
    let variables = [(HOSTS, url.as_str()), (UNTIL, &until.to_string_lossy())];
    let name = ["what_was_acknowledged_survives_the_end_of_the_server", "--nocapture"];
    let mut writer = Kept::start("writer", &mut tests(&["--test", "elastic"], &name, &variables))?;
    // It opens the store while the server is there.
    let begun = setting.folder.join("until-begun");
    while !begun.exists() {
        writer.alive()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    for _ in 0..KILLS {
        std::thread::sleep(BETWEEN);
        writer.alive()?;
        running.signal(Signal::KILL)?;
        // It has not ended as it should, and that is meant.
        let _ = running.wait();
        *running = start(server, java, setting)?;
    }
    std::thread::sleep(BETWEEN);
    fs::write(&until, "")?;
    writer.wait()
}

fn start(server: &Server, java: &Path, setting: &Setting) -> Result<Kept> {
    let mut command = tools::java_of(server.name, Some(java))?;
    command.args(["-Xms512m", "-Xmx512m", "Server"]);
    command.args([setting.port.to_string(), setting.other.to_string(), setting.path("data")]);
    let running = setting.start(server.name, &mut command)?;
    let url = format!("http://127.0.0.1:{}/_cluster/health?wait_for_status=yellow", setting.port);
    let begun = Instant::now();
    while ureq::get(&url).call().is_err() {
        if begun.elapsed() > PATIENCE {
            bail!("{} does not serve; see {}", server.name, setting.log().display());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(running)
}
