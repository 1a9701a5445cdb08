//! Jaeger with badger, the store that is in its own program: built once from its Go module, started with
//! everything on loopback, asked how many spans it saved.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::child::{self, Kept, free_ports};
use crate::root;

/// The last of its first line, which has badger in the all-in-one program.
const MODULE: &str = "github.com/jaegertracing/jaeger@v1.76.0";
/// Time until it listens, or ends, or has written a few spans.
const PATIENCE: Duration = Duration::from_secs(300);
/// Of many spans it writes more than so many in a second, on a host that others use as well.
const SPANS_PER_S: u64 = 250;
/// Less CPU than this in a second is rest.
const REST_CPU: f64 = 0.05;

/// A running Jaeger.
pub struct Jaeger {
    kept: Kept,
    ports: Ports,
}

/// The program: the given one, or one that is built if it was not before.
pub fn program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(program) = given {
        return Ok(std::path::absolute(program)?);
    }
    build("all-in-one")
}

/// The program of that folder of its module's `cmd`, built if it was not before.
pub fn build(command: &str) -> Result<PathBuf> {
    let folder = root().join("out/jaeger");
    let program = folder.join(format!("jaeger-{command}"));
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&folder)?;
    println!("building {command} of {MODULE}, which takes some minutes");
    let mut download = Command::new("go");
    download.args(["mod", "download", "-json", MODULE]).current_dir(&folder);
    let out = download.output().context("failed to start go, which builds Jaeger; install it")?;
    let told: serde_json::Value =
        serde_json::from_slice(&out.stdout).with_context(|| format!("go found no {MODULE}"))?;
    let source = told["Dir"].as_str().with_context(|| format!("go could not load {MODULE}"))?;
    let mut build = Command::new("go");
    build
        .args(["build", "-trimpath", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(format!("./cmd/{command}"));
    child::succeed(build.current_dir(source))?;
    Ok(program)
}

/// Where a Jaeger takes OTLP over HTTP, where it answers, and where it tells its metrics.
pub struct Ports {
    pub otlp: u16,
    pub query: u16,
    admin: u16,
}

/// The all-in-one program, told to listen on loopback only.
pub fn all_in_one(program: &Path) -> Result<(Command, Ports)> {
    let [otlp, query, admin, a, b, c, d] = free_ports()?;
    let mut command = Command::new(program);
    let mut listen = |option: &str, port: u16| {
        command.arg(format!("--{option}=127.0.0.1:{port}"));
    };
    listen("collector.otlp.http.host-port", otlp);
    listen("query.http-server.host-port", query);
    listen("admin.http.host-port", admin);
    listen("collector.otlp.grpc.host-port", a);
    listen("query.grpc-server.host-port", b);
    listen("collector.grpc-server.host-port", c);
    listen("collector.http-server.host-port", d);
    Ok((command, Ports { otlp, query, admin }))
}

/// Starts a Jaeger, with what it prints in `folder`; returns when it answers on the port `query`.
pub fn started(command: &mut Command, folder: &Path, query: u16) -> Result<Kept> {
    let log = File::create(folder.join("jaeger.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut kept = Kept::start("Jaeger", command)?;
    let begun = Instant::now();
    while ureq::get(format!("http://127.0.0.1:{query}/api/services")).call().is_err() {
        kept.alive()?;
        if begun.elapsed() > PATIENCE {
            bail!("Jaeger does not answer after {PATIENCE:?}; see jaeger.log");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(kept)
}

impl Jaeger {
    /// Starts it on the data in `data`; returns when it answers.
    pub fn start(program: &Path, folder: &Path, data: &Path) -> Result<Self> {
        fs::create_dir_all(data)?;
        let (mut command, ports) = all_in_one(program)?;
        // Without waiting room for all of them it drops spans.
        command.arg("--collector.queue-size=1000000").arg("--badger.ephemeral=false");
        command.arg("--badger.span-store-ttl=8760h");
        command.arg(format!("--badger.directory-key={}", data.join("key").display()));
        command.arg(format!("--badger.directory-value={}", data.join("value").display()));
        command.env("SPAN_STORAGE_TYPE", "badger");
        let kept = started(&mut command, folder, ports.query)?;
        Ok(Self { kept, ports })
    }

    /// Waits until it has written all that it was given, `spans` if it took them all; how many it has saved.
    pub fn settle(&mut self, spans: u64) -> Result<u64> {
        let patience = PATIENCE + Duration::from_secs(spans / SPANS_PER_S);
        let (begun, mut last) = (Instant::now(), f64::NAN);
        loop {
            self.kept.alive()?;
            let cpu = super::usage::cpu_seconds(self.pid())?;
            let (waiting, saved) = (self.sum("jaeger_collector_queue_length")?, self.saved()?);
            if waiting == 0.0 && cpu - last < REST_CPU {
                return Ok(saved as u64);
            }
            if begun.elapsed() > patience {
                bail!("Jaeger is not at rest after {patience:?}: {waiting} spans wait");
            }
            last = cpu;
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn saved(&self) -> Result<f64> {
        self.sum("jaeger_collector_spans_saved_by_svc_total")
    }

    /// Sum of a metric over its labels; of saved spans those that failed are none.
    fn sum(&self, name: &str) -> Result<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.ports.admin);
        let text = ureq::get(url).call()?.body_mut().read_to_string()?;
        let lines =
            text.lines().filter(|line| line.starts_with(name) && !line.contains("result=\"err\""));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.kept.pid()
    }

    /// Where it takes OTLP.
    pub fn otlp(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.otlp)
    }

    /// Where it answers.
    pub fn query(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.query)
    }

    /// Ends it, so that all is on the disk.
    pub fn stop(&mut self) -> Result<()> {
        self.kept.stop(PATIENCE)
    }
}
