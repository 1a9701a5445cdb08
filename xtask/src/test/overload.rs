//! `overload`: a server gets more spans than it can write, for ten minutes and into a store that is full all the
//! time. Its memory stays flat, it refuses the excess, it answers others meanwhile, and what it has acknowledged
//! it has written.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::usage;
use crate::bench::worker::{self, Figures};
use crate::child::{Kept, free_ports};
use crate::{api, build, root};

/// How long, unless `DEEPTRACE_OVERLOAD_SECONDS` says otherwise.
const SECONDS: u64 = 600;
/// Senders at once.
const THREADS: u64 = 96;
/// Between two looks at the server.
const LOOK: Duration = Duration::from_secs(2);
/// What the second half may have more than the first, of memory.
const GROWTH_MAX: f64 = 1.15;
/// Never retention by age, but the size is reached within seconds.
const CONFIG: &str = "[storage]\nspan_retention_days = 3650\nmax_bytes = 268435456\n";

/// What was seen at one look.
struct Look {
    resident_mib: f64,
    /// How long `/health` and `/status` took.
    answered: Duration,
    is_healthy: bool,
}

/// Does it.
pub fn overload() -> Result<()> {
    let seconds = match std::env::var("DEEPTRACE_OVERLOAD_SECONDS") {
        Ok(text) => text.parse().context("DEEPTRACE_OVERLOAD_SECONDS is no number")?,
        Err(_) => SECONDS,
    };
    let binary = build::binary()?;
    let folder = root().join("out/test-overload");
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("deeptrace.toml"), CONFIG)?;
    let template = folder.join("template");
    worker::template(&binary, &template)?;
    let [port, grpc, http] = free_ports()?;
    let mut server = Command::new(&binary);
    server.args(["server", "run", "--config", "deeptrace.toml", "--data-dir", "data", "--port"]);
    server.arg(port.to_string()).current_dir(&folder);
    server.env("DEEPTRACE_SERVER__OTLP__GRPC_PORT", grpc.to_string());
    server.env("DEEPTRACE_SERVER__OTLP__HTTP_PORT", http.to_string());
    server.stdout(Stdio::null()).stderr(fs::File::create(folder.join("server.log"))?);
    let mut server = Kept::start("deeptrace server", &mut server)?;
    let port = port.to_string();
    answers(&port)?;

    // Built before it is looked at: an idle server would be the first half.
    worker::build("press")?;
    let mut press = worker::command("press");
    press.arg(&template).arg(format!("http://127.0.0.1:{port}"));
    press.arg(seconds.to_string()).arg(THREADS.to_string());
    let pressing = press.stdout(Stdio::piped()).spawn().context("failed to start cargo")?;
    let pressing = std::thread::spawn(move || pressing.wait_with_output());
    let mut looks = Vec::new();
    while !pressing.is_finished() {
        std::thread::sleep(LOOK);
        server.alive()?;
        let begun = Instant::now();
        let is_healthy = api::get(&port, "/health").is_ok();
        api::get(&port, "/status")?;
        let (resident_mib, _) = usage::resident_mib(server.pid())?;
        looks.push(Look { resident_mib, answered: begun.elapsed(), is_healthy });
    }
    let told = pressing.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    judge(&port, &looks, &worker::figures(told)?)
}

/// Waits until the server answers.
fn answers(port: &str) -> Result<()> {
    let begun = Instant::now();
    while let Err(error) = api::get(port, "/health") {
        if begun.elapsed() > Duration::from_secs(20) {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn judge(port: &str, looks: &[Look], told: &Figures) -> Result<()> {
    let figure = |name: &str| {
        told.get(name).map(|value| *value as u64).with_context(|| format!("no {name}"))
    };
    let (acknowledged, refused) = (figure("acknowledged")?, figure("refused")?);
    let (cut, failed) = (figure("cut")?, figure("failed")?);
    let status = api::get(port, "/status")?;
    let counted = |name: &str| status["counters"][name].as_u64().unwrap_or_default();
    let written = counted("ingest_written_spans_total");
    let given_back = counted("ingest_refused_spans_total");
    let dropped = counted("ingest_dropped_spans_total");
    // The first tenth is for caches to fill.
    let warm = &looks[looks.len() / 10..];
    let (first, second) = warm.split_at(warm.len() / 2);
    let most = |looks: &[Look]| looks.iter().map(|look| look.resident_mib).fold(0.0, f64::max);
    let (before, after) = (most(first), most(second));
    let slowest = looks.iter().map(|look| look.answered).max().unwrap_or_default();
    let sick = looks.iter().filter(|look| !look.is_healthy).count();
    println!(
        "acknowledged {acknowledged} spans, refused {refused}, cut off {cut}, failed {failed}"
    );
    println!("the server: written {written}, refused {given_back}, dropped {dropped}");
    println!("resident: at most {before:.0} MiB in the first half, {after:.0} MiB in the second");
    println!("{} looks: not healthy {sick}, the slowest answer {slowest:?}", looks.len());
    if looks.len() < 10 {
        bail!("too short to say anything: {} looks", looks.len());
    }
    if refused == 0 {
        bail!("the server took everything: this was no overload");
    }
    if failed > 0 || dropped > 0 || written < acknowledged {
        bail!("spans were lost, or answered in another way than by 200, 429 or 503");
    }
    if cut > (acknowledged + refused) / 50 {
        bail!("{cut} spans were cut off: the server does not say that it is busy");
    }
    if after > before * GROWTH_MAX {
        bail!("memory grows: {before:.0} MiB, then {after:.0} MiB");
    }
    if sick > 0 {
        bail!("/health was not answered {sick} times");
    }
    Ok(())
}
