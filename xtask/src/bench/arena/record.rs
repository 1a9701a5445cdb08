//! Records cells, for tests that hold floors without root: what the kernel told of a front, with the
//! hand-overs that DeepTrace asks for, from before it asks.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::front::{Builder, Front};
use super::{backend_port, drive};
use crate::bench::Bench;
use crate::child::Kept;

/// The key of recorded cells, which their tests know.
const KEY: &str = "recorded";
/// Requests at once.
const AT_ONCE: [usize; 3] = [1, 8, 32];
/// Requests until hand-overs are asked for, until they are believed, and requests that are counted.
const REQUESTS: [(&str, usize); 3] = [("lead", 60), ("more", 100), ("cell", 100)];
const READY: Duration = Duration::from_secs(20);
/// Time for hand-overs to be told that were asked for, and for what was seen last to be written.
const SETTLE: Duration = Duration::from_millis(2500);

/// Records the ways of a front that are `wanted` into `folder`, as `FRONT-WAY-ATONCE.rec`.
pub fn record(
    bench: &Bench,
    builder: &Builder,
    front: &Front,
    wanted: impl Fn(&str) -> bool,
    folder: &Path,
) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for way in front.ways.iter().filter(|way| wanted(way)) {
        for at_once in AT_ONCE {
            let file = folder.join(format!("{}-{way}-{at_once}.rec", front.name));
            cell(bench, builder, front, way, at_once, &file)?;
        }
    }
    Ok(())
}

fn cell(
    bench: &Bench,
    builder: &Builder,
    front: &Front,
    way: &str,
    at_once: usize,
    file: &Path,
) -> Result<()> {
    let kept = builder.start(front, super::PORT, backend_port(front), KEY, &bench.folder)?;
    drive(front, way, "warm", 32, 64)?;
    let config = bench.folder.join("record.toml");
    std::fs::write(&config, format!("[agents.trace]\npids = [{}]\n", kept.pid()))?;
    std::fs::remove_file(file).ok();
    let log = bench.folder.join("record.log");
    let mut command = Command::new(&bench.binary);
    command.arg("record").arg("--config").arg(&config).arg("--output").arg(file);
    command.stdin(Stdio::null()).stderr(std::fs::File::create(&log)?);
    let mut recorder = Kept::start("deeptrace record", &mut command)?;
    let begun = Instant::now();
    while !std::fs::read_to_string(&log)?.contains("recording to") {
        recorder.alive()?;
        if begun.elapsed() > READY {
            bail!("does not record after {READY:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for (prefix, count) in REQUESTS {
        drive(front, way, prefix, at_once, count)?;
        if prefix != "more" {
            std::thread::sleep(SETTLE);
        }
    }
    recorder.signal(Signal::INT)?;
    recorder.wait()?;
    Ok(())
}
