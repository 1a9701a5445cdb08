//! The work of `./x bench store`, in processes of their own so that each one's CPU and memory can be told:
//!
//! `write|ask|ask-all|drop TEMPLATE DATA SPANS` on an embedded store in DATA, of which the first SPANS are asked
//! for; `ask` keeps the answers beside it, for `ask-jaeger`. `send URL`, `ask-jaeger URL` after the
//! same three on a Jaeger that was given the first SPANS of them. Figures are printed one a line, name, tab, value.
#![expect(clippy::unwrap_used, reason = "a benchmark fails like a test")]

#[path = "store/demo.rs"]
mod demo;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use deeptrace_export::{Framing, format};
use deeptrace_model::{Duration, TraceSpan, WallTime, hash64};
use deeptrace_query::Limits;
use deeptrace_server::access::View;
use deeptrace_server::answers;
use deeptrace_store::{
    Batch, Filter, Mode, Options, Removal, SpanKey, SpanLookup, Step, Store, Window,
};
use demo::{Demo, Trace, batch};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Spans that are written at once, as by the server.
const WRITTEN: usize = 4096;
/// Pieces of maintenance between two writes, at most: the server has time for more unless it is flooded.
const MAINTAINED: usize = 4;
/// Spans of one request to Jaeger, about.
const SENT: usize = 512;
/// Questions of each kind.
const QUESTIONS: u64 = 200;
/// Nanoseconds that a search looks at, and how many traces it may answer.
const SEARCHED: u64 = 60_000_000_000;
const LIMIT: usize = 200;
/// Searches ask for traces that took longer.
const LONG: Duration = Duration::from_millis(40);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [mode, template, data, spans, url @ ..] = words.as_slice() else {
        println!("run by ./x bench store");
        return;
    };
    // As in the binary.
    rustix::thread::disable_transparent_huge_pages(true).unwrap();
    let demo = Demo::open(Path::new(template));
    let spans: u64 = spans.parse().unwrap();
    let rounds = spans.div_ceil(demo.len() as u64);
    let data = Path::new(data);
    match (mode.as_str(), url) {
        ("write", _) => write(&demo, data, rounds),
        ("ask", _) => {
            let answers = serde_json::to_vec(&ask(&demo, data, rounds)).unwrap();
            fs::write(data.with_extension("answers"), answers).unwrap();
        }
        ("ask-all", _) => drop(ask(&demo, data, rounds)),
        ("drop", _) => drop_oldest(&demo, data, rounds),
        ("send", [url]) => send(&demo, url, rounds),
        ("ask-jaeger", [url]) => ask_jaeger(&demo, data, url, rounds),
        _ => unreachable!("{words:?}"),
    }
}

fn tell(name: &str, value: f64) {
    println!("{name}\t{value}");
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn open(data: &Path, mode: Mode) -> std::sync::Arc<dyn Store> {
    let retention = Duration(u64::MAX);
    let options = Options { max_bytes: 1 << 40, retention, ..Options::new(data) };
    deeptrace_store::open("embedded", &options, mode).unwrap()
}

/// Bytes of all files in the folder, as the disk counts them.
fn bytes_on_disk(data: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let of = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        it if it.is_dir() => bytes_on_disk(&entry.path()),
        it => it.blocks() * 512,
    };
    fs::read_dir(data).unwrap().map(|entry| of(entry.unwrap())).sum()
}

fn write(demo: &Demo, data: &Path, rounds: u64) {
    let store = open(data, Mode::Write);
    let (mut cpu, mut maintained, mut spans, mut links) = (0.0, 0.0, 0, 0);
    let mut waiting = Batch::default();
    for round in 0..rounds {
        let mut new = batch(&demo.round(round));
        waiting.spans.append(&mut new.spans);
        waiting.links.append(&mut new.links);
        if waiting.spans.len() < WRITTEN && round + 1 < rounds {
            continue;
        }
        (spans, links) = (spans + waiting.spans.len(), links + waiting.links.len());
        let begun = cpu_seconds();
        store.write(&waiting).unwrap();
        cpu += cpu_seconds() - begun;
        waiting.clear();
        let begun = cpu_seconds();
        for _ in 0..MAINTAINED {
            if !store.maintain(demo.begin(round)).unwrap().more {
                break;
            }
        }
        maintained += cpu_seconds() - begun;
    }
    tell("spans", spans as f64);
    tell("links", links as f64);
    tell("written", spans as f64 / cpu);
    tell("bytes before", bytes_on_disk(data) as f64 / spans as f64);
    let (begun, mut longest) = (cpu_seconds(), 0.0_f64);
    // An hour after the last, all of it is old.
    let now = demo.begin(rounds).plus(Duration::from_secs(2 * 3600));
    loop {
        let clock = Instant::now();
        let done = store.maintain(now).unwrap();
        longest = longest.max(clock.elapsed().as_secs_f64() * 1e3);
        if !done.more {
            break;
        }
    }
    maintained += cpu_seconds() - begun;
    tell("bytes used", store.stats().unwrap().bytes as f64 / spans as f64);
    drop(store);
    tell("compacted", spans as f64 / maintained);
    tell("with compaction", spans as f64 / (cpu + maintained));
    tell("longest piece", longest);
    tell("bytes", bytes_on_disk(data) as f64 / spans as f64);
    tell("peak MiB", memory_mib("VmHWM:"));
}

/// Of this process, from `/proc/self/status`.
fn memory_mib(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// The traces that are asked for.
fn chosen(demo: &Demo, rounds: u64) -> impl Iterator<Item = Trace> {
    (0..QUESTIONS).map(move |n| {
        let mut traces = demo.round(hash64(&[n, 1]) % rounds);
        let index = hash64(&[n, 2]) as usize % traces.len();
        traces.swap_remove(index)
    })
}

/// The windows that are searched.
fn windows(demo: &Demo, rounds: u64) -> impl Iterator<Item = Window> {
    let all = demo.begin(rounds).since(demo.begin(0)).0.saturating_sub(SEARCHED).max(1);
    let begin = demo.begin(0).0;
    (0..QUESTIONS).map(move |n| {
        // To the microsecond, as Jaeger takes it.
        let from = (begin + hash64(&[n, 3]) % all) / 1000 * 1000;
        Window { from: WallTime(from), to: WallTime(from + SEARCHED) }
    })
}

/// The spans of a trace in what all can tell: id, parent, microseconds, service, name.
type Told = BTreeSet<(String, String, u64, u64, String, String)>;

fn told(trace: &Value) -> Told {
    let text = |span: &Value, key: &str| span[key].as_str().unwrap_or_default().to_owned();
    let spans = trace["spans"].as_array().unwrap().iter();
    spans
        .map(|span| {
            let start = span["start_time_unix_nano"].as_u64().unwrap();
            let took = span["duration_ns"].as_u64().unwrap();
            (
                text(span, "span_id"),
                text(span, "parent_span_id"),
                start / 1000,
                took / 1000,
                text(span, "service"),
                text(span, "name"),
            )
        })
        .collect()
}

/// What was answered: traces by id, and the ids that each search found.
type Asked = (Vec<(String, Told)>, Vec<BTreeSet<String>>);

/// Milliseconds that questions took, and how many of them this process worked.
#[derive(Default)]
struct Times {
    all: Vec<f64>,
    cpu: Vec<f64>,
}

impl Times {
    fn take<T>(&mut self, ask: impl FnOnce() -> T) -> T {
        let (clock, cpu) = (Instant::now(), cpu_seconds());
        let answer = ask();
        self.cpu.push((cpu_seconds() - cpu) * 1e3);
        self.all.push(clock.elapsed().as_secs_f64() * 1e3);
        answer
    }

    /// The time that 99 of 100 questions take at most, and half of them.
    fn tell(mut self, name: &str) {
        for (name, times) in
            [(name.to_owned(), &mut self.all), (format!("{name} CPU"), &mut self.cpu)]
        {
            times.sort_by(f64::total_cmp);
            tell(&format!("{name} p50"), times[times.len() / 2]);
            tell(&format!("{name} p99"), times[times.len() * 99 / 100]);
        }
    }
}

/// Asks for traces and searches in the first `rounds`.
fn ask(demo: &Demo, data: &Path, rounds: u64) -> Asked {
    let before = memory_mib("VmRSS:");
    let clock = Instant::now();
    let store = open(data, Mode::Write);
    let stats = store.stats().unwrap();
    tell("open", clock.elapsed().as_secs_f64() * 1e3);
    assert!(stats.spans > 0);
    let limits = Limits { similarity_threshold: 0.0, ..Limits::default() };
    let (mut times, mut traces) = (Times::default(), Vec::new());
    for trace in chosen(demo, rounds) {
        let id = trace.id.to_string();
        let answer = times.take(|| {
            let answer = answers::trace(&*store, &id, &View::ALL, limits).unwrap();
            serde_json::to_vec(&answer).unwrap()
        });
        let told = told(&serde_json::from_slice(&answer).unwrap());
        assert_eq!(told.len(), trace.spans.len(), "trace {id}");
        traces.push((id, told));
    }
    times.tell("trace");
    let (mut times, mut searches) = (Times::default(), Vec::new());
    for window in windows(demo, rounds) {
        let filter = Filter {
            service: Some(demo.entry()),
            min_duration: Some(LONG),
            ..Filter::in_window(window)
        };
        let search = || deeptrace_query::search(&*store, &filter, None, LIMIT, limits).unwrap();
        let page = times.take(search);
        let ids: BTreeSet<String> = page.traces.iter().map(|it| it.id.to_string()).collect();
        searches.push(ids);
    }
    tell("found", searches.iter().map(BTreeSet::len).sum::<usize>() as f64 / QUESTIONS as f64);
    times.tell("search");
    let clock = Instant::now();
    let rollups = store.rollups(Window::ALL, Step::Whole, None).unwrap();
    tell("rollups", clock.elapsed().as_secs_f64() * 1e3);
    let counted: u64 = rollups.operations.iter().map(|it| it.tally.spans).sum();
    assert_eq!(counted, stats.spans);
    tell("asked MiB", memory_mib("VmRSS:") - before);
    (traces, searches)
}

/// Removes the oldest seventh, as a day of seven is; then a trace, by its id, and all traces of its bytes.
fn drop_oldest(demo: &Demo, data: &Path, rounds: u64) {
    let all = demo.begin(rounds).since(demo.begin(0));
    let now = demo.begin(rounds);
    let retention = Duration(all.0 / 7 * 6);
    let options = Options { max_bytes: 1 << 40, retention, ..Options::new(data) };
    let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
    let (mut spent, mut longest, mut expired) = (0.0, 0.0_f64, 0);
    loop {
        let clock = Instant::now();
        let done = store.maintain(now).unwrap();
        // What only merges is no part of it.
        if done.expired == 0 {
            break;
        }
        let took = clock.elapsed().as_secs_f64();
        (spent, longest) = (spent + took, longest.max(took));
        expired += done.expired;
    }
    tell("dropped", expired as f64);
    tell("drop", spent);
    tell("longest drop", longest * 1e3);
    let trace = demo.round(rounds - 1).swap_remove(0);
    let lookup = |it: &TraceSpan| SpanLookup {
        key: SpanKey::Id(it.span.id),
        window: Window::around(&it.span, Duration::from_secs(1)),
    };
    let lookups: Vec<SpanLookup> = trace.spans.iter().map(lookup).collect();
    let clock = Instant::now();
    let removed = store.remove(Removal::Spans(&lookups)).unwrap();
    assert_eq!(removed.spans, trace.spans.len() as u64);
    tell("erase", clock.elapsed().as_secs_f64() * 1e3);
    let clock = Instant::now();
    store.purge().unwrap();
    tell("purge", clock.elapsed().as_secs_f64());
    tell("purge peak MiB", memory_mib("VmHWM:"));
}

fn send(demo: &Demo, url: &str, rounds: u64) {
    let format = format("otlp-protobuf").unwrap();
    let (mut body, mut waiting, mut sent) = (Vec::new(), 0, 0);
    for round in 0..rounds {
        let traces = demo.round(round);
        for (number, trace) in traces.iter().enumerate() {
            let mut exporter = (format.make)(Framing::Document);
            exporter.spans(trace.id, &trace.spans, &mut body).unwrap();
            waiting += trace.spans.len();
            if waiting >= SENT || number + 1 == traces.len() {
                let request = ureq::post(format!("{url}/v1/traces"));
                request.header("content-type", "application/x-protobuf").send(&body[..]).unwrap();
                sent += waiting;
                waiting = 0;
                body.clear();
            }
        }
    }
    tell("spans", sent as f64);
}

fn ask_jaeger(demo: &Demo, data: &Path, url: &str, rounds: u64) {
    let get = |path: &str| {
        let mut answer = ureq::get(format!("{url}{path}")).call().unwrap();
        answer.body_mut().with_config().limit(1 << 28).read_to_vec().unwrap()
    };
    let answers = fs::read(data.with_extension("answers")).unwrap();
    let (traces, searches): Asked = serde_json::from_slice(&answers).unwrap();
    let (mut times, mut equal) = (Times::default(), 0);
    for (id, expected) in traces {
        let answer = times.take(|| get(&format!("/api/traces/{id}")));
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        equal += usize::from(told_by_jaeger(&answer["data"][0]) == expected);
    }
    times.tell("trace");
    tell("equal traces", equal as f64);
    let (mut times, mut equal) = (Times::default(), 0);
    for (window, expected) in windows(demo, rounds).zip(searches) {
        let (from, to) = (window.from.0 / 1000, window.to.0 / 1000);
        let (service, long) = (demo.entry(), LONG.0 / 1000);
        let path = format!(
            "/api/traces?service={service}&start={from}&end={to}&minDuration={long}us&limit={LIMIT}"
        );
        let answer = times.take(|| get(&path));
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let traces = answer["data"].as_array().cloned().unwrap_or_default();
        let id = |trace: &Value| trace["traceID"].as_str().unwrap_or_default().to_owned();
        equal += usize::from(traces.iter().map(id).collect::<BTreeSet<_>>() == expected);
    }
    times.tell("search");
    tell("equal searches", equal as f64);
    let mut times = Times::default();
    for _ in 0..QUESTIONS {
        times.take(|| get("/api/services"));
    }
    times.tell("least answer");
}

fn told_by_jaeger(trace: &Value) -> Told {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spans = trace["spans"].as_array().cloned().unwrap_or_default();
    spans
        .iter()
        .map(|span| {
            let process = text(&span["processID"]);
            (
                text(&span["spanID"]),
                text(&span["references"][0]["spanID"]),
                span["startTime"].as_u64().unwrap_or_default(),
                span["duration"].as_u64().unwrap_or_default(),
                text(&trace["processes"][&process]["serviceName"]),
                text(&span["operationName"]),
            )
        })
        .collect()
}
