//! `./x demo`: the sample application under load, DeepTrace started after it, the first trace in the
//! terminal and the address of the page; Ctrl-C ends everything.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shop::{self, SERVER};
use crate::{build, child, root};

/// Options of the demo.
#[derive(clap::Args)]
pub struct Options {
    /// Requests a second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// End after so many seconds; 0: at Ctrl-C
    #[arg(long, default_value_t = 0)]
    seconds: u32,
}

/// Runs it.
pub fn demo(options: &Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("watching other processes needs root: run 'sudo ./x demo'");
    }
    let binary = build::binary()?;
    shop::ensure_packages()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .context("failed to watch for Ctrl-C")?;

    let (folder, data) = (root().join("out/shop"), root().join("out/demo"));
    std::fs::remove_dir_all(&data).ok();
    std::fs::create_dir_all(&folder)?;
    eprintln!("x: starting the sample application");
    let mut application = shop::up(&folder)?;
    let mut load = shop::load(&folder, options.rate, 0, &folder.join("load.json"))?;
    std::thread::sleep(Duration::from_secs(2));
    eprintln!("x: starting deeptrace, after the application");
    let begun = Instant::now();
    let mut deeptrace = shop::deeptrace(&binary, &data)?;
    let (trace, took) = shop::first_trace(begun, Duration::from_secs(30))?;
    child::succeed(Command::new(&binary).args(["trace", &trace, "--data-dir"]).arg(&data))?;
    println!("first trace {:.1} s after deeptrace's start", took.as_secs_f64());
    println!("all traces: {SERVER}   (Ctrl-C ends the demo)");

    let ends = (options.seconds > 0).then(|| Duration::from_secs(options.seconds.into()));
    while !stop.load(Ordering::Relaxed) && ends.is_none_or(|ends| begun.elapsed() < ends) {
        application.alive()?;
        load.alive()?;
        deeptrace.alive()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let patience = Duration::from_secs(20);
    load.stop(patience)?;
    deeptrace.stop(patience)?;
    application.stop(patience)?;
    println!("the demo has ended; its traces are in {}", data.display());
    Ok(())
}
