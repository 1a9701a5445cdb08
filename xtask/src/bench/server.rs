//! The servers that are measured: nginx with small answers and redis, each one thread of work.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::child::Kept;

/// Where nginx listens.
pub const NGINX: u16 = 18501;
/// Where it speaks HTTP/2, without TLS.
pub const NGINX_HTTP2: u16 = 18503;
/// Where redis listens.
pub const REDIS: u16 = 18502;

const READY: Duration = Duration::from_secs(10);

/// One worker, answers of 85 bytes, connections that live for ever, no log.
const NGINX_CONFIG: &str = "worker_processes 1;
daemon off;
error_log stderr;
pid nginx.pid;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen 127.0.0.1:PORT;
        listen 127.0.0.1:HTTP2_PORT http2;
        location / { return 200 \"ANSWER\"; }
    }
}
";
const ANSWER_BYTES: usize = 85;

/// `program`, held on `core`.
pub fn held(core: Option<u32>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    match core {
        None => Command::new(program),
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
    }
}

/// nginx with its files in `folder`.
pub fn nginx(folder: &Path, core: Option<u32>) -> Result<Kept> {
    let folder = folder.join("nginx");
    fs::create_dir_all(&folder)?;
    let config = NGINX_CONFIG
        .replace("HTTP2_PORT", &NGINX_HTTP2.to_string())
        .replace("PORT", &NGINX.to_string())
        .replace("ANSWER", &"a".repeat(ANSWER_BYTES));
    fs::write(folder.join("nginx.conf"), config)?;
    let mut command = held(core, "nginx");
    command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "stderr"]);
    start("nginx", NGINX, &folder, command)
}

/// redis that writes nothing to disk.
pub fn redis(folder: &Path, core: Option<u32>) -> Result<Kept> {
    let folder = folder.join("redis");
    fs::create_dir_all(&folder)?;
    let mut command = held(core, "redis-server");
    command.args(["--port", &REDIS.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.arg("--dir").arg(&folder);
    start("redis-server", REDIS, &folder, command)
}

fn start(name: &'static str, port: u16, folder: &Path, mut command: Command) -> Result<Kept> {
    let log = File::create(folder.join("log"))?;
    if TcpStream::connect(("127.0.0.1", port)).is_ok() {
        bail!("port {port} is in use; {name} is to listen there");
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut kept = Kept::start(name, &mut command)?;
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        kept.alive()?;
        if begun.elapsed() > READY {
            bail!("{name} does not listen after {READY:?}; see {}", folder.join("log").display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(kept)
}
