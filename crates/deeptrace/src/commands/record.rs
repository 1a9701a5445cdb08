//! `deeptrace record`: what the kernel tells, into a file for `replay`.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use deeptrace_agent::live;
use deeptrace_capture::live::Live;
use deeptrace_capture::recording::Writer;
use deeptrace_capture::{Progress, Source};
use deeptrace_model::Event;
use deeptrace_protocol::{Output as Parsed, Protocols};

use crate::Common;
use crate::commands::run::loader;

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: sudo deeptrace record --output shop.rec --duration 30s")]
pub struct Options {
    /// File to write; it must not exist
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Stop after this time instead of at Ctrl-C
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// Overwrite values in payloads (not in this version)
    #[arg(long)]
    redact: bool,
}

/// How long to rest when the kernel has nothing to tell.
const REST: std::time::Duration = std::time::Duration::from_millis(2);
/// How often the file gets what is buffered.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(1);

/// Records until Ctrl-C.
pub fn run(options: Options, common: &Common) -> Result<()> {
    if options.redact {
        bail!(
            "this version cannot redact recordings, and writes none rather than one with values in \
             it; leave --redact out on hosts whose payloads you may keep"
        );
    }
    let duration = options.duration.as_deref().map(deeptrace_http::parse_duration).transpose()?;
    let loaded = loader(common).load(None)?;
    let shown = options.output.display();
    let file = File::create_new(&options.output)
        .with_context(|| format!("cannot create {shown}; choose a file that is not there yet"))?;
    let started = Live::open(live::options(&loaded.agent, Vec::new())?);
    let mut source = match started {
        Ok(source) => source,
        Err(error) => {
            // Nothing was recorded: nothing is left behind.
            std::fs::remove_file(&options.output).ok();
            return Err(error.into());
        }
    };
    let mut writer = Writer::new(BufWriter::new(file))?;
    // What capture copies is what the parsers ask for, as when it runs live.
    let mut protocols = Protocols::new(Default::default());
    let mut parsed = Parsed::default();
    let stop = stop_on_signal()?;
    eprintln!("recording to {shown}; Ctrl-C ends it");
    let (begun, mut flushed, mut events) = (Instant::now(), Instant::now(), 0_u64);
    let ends = duration.map(|duration| std::time::Duration::from_nanos(duration.0));
    while !stop.load(Ordering::Relaxed) && ends.is_none_or(|ends| begun.elapsed() < ends) {
        let mut failed = None;
        let progress = source.poll(&mut |event: &Event<'_>| {
            events += 1;
            if failed.is_none() {
                failed = writer.write(event).err();
            }
            protocols.feed(event, &mut parsed);
        })?;
        parsed.messages.clear();
        parsed.demands.drain(..).for_each(|demand| source.demand(demand));
        if let Some(error) = failed {
            return Err(error).with_context(|| format!("cannot write {shown} any further"));
        }
        if flushed.elapsed() >= FLUSH {
            flushed = Instant::now();
            writer.flush()?;
        }
        if progress == Progress::Idle {
            std::thread::sleep(REST);
        }
    }
    writer.finish()?;
    eprintln!("{events} events in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// A flag that Ctrl-C or `SIGTERM` sets.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (interrupt, terminate) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            if let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
        });
        flag.store(true, Ordering::Relaxed);
    });
    Ok(stop)
}
