//! `deeptrace record`: what the kernel tells, into a file for `replay`.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use deeptrace_agent::config::Config;
use deeptrace_agent::live;
use deeptrace_agent::pipeline::{Options as PipelineOptions, Pipeline};
use deeptrace_agent::redacting::Redacting;
use deeptrace_agent::sink::Batch;
use deeptrace_capture::live::Live;
use deeptrace_capture::recording::Writer;
use deeptrace_capture::{Progress, Source, host};
use deeptrace_model::{Demand, Event, Follow};
use deeptrace_protocol::Handler;

use crate::commands::run::loader;
use crate::{Common, arguments, custom};

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: sudo deeptrace record --output shop.rec --duration 30s")]
pub struct Options {
    /// File to write; it must not exist
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Stop after this time instead of at Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    duration: Option<String>,
    /// Overwrite all bytes of calls, and keep what spans show of them
    #[arg(long)]
    redact: bool,
}

/// How long to rest when the kernel has nothing to tell.
const REST: std::time::Duration = std::time::Duration::from_millis(2);
/// How often the stages may give up on what waits.
const TICK: std::time::Duration = std::time::Duration::from_millis(100);
/// How often the file gets what is buffered.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(1);

/// Records until Ctrl-C.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let duration = options.duration.as_deref().map(deeptrace_http::parse_duration).transpose()?;
    let loaded = loader(common).load(None)?;
    let mut taking = Taking::new(options.redact, &loaded.agent, custom::handlers()?);
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
    let stop = stop_on_signal()?;
    eprintln!("recording to {shown}; Ctrl-C ends it");
    let (begun, mut flushed, mut ticked) = (Instant::now(), Instant::now(), Instant::now());
    let mut events = 0_u64;
    let ends = duration.map(|duration| std::time::Duration::from_nanos(duration.0));
    let is_over =
        || stop.load(Ordering::Relaxed) || ends.is_some_and(|ends| begun.elapsed() >= ends);
    // What happened before the end may be told after it.
    let mut over: Option<Instant> = None;
    loop {
        if over.is_none() && is_over() {
            over = Some(Instant::now());
        }
        let mut failed = None;
        let mut write = |event: &Event<'_>| {
            if failed.is_none() {
                failed = writer.write(event).err();
            }
        };
        let mut demands = Vec::new();
        let progress = source.poll(&mut |event: &Event<'_>| {
            events += 1;
            taking.feed(event, &mut demands, &mut write);
        })?;
        if ticked.elapsed() >= TICK {
            ticked = Instant::now();
            taking.tick(&mut demands, &mut write, &mut |ask| source.follow(ask));
        }
        demands.into_iter().for_each(|demand| source.demand(demand));
        if let Some(error) = failed {
            return Err(error).with_context(|| format!("cannot write {shown} any further"));
        }
        if flushed.elapsed() >= FLUSH {
            flushed = Instant::now();
            writer.flush()?;
        }
        let is_told = progress == Progress::Idle;
        if over.is_some_and(|over| is_told || over.elapsed() >= FLUSH) {
            break;
        }
        if is_told {
            std::thread::sleep(REST);
        }
    }
    writer.finish()?;
    eprintln!("{events} events in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// What is taken of events. The stages run beside: capture copies what they ask for, and follows the
/// processes that they ask for, as when it runs live.
struct Taking {
    redacting: Option<Box<Redacting>>,
    pipeline: Box<Pipeline>,
    batch: Batch,
}

impl Taking {
    fn new(redact: bool, config: &Config, handlers: Vec<Handler>) -> Self {
        let options = PipelineOptions {
            max_payload_size: config.max_payload_size as usize,
            correlation: config.correlation,
            handlers,
            rules: config.redaction.clone(),
        };
        let redacting = redact.then(|| Box::new(Redacting::new(options.clone())));
        Self { redacting, pipeline: Box::new(Pipeline::new(options)), batch: Batch::default() }
    }

    fn feed(
        &mut self,
        event: &Event<'_>,
        demands: &mut Vec<Demand>,
        write: &mut dyn FnMut(&Event<'_>),
    ) {
        let Self { redacting, pipeline, batch } = self;
        match redacting {
            None => {
                write(event);
                pipeline.feed(event, batch, &mut |demand| demands.push(demand));
            }
            Some(redacting) => {
                redacting.feed(event, &mut |demand| demands.push(demand), &mut |event| {
                    write(event);
                    pipeline.feed(event, batch, &mut |_| {});
                });
            }
        }
    }

    fn tick(
        &mut self,
        demands: &mut Vec<Demand>,
        write: &mut dyn FnMut(&Event<'_>),
        follow: &mut dyn FnMut(Follow),
    ) {
        let now = host::boot_time_now();
        let Self { redacting, pipeline, batch } = self;
        match redacting {
            None => pipeline.tick(now, batch, &mut |demand| demands.push(demand)),
            Some(redacting) => {
                redacting.tick(now, &mut |demand| demands.push(demand), &mut |event| {
                    write(event);
                    pipeline.feed(event, batch, &mut |_| {});
                });
                pipeline.tick(now, batch, &mut |_| {});
            }
        }
        pipeline.follows(follow);
        // Nobody wants what replays will tell.
        *batch = Batch::default();
    }
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
