//! `./x test`: everything a change must pass, from formatting to the whole product on a live
//! application. What could not run here is said, and is no success in silence.

mod containers;
mod fleet;
mod kernels;
mod metrics;
mod namespaces;
mod network;
mod oidc;
mod openapi;
mod otlp;
mod overload;
mod processes;
mod program;
mod rough;
mod stores;
mod tls;
pub mod watcher;
mod witness;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::shop::{self, Floors};
use crate::{bpf, build, child, packages, root, servers};

/// Options of the tests.
#[derive(clap::Args)]
pub struct Options {
    /// Also what takes long: a minute of load with kills and stops; other kernels
    #[arg(long)]
    all: bool,
    /// Only the step of this name
    #[arg(long, value_name = "STEP")]
    only: Option<String>,
}

/// A step: its name, what it holds, whether it needs root, and what it does.
struct Step {
    name: &'static str,
    holds: &'static str,
    root: bool,
    long: bool,
    run: fn() -> Result<()>,
}

const STEPS: &[Step] = &[
    step("format", "sources are formatted", || child::cargo(&["fmt", "--all", "--check"])),
    step("lint", "clippy without warnings", lint),
    step("unit", "unit, corpus, table, stages; live capture as root", unit),
    step("offline", "everything but capture builds without libbpf", offline),
    step("object", "the kernel object is what its source builds", || bpf::build(true)),
    step("ui", "types, lint and tests of the page; its build is committed", ui),
    step("shop", "the scorer of the sample application", scorer),
    Step {
        root: true,
        ..step("network", "HTTP between namespaces, through NAT: all joined", network::network)
    },
    Step {
        root: true,
        ..step(
            "fleet",
            "three hosts, one server, under TLS: kills and cuts lose nothing",
            fleet::fleet,
        )
    },
    Step {
        root: true,
        long: true,
        ..step(
            "replicas",
            "two servers over one OpenSearch: kills and cuts lose nothing, answers alike",
            fleet::replicas,
        )
    },
    Step {
        root: true,
        long: true,
        ..step(
            "kept",
            "spans that stay on three hosts: answers as where all are sent, bytes",
            fleet::kept,
        )
    },
    Step {
        root: true,
        long: true,
        ..step("sampling", "three hosts: whole traces or nothing, or marked", fleet::sampling)
    },
    Step {
        root: true,
        ..step("processes", "what is watched, changed by hand and by rules", processes::processes)
    },
    Step {
        root: true,
        ..step("containers", "container.id, monitor_containers", containers::containers)
    },
    Step { root: true, ..step("tls", "HTTPS without keys: joined, none twice", tls::tls) },
    Step {
        root: true,
        long: true,
        ..step("more tls", "the same with clients in Go, and GnuTLS", tls::all)
    },
    Step {
        root: true,
        long: true,
        ..step(
            "metrics",
            "a real Prometheus: every query in deploy/ has its answer",
            metrics::metrics,
        )
    },
    Step {
        root: true,
        long: true,
        ..step("openapi", "every answer is as /openapi.json says", openapi::openapi)
    },
    Step {
        long: true,
        ..step("oidc", "single sign-on at a real provider, in a browser", oidc::oidc)
    },
    Step {
        root: true,
        long: true,
        ..step("otlp", "an SDK and we: one tree, also in Jaeger and through rotel", otlp::otlp)
    },
    Step { root: true, ..step("demo", "50 requests/s: captured, joined, page", demo) },
    Step {
        root: true,
        ..step("servers", "real servers and clients: each call its spans", servers::core)
    },
    Step {
        root: true,
        long: true,
        ..step("more servers", "those that take long to start", servers::long)
    },
    Step {
        root: true,
        long: true,
        ..step(
            "stores",
            "OpenSearch and Elasticsearch keep what the store promises",
            stores::stores,
        )
    },
    Step { long: true, ..step("kernels", "Debian's kernels in an emulator", kernels::kernels) },
    Step { root: true, long: true, ..step("rough", "kill -9, SIGSTOP under load", rough::rough) },
    Step { root: true, long: true, ..step("disk", "a full disk under load", rough::disk) },
    Step {
        long: true,
        ..step("overload", "ten minutes of more than a server can take", overload::overload)
    },
];

const fn step(name: &'static str, holds: &'static str, run: fn() -> Result<()>) -> Step {
    Step { name, holds, root: false, long: false, run }
}

/// Why a step cannot run on this machine, which is no failure.
#[derive(Debug)]
pub struct Skipped(String);

impl Skipped {
    /// With this reason.
    pub fn because(reason: &str) -> anyhow::Error {
        anyhow::Error::new(Self(reason.to_owned()))
    }
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// Runs the steps in order, goes on after a failure, and prints one table.
pub fn test(options: &Options) -> Result<()> {
    packages::ensure(packages::BUILD)?;
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        packages::ensure(packages::SERVERS)?;
    }
    let mut rows = Vec::new();
    for step in STEPS {
        if options.only.as_ref().is_some_and(|only| only != step.name) {
            continue;
        }
        let begun = Instant::now();
        let named = options.only.is_some();
        let result = if step.root && !is_root {
            "SKIPPED: needs root".to_owned()
        } else if step.long && !options.all && !named {
            "SKIPPED: only with --all".to_owned()
        } else {
            eprintln!("\nx: == {}: {}", step.name, step.holds);
            match (step.run)() {
                Ok(()) => "passed".to_owned(),
                Err(error) if error.is::<Skipped>() => format!("SKIPPED: {error}"),
                Err(error) => format!("FAILED: {error:#}"),
            }
        };
        rows.push((step, begun.elapsed(), result));
    }
    println!();
    for (step, took, result) in &rows {
        println!("{:12} {:4} s  {}  ({})", step.name, took.as_secs(), result, step.holds);
    }
    let count = |word: &str| rows.iter().filter(|(_, _, result)| result.starts_with(word)).count();
    let (passed, failed, skipped) = (count("passed"), count("FAILED"), count("SKIPPED"));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        bail!("{failed} of {} steps failed", rows.len());
    }
    Ok(())
}

fn lint() -> Result<()> {
    child::cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
}

fn unit() -> Result<()> {
    child::cargo(&["test", "--workspace", "--quiet"])
}

fn offline() -> Result<()> {
    child::cargo(&["check", "--package", "deeptrace", "--no-default-features", "--quiet"])
}

fn npm(arguments: &[&str]) -> Result<()> {
    child::succeed(Command::new("npm").args(arguments).current_dir(root().join("ui")))
}

fn ui() -> Result<()> {
    shop::ensure_packages()?;
    npm(&["ci", "--no-audit", "--no-fund", "--silent"])?;
    npm(&["run", "--silent", "check"])?;
    npm(&["run", "--silent", "lint"])?;
    npm(&["run", "--silent", "test"])?;
    let fresh = root().join("out/ui-dist");
    std::fs::remove_dir_all(&fresh).ok();
    npm(&["run", "--silent", "build", "--", "--outDir", &fresh.to_string_lossy()])?;
    let mut compare = Command::new("diff");
    compare.arg("-r").arg(&fresh).arg(root().join("ui/dist"));
    if child::succeed(&mut compare).is_err() {
        bail!("ui/dist is not what its source builds: run 'npm run build' in ui and commit it");
    }
    Ok(())
}

fn scorer() -> Result<()> {
    packages::ensure(&["python3"])?;
    let mut command = Command::new("python3");
    child::succeed(
        command.args(["-m", "unittest", "discover", "examples/shop"]).current_dir(root()),
    )
}

/// What must be seen in every run: nearly everything captured and joined, nothing joined wrongly.
const FLOORS: Floors = Floors { captured: 99.5, joined: 99.5 };

/// The shop under load, DeepTrace started after it; score, errors of the application, and the page.
fn demo() -> Result<()> {
    let binary = build::binary()?;
    shop::ensure_packages()?;
    packages::ensure(packages::BROWSER)?;
    let (folder, data) = (root().join("out/test-shop"), root().join("out/test-data"));
    std::fs::remove_dir_all(&data).ok();
    std::fs::create_dir_all(&folder)?;
    let mut application = shop::up(&folder)?;
    let report = folder.join("load.json");
    let mut load = shop::load(&folder, 50, 35, &report)?;
    std::thread::sleep(Duration::from_secs(3));
    let begun = Instant::now();
    let mut deeptrace = shop::deeptrace(&binary, &data)?;
    let (_, took) = shop::first_trace(begun, Duration::from_secs(10))?;
    println!("first trace {:.1} s after the start", took.as_secs_f64());
    let from = shop::now() + 2.0;
    // Fails if the application saw an error or a reset that it does not mean to have.
    load.wait()?;
    let to = shop::now() - 1.0;
    std::thread::sleep(Duration::from_secs(3));
    shop::score(&binary, &data, &folder, (from, to), &FLOORS)?;
    page()?;
    deeptrace.stop(Duration::from_secs(10))?;
    application.stop(Duration::from_secs(20))
}

/// The page in a real browser, against the store that the run before has filled.
fn page() -> Result<()> {
    npm(&["ci", "--no-audit", "--no-fund", "--silent"])?;
    let mut browser = Command::new("node");
    browser.args(["tests/page.mjs", shop::SERVER]).arg(root().join("out/pictures"));
    child::succeed(browser.current_dir(root().join("ui")))
}
