//! What may happen to DeepTrace beside a live application: it is killed, stopped for a while, its disk
//! is full. The application must not notice, the store must open, and what was missed must be told.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::FLOORS;
use crate::child::{self, Kept};
use crate::{build, root, shop};

/// A disk that the load fills within seconds, and one that it does not fill.
const SMALL: &str = "size=2m,mode=700";
const LARGE: &str = "size=256m,mode=700";
/// What waits for the disk is dropped only beyond what memory may hold, which takes longest.
const PATIENCE: Duration = Duration::from_secs(300);

/// The shop under load.
struct Loaded {
    folder: PathBuf,
    // Ends before what it asks.
    load: Kept,
    application: Kept,
}

impl Loaded {
    fn start(rate: u32, seconds: u32) -> Result<Self> {
        shop::ensure_packages()?;
        let folder = root().join("out/test-shop");
        std::fs::create_dir_all(&folder)?;
        let application = shop::up(&folder)?;
        let load = shop::load(&folder, rate, seconds, &folder.join("load.json"))?;
        Ok(Self { folder, load, application })
    }
}

/// Killed, started again, and stopped for a while.
pub fn rough() -> Result<()> {
    let (binary, data) = (build::binary()?, fresh("test-rough")?);
    let mut loaded = Loaded::start(50, 60)?;
    std::thread::sleep(Duration::from_secs(5));
    let first = shop::deeptrace(&binary, &data)?;
    std::thread::sleep(Duration::from_secs(10));
    first.signal(Signal::KILL)?;
    drop(first);
    let killed = Instant::now();
    std::thread::sleep(Duration::from_secs(4));
    let mut second = shop::deeptrace(&binary, &data)?;
    std::thread::sleep(Duration::from_secs(5));
    second.signal(Signal::STOP)?;
    std::thread::sleep(Duration::from_secs(10));
    second.signal(Signal::CONT)?;
    std::thread::sleep(Duration::from_secs(5));
    let from = shop::now();
    loaded.load.wait()?;
    let to = shop::now() - 1.0;
    std::thread::sleep(Duration::from_secs(3));
    shop::score(&binary, &data, &loaded.folder, (from, to), &FLOORS)?;
    around(killed, 8)?;
    second.stop(Duration::from_secs(10))?;
    loaded.application.stop(Duration::from_secs(20))
}

/// A disk that is full until somebody enlarges it.
pub fn disk() -> Result<()> {
    let (binary, data) = (build::binary()?, fresh("test-disk")?);
    let disk = Disk::mount(&data, SMALL)?;
    let mut loaded = Loaded::start(100, 0)?;
    let mut deeptrace = shop::deeptrace(&binary, &data)?;
    let refuses = |status: &Value| status["state"] == "store_refuses";
    reaches("the store refuses", &mut deeptrace, refuses)?;
    let full = Instant::now();
    reaches("what memory cannot hold is dropped", &mut deeptrace, |status| dropped(status) > 0)?;
    disk.resize(LARGE)?;
    reaches("the store works again", &mut deeptrace, |status| status["state"] == "ok")?;
    let from = shop::now();
    std::thread::sleep(Duration::from_secs(20));
    let to = shop::now() - 1.0;
    loaded.load.stop(Duration::from_secs(20))?;
    std::thread::sleep(Duration::from_secs(3));
    shop::score(&binary, &data, &loaded.folder, (from, to), &FLOORS)?;
    let status = shop::get("/status")?;
    println!("{} spans were dropped and counted", dropped(&status));
    if status["store"]["gap_count"].as_u64().unwrap_or(0) == 0 {
        bail!("no gap tells of {} spans that were dropped", dropped(&status));
    }
    around(full, 1)?;
    deeptrace.stop(Duration::from_secs(10))?;
    loaded.application.stop(Duration::from_secs(20))
}

/// An empty folder for data.
fn fresh(name: &str) -> Result<PathBuf> {
    let folder = root().join("out").join(name);
    std::fs::remove_dir_all(&folder).ok();
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A file system in memory; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, options: &str) -> Result<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "deeptrace-test"]).arg(at);
        child::succeed(&mut mount)?;
        Ok(Self(at.to_owned()))
    }

    fn resize(&self, options: &str) -> Result<()> {
        let mut mount = Command::new("mount");
        child::succeed(mount.args(["-o", &format!("remount,{options}")]).arg(&self.0))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left files open. Nothing can be done about an error.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn dropped(status: &Value) -> u64 {
    status["counters"]["ingest_dropped_spans_total"].as_u64().unwrap_or(0)
}

fn reaches(what: &str, deeptrace: &mut Kept, is_there: impl Fn(&Value) -> bool) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        deeptrace.alive()?;
        if is_there(&shop::get("/status")?) {
            println!("after {:.0} s: {what}", begun.elapsed().as_secs_f64());
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("not seen within {PATIENCE:?}: {what}")
}

/// What was missed since `lost` is told by the traces from a little before until `seconds` after it.
fn around(lost: Instant, seconds: u64) -> Result<()> {
    let ago = lost.elapsed().as_secs();
    let traces =
        format!("/traces?limit=500&start=-{}s&end=-{}s", ago + 3, ago.saturating_sub(seconds));
    let answer = shop::get(&traces)?;
    let traces = answer["traces"].as_array().context("no list of traces")?;
    let marked = traces.iter().filter(|trace| trace["incomplete"] == true).count();
    println!("{marked} of {} traces around the loss say that something is missing", traces.len());
    if marked == 0 {
        bail!("no trace around the loss says that something is missing");
    }
    Ok(())
}
