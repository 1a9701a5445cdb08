//! How many spans a CPU second writes, how large they are, and how long questions take.
//!
//! `cargo bench -p deeptrace-store [-- SPANS]` prints one table; 2,000,000 spans by default, 1,000 in each second
//! of their own time.
#![expect(clippy::unwrap_used, reason = "a benchmark fails like a test")]

#[path = "../tests/place/mod.rs"]
mod place;
#[path = "../tests/sample/mod.rs"]
mod sample;

use std::{collections::BTreeMap, time::Instant};

use deeptrace_model::{Duration, SpanKind, WallTime};
use deeptrace_store::{
    Batch, Filter, LinkKey, LinkLookup, Mode, Options, SpanKey, SpanLookup, Store, TABLE, Window,
};
use place::Place;
use rustix::time::{ClockId, clock_gettime};
use sample::{link, span};

/// Spans that are written at once.
const WRITTEN_LEN: u64 = 4096;

fn main() {
    let number = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let spans: u64 = number.unwrap_or(2_000_000);
    for backend in TABLE {
        let Some(place) = Place::of(backend) else { continue };
        let options = Options { max_bytes: 1 << 40, ..place.options.clone() };
        let store = (backend.open)(&options, Mode::Write).unwrap();
        println!("{}: {spans} spans", backend.name);
        write(&*store, spans);
        ask(&*store, spans, "warm");
        drop(store);
        // As `deeptrace traces` finds it: nothing of it in memory.
        let store = (backend.open)(&options, Mode::Read).unwrap();
        ask(&*store, spans, "opened");
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn write(store: &dyn Store, spans: u64) {
    let (mut cpu, mut wall, mut next) = (0.0, 0.0, 0);
    let mut batch = Batch::default();
    while next < spans {
        batch.clear();
        let end = spans.min(next + WRITTEN_LEN);
        batch.spans.extend((next..end).map(span));
        batch.links.extend((next..end).filter(|n| n % 2 == 0).map(link));
        next = end;
        let (began, clock) = (cpu_seconds(), Instant::now());
        store.write(&batch).unwrap();
        cpu += cpu_seconds() - began;
        wall += clock.elapsed().as_secs_f64();
    }
    let bytes = store.stats().unwrap().bytes;
    let row = |name: &str, value: f64| println!("  {name:<44}{value:>12.0}");
    row("spans written a CPU second", spans as f64 / cpu);
    row("spans written a second", spans as f64 / wall);
    row("bytes a span, its half of a link included", bytes as f64 / spans as f64);
}

/// Prints the median and the slowest of 200 runs of each question.
fn ask(store: &dyn Store, spans: u64, state: &str) {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut time = |name, question: &mut dyn FnMut()| {
        let clock = Instant::now();
        question();
        times.entry(name).or_default().push(clock.elapsed().as_secs_f64() * 1e3);
    };
    for run in 0..200 {
        let one = span(deeptrace_model::hash64(&[run]) % spans);
        let near = Window::around(&one, Duration::from_secs(60));
        let at = Window::around(&one, Duration::from_secs(1));
        let look = |key, window| {
            let found = store.spans(&[SpanLookup { key, window }], 100).unwrap();
            assert!(!found.is_empty() && found.len() <= 2);
        };
        time("exchange within 60 s", &mut || {
            look(one.exchange.key().map_or(SpanKey::Id(one.id), SpanKey::Exchange), near);
        });
        time("span by id within 1 s", &mut || look(SpanKey::Id(one.id), at));
        time("span by id in all time", &mut || look(SpanKey::Id(one.id), Window::ALL));
        time("links of a span within 60 s", &mut || {
            let keys = [LinkKey::Child(one.id), LinkKey::Parent(one.id)];
            let found =
                store.links(&keys.map(|key| LinkLookup { key, window: near }), 100).unwrap();
            assert_eq!(found.len(), 1);
        });
        let to = Window { from: WallTime(0), to: one.start };
        let scan = |filter: Filter| {
            store.scan(&filter, None, 50).unwrap();
        };
        time("50 latest spans before a moment", &mut || scan(Filter::in_window(to)));
        time("50 latest errors of a service", &mut || {
            let (service, errors_only) = (Some("users".to_owned()), true);
            scan(Filter { service, errors_only, ..Filter::in_window(to) });
        });
    }
    time("all spans, none passes", &mut || {
        let filter = Filter { kind: Some(SpanKind::Producer), ..Filter::default() };
        assert!(store.scan(&filter, None, 50).unwrap().spans.is_empty());
    });
    time("operations in all time", &mut || {
        assert!(!store.operations(Window::ALL, None).unwrap().is_empty());
    });
    println!("  {state:<44}{:>12}{:>12}", "median ms", "slowest ms");
    for (name, mut times) in times {
        times.sort_by(f64::total_cmp);
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("    {name:<42}{median:>12.2}{slowest:>12.2}");
    }
}
