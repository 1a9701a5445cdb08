//! `deeptrace replay`: a recording or a packet capture through the same stages as live capture, and
//! whole traces out. Spans wait in a store in a temporary folder, so memory does not grow with the file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use deeptrace_agent::pipeline::{Options as PipelineOptions, Pipeline};
use deeptrace_agent::sink::Batch;
use deeptrace_capture::pcap::{Pcap, is_pcap};
use deeptrace_capture::recording::{Reader, is_recording};
use deeptrace_capture::{Progress, Source};
use deeptrace_export::Framing;
use deeptrace_model::{BootTime, Duration};
use deeptrace_query::{Limits, find, search};
use deeptrace_server::access::View;
use deeptrace_server::answers;
use deeptrace_store::{Filter, Mode, Store};

use crate::Common;
use crate::commands::run::loader;
use crate::commands::trace::tree;
use crate::{custom, output};

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace replay shop.rec --format json > spans.jsonl")]
pub struct Options {
    /// A recording of `deeptrace record`, or a .pcap or .pcapng file
    file: PathBuf,
    /// Trees for people, one span a line for programs, or only what it took
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// File to write; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Keep the spans in a store in this folder, to be looked at with --data-dir
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Trees.
    Text,
    /// One span a line.
    Json,
    /// Events, spans, links, CPU time and peak memory, without keeping any span.
    Counts,
}

/// How often the stages may give up on what waits, in the time of the events.
const TICK: Duration = Duration::from_millis(100);
/// After the last event everything is given up that still waits.
const END: Duration = Duration::from_secs(600);
/// Spans written at once.
const BATCH_SPANS: usize = 4096;
/// Traces asked for at once.
const PAGE: usize = 200;

/// Replays a file.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let loaded = loader(common).load(None)?;
    let mut source = open(&options.file)?;
    let pipeline = Pipeline::new(PipelineOptions {
        max_payload_size: loaded.agent.max_payload_size as usize,
        correlation: loaded.agent.correlation,
        handlers: custom::handlers()?,
        rules: loaded.agent.redaction.clone(),
    });
    let mut out = output::open(&options.output)?;
    if options.format == Format::Counts {
        let mut counts = Counts::default();
        let ended = feed(&mut *source, pipeline, &mut |batch| {
            counts.spans += batch.spans.len() as u64;
            counts.links += batch.links.len() as u64;
            batch.clear();
            Ok(())
        })?;
        counts.events = ended.events;
        counts.write(&mut out)?;
        return ended.outcome;
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder for the spans")?;
    let folder = options.store.as_deref().unwrap_or(folder.path());
    let mut store_options = deeptrace_store::Options::new(folder);
    // What a file holds is old, and all of it is wanted.
    store_options.retention = Duration(u64::MAX);
    store_options.max_bytes = u64::MAX;
    let store = deeptrace_store::open("embedded", &store_options, Mode::Write)?;
    let mut written = deeptrace_store::Batch::default();
    let ended = feed(&mut *source, pipeline, &mut |batch| {
        std::mem::swap(&mut written.spans, &mut batch.spans);
        std::mem::swap(&mut written.links, &mut batch.links);
        std::mem::swap(&mut written.gaps, &mut batch.gaps);
        batch.clear();
        Ok(store.write(&written)?)
    })?;
    let limits = Limits { similarity_threshold: loaded.server.threshold, ..Limits::default() };
    print(&*store, limits, options.format, &mut out)?;
    out.flush()?;
    // A file that broke off gave what it had; the failure comes after.
    ended.outcome
}

/// Opens a file by what it begins with.
fn open(path: &Path) -> Result<Box<dyn Source>> {
    let mut start = [0; 16];
    let shown = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let len = file.read(&mut start).with_context(|| format!("cannot read {shown}"))?;
    if is_recording(&start[..len]) {
        Ok(Box::new(Reader::open(path)?))
    } else if is_pcap(&start[..len]) {
        Ok(Box::new(Pcap::open(path)?))
    } else {
        bail!(
            "{shown} is neither a recording of 'deeptrace record' nor a .pcap or .pcapng file; \
             look at it with 'file {shown}'"
        )
    }
}

/// How a file ended.
struct Ended {
    events: u64,
    /// The error at which it broke off, if it did.
    outcome: Result<()>,
}

/// Everything through the stages, batches to `keep`, which empties them: their room is used again.
fn feed(
    source: &mut dyn Source,
    mut pipeline: Pipeline,
    keep: &mut dyn FnMut(&mut Batch) -> Result<()>,
) -> Result<Ended> {
    let mut batch = Batch::default();
    let (mut events, mut now, mut ticked) = (0, BootTime(0), BootTime(0));
    let outcome = loop {
        let progress = source.poll(&mut |event| {
            events += 1;
            now = now.max(event.time);
            if now.since(ticked) >= TICK {
                ticked = now;
                pipeline.tick(now, &mut batch, &mut |_| {});
            }
            pipeline.feed(event, &mut batch, &mut |_| {});
        });
        if batch.spans.len() >= BATCH_SPANS {
            keep(&mut batch)?;
        }
        match progress {
            Ok(Progress::End) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error.into()),
        }
    };
    pipeline.end(now.plus(END), &mut batch);
    keep(&mut batch)?;
    Ok(Ended { events, outcome })
}

/// All traces, the oldest first.
fn print(store: &dyn Store, limits: Limits, format: Format, out: &mut dyn Write) -> Result<()> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = search(store, &Filter::default(), cursor, PAGE, limits)?;
        ids.extend(page.traces.iter().map(|trace| (trace.start, trace.id)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    ids.sort_unstable();
    let lines = deeptrace_export::format("json").context("there is no JSON")?;
    let mut lines = (lines.make)(Framing::Lines);
    for (_, id) in ids {
        if format == Format::Json {
            let Some(trace) = find(store, &id.to_string(), limits)? else { continue };
            lines.spans(trace.id, &trace.spans, out)?;
        } else {
            let trace = answers::trace(store, &id.to_string(), &View::ALL, limits)
                .map_err(|error| anyhow::anyhow!(error.message))?;
            tree(out, &trace)?;
        }
    }
    if format == Format::Json {
        lines.end(out)?;
    }
    Ok(())
}

/// What it took.
#[derive(Debug, Default)]
struct Counts {
    events: u64,
    spans: u64,
    links: u64,
}

impl Counts {
    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let cpu = deeptrace_capture::host::cpu_time().0 as f64 / 1e9;
        let peak = deeptrace_capture::host::peak_memory_bytes() as f64 / (1 << 20) as f64;
        let rate = self.events as f64 / cpu.max(1e-9);
        let Self { events, spans, links } = self;
        writeln!(
            out,
            "{events} events, {spans} spans, {links} links, {cpu:.3} CPU seconds, \
             {rate:.0} events per CPU second, {peak:.1} MiB peak"
        )?;
        out.flush()?;
        Ok(())
    }
}
