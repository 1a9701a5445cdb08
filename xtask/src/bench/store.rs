//! `./x bench store`: the embedded store on spans made from a recording of the demo, and beside it Jaeger
//! with its embedded store (badger) on the first of the same spans, sent by OTLP; answers of both are compared.
//! `crates/server/benches/store.rs` does the work.

pub mod jaeger;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::table::{Aim, Table};
use super::worker::{self, Figures};
use super::{Bench, usage};
use jaeger::Jaeger;

/// Questions of each kind, as the worker asks.
const QUESTIONS: f64 = 200.0;

/// Fills `table`.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let template = bench.folder.join("template");
    worker::template(&bench.binary, &template)?;
    let ours = ours(bench, table)?;
    if let Err(error) = beside(bench, table, &ours) {
        table.missing("Jaeger", &error);
    }
    Ok(())
}

fn ours(bench: &Bench, table: &mut Table) -> Result<Figures> {
    let all = bench.spans;
    let mut ours = work(bench, "write", all, None)?;
    // The same questions as Jaeger's, for which the answers are kept; and those of all spans.
    for (name, value) in work(bench, "ask", shared(bench), None)? {
        ours.insert(format!("shared {name}"), value);
    }
    ours.extend(work(bench, "ask-all", all, None)?);
    ours.extend(work(bench, "drop", all, None)?);
    let figure = |name: &str| ours.get(name).copied().unwrap_or(f64::NAN);
    let mut row = |what: &str, name: &str, unit: &str, aim: Aim| {
        table.figure(what, figure(name), unit, aim);
    };
    row("spans written a CPU second", "written", "", Aim::AtLeast(100_000.0));
    row("spans compacted a CPU second", "compacted", "", Aim::None);
    row("spans written and compacted a CPU second", "with compaction", "", Aim::None);
    row("the longest piece of compaction", "longest piece", "ms", Aim::None);
    row("bytes a span, as written", "bytes before", "", Aim::None);
    row("bytes a span, compacted, in use", "bytes used", "", Aim::None);
    row("bytes a span, compacted, all on disk", "bytes", "", Aim::AtMost(60.0));
    row("peak memory of writing", "peak MiB", "MiB", Aim::None);
    row("opening", "open", "ms", Aim::AtMost(1_000.0));
    row("trace by id, p50", "trace p50", "ms", Aim::None);
    row("trace by id, p99", "trace p99", "ms", Aim::AtMost(10.0));
    row("  of that CPU, p50", "trace CPU p50", "ms", Aim::None);
    row("  of that CPU, p99", "trace CPU p99", "ms", Aim::None);
    row("search by service, duration and time, p50", "search p50", "ms", Aim::None);
    row("search by service, duration and time, p99", "search p99", "ms", Aim::AtMost(150.0));
    row("  of that CPU, p50", "search CPU p50", "ms", Aim::None);
    row("  of that CPU, p99", "search CPU p99", "ms", Aim::None);
    row("sums of all time", "rollups", "ms", Aim::None);
    row("memory for these answers", "asked MiB", "MiB", Aim::None);
    row("dropping the oldest seventh", "drop", "s", Aim::AtMost(1.0));
    row("  the longest piece of it", "longest drop", "ms", Aim::None);
    row("removing the spans of one trace", "erase", "ms", Aim::None);
    row("writing all anew, so that no byte of it is left", "purge", "s", Aim::None);
    row("  peak memory of that", "purge peak MiB", "MiB", Aim::None);
    let (spans, links) = (figure("spans"), figure("links"));
    table.note(format!(
        "{spans} spans with {links} links, made from three seconds of the demo; each search found {:.1} traces",
        figure("found")
    ));
    Ok(ours)
}

/// Spans that Jaeger is given: it would take an hour and more for ten million.
fn shared(bench: &Bench) -> u64 {
    bench.spans.min(bench.jaeger_spans)
}

fn beside(bench: &Bench, table: &mut Table, ours: &Figures) -> Result<()> {
    let program = jaeger::program(bench.jaeger.as_deref())?;
    let data = bench.folder.join("badger");
    let mut jaeger = Jaeger::start(&program, &bench.folder, &data)?;
    let begun = usage::cpu_seconds(jaeger.pid())?;
    let sent = work(bench, "send", shared(bench), Some(&jaeger.otlp()))?;
    let spans = sent.get("spans").copied().unwrap_or_default();
    let saved = jaeger.settle(spans as u64)?;
    if saved as f64 != spans {
        bail!("Jaeger saved {saved} of {spans} spans, so its figures are of something else");
    }
    let cpu = usage::cpu_seconds(jaeger.pid())? - begun;
    let (peak, _) = usage::resident_mib(jaeger.pid())?;
    jaeger.stop()?;
    let bytes = bytes_on_disk(&data)? as f64 / spans;
    let mut jaeger = Jaeger::start(&program, &bench.folder, &data)?;
    let asked = work(bench, "ask-jaeger", shared(bench), Some(&jaeger.query()))?;
    jaeger.stop()?;
    let of = |figures: &Figures, name: &str| figures.get(name).copied().unwrap_or(f64::NAN);
    let rate = spans / cpu;
    table.figure("Jaeger: spans a CPU second, taken in by OTLP", rate, "", Aim::None);
    let times = of(ours, "with compaction") / rate;
    table.figure("  ours, compaction included, times that", times, "", Aim::AtLeast(5.0));
    table.figure("Jaeger: bytes a span", bytes, "", Aim::None);
    let part = of(ours, "bytes") / bytes;
    table.figure("  ours, part of that", part, "", Aim::AtMost(1.0 / 3.0));
    table.figure("Jaeger: resident", peak, "MiB", Aim::None);
    for (what, name) in [("trace by id", "trace"), ("search", "search")] {
        let p99 = format!("{name} p99");
        let p50 = of(&asked, &format!("{name} p50"));
        table.figure(format!("Jaeger: {what}, p50"), p50, "ms", Aim::None);
        let bound = of(&asked, &p99);
        table.figure(format!("Jaeger: {what}, p99"), bound, "ms", Aim::None);
        let same = of(ours, &format!("shared {p99}"));
        table.figure("  ours, of all spans, the same questions", same, "ms", Aim::Below(bound));
    }
    let equal = of(&asked, "equal traces");
    table.figure("of 200 traces, alike in both", equal, "", Aim::AtLeast(QUESTIONS));
    let equal = of(&asked, "equal searches");
    table.figure("of 200 searches, alike in both", equal, "", Aim::AtLeast(QUESTIONS));
    table.note(format!("Jaeger was given the first {spans} spans"));
    table.note(format!(
        "Jaeger is asked over HTTP on loopback, which is {:.2} ms (p50) of its times; ours in the process, to \
         the bytes of the API's answer (trace) or the list (search)",
        of(&asked, "least answer p50")
    ));
    table.note("Jaeger's CPU includes reading OTLP, which ours did not do");
    Ok(())
}

/// Bytes of all files in the folder, as the disk counts them.
fn bytes_on_disk(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => bytes_on_disk(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(bytes)
}

/// Runs the worker in a process of its own.
fn work(bench: &Bench, mode: &str, spans: u64, url: Option<&str>) -> Result<Figures> {
    let mut command = worker::command("store");
    command.arg(mode).arg(bench.folder.join("template")).arg(bench.folder.join("data"));
    command.arg(spans.to_string()).args(url).stderr(Stdio::inherit());
    let out = command.output().context("failed to start cargo")?;
    worker::figures(out).with_context(|| format!("the work '{mode}'"))
}
