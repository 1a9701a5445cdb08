//! How many traces a second are walked through, and how they are found one by one.
//!
//! `cargo bench -p deeptrace-query [-- SPANS]`; 200,000 spans by default in traces of eight.
#![expect(clippy::unwrap_used, reason = "a benchmark fails like a test")]

#[path = "../../store/tests/sample/mod.rs"]
mod sample;

use std::time::Instant;

use deeptrace_model::Trace;
use deeptrace_query::{Limits, find, search, walk};
use deeptrace_store::{Batch, Filter, Mode, Options, StoreError};
use sample::{link, span};

/// Spans that are written at once.
const WRITTEN_LEN: u64 = 4096;
/// Traces of a page.
const PAGE: usize = 200;
/// Traces of a page of whole ones.
const WALKED: usize = 1_000;
/// Traces that are found one by one.
const FOUND: u64 = 2_000;

fn main() {
    let number = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let spans: u64 = number.unwrap_or(200_000);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 1 << 40, ..Options::new(folder.path()) };
    let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
    let mut batch = Batch::default();
    let mut next = 0;
    while next < spans {
        batch.clear();
        let end = spans.min(next + WRITTEN_LEN);
        batch.spans.extend((next..end).map(span).map(|mut span| {
            // The application's own ids would make other traces of these.
            span.trace_context = None;
            span
        }));
        batch.links.extend((next..end).filter(|n| n % 2 == 0 && n % 8 > 0).map(link));
        store.write(&batch).unwrap();
        next = end;
    }
    let limits = Limits::default();
    println!("{spans} spans                      traces   traces/s");
    let told = |name: &str, traces: u64, clock: Instant| {
        println!("{name:<28} {traces:>10} {:>10.0}", traces as f64 / clock.elapsed().as_secs_f64());
    };
    let (clock, mut traces, mut after, mut ids) = (Instant::now(), 0, None, Vec::new());
    loop {
        let page = search(&*store, &Filter::default(), after, PAGE, limits).unwrap();
        traces += page.traces.len() as u64;
        ids.extend(page.traces.into_iter().map(|trace| trace.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    told("pages of summaries", traces, clock);
    let (clock, mut traces, mut after) = (Instant::now(), 0, None);
    loop {
        let mut take = |_: &Trace| {
            traces += 1;
            Ok::<bool, StoreError>(true)
        };
        after = walk(&*store, &Filter::default(), after, WALKED, limits, &mut take).unwrap();
        if after.is_none() {
            break;
        }
    }
    told("whole traces in order", traces, clock);
    let (clock, mut traces) = (Instant::now(), 0);
    for id in ids.iter().step_by(ids.len().div_ceil(FOUND as usize)) {
        traces += u64::from(find(&*store, &id.to_string(), limits).unwrap().is_some());
    }
    told("found by id", traces, clock);
}
