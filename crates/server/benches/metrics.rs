//! What counting costs the thread that writes, and what it costs to tell.
//!
//! `cargo bench -p deeptrace-server [-- SPANS]`; 500,000 spans by default, of a made-up shop.
#![expect(clippy::unwrap_used, reason = "a benchmark fails like a test")]

#[expect(dead_code, reason = "links are not counted")]
#[path = "../../store/tests/sample/mod.rs"]
mod sample;

use std::time::Instant;

use axum::http::HeaderMap;
use deeptrace_http::Exposition;
use deeptrace_server::metrics::Metrics;
use deeptrace_store::{Batch, Mode, Options};

/// Spans that are written at once.
const WRITTEN_LEN: u64 = 4096;

fn main() {
    let number = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let spans: u64 = number.unwrap_or(500_000);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 1 << 40, ..Options::new(folder.path()) };
    let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
    let metrics = Metrics::default();
    let (mut counting, mut writing) = (0.0, 0.0);
    let mut batch = Batch::default();
    for first in (0..spans).step_by(WRITTEN_LEN as usize) {
        batch.clear();
        batch.spans.extend((first..spans.min(first + WRITTEN_LEN)).map(sample::span));
        let clock = Instant::now();
        store.write(&batch).unwrap();
        writing += clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        metrics.add(&batch, Instant::now());
        counting += clock.elapsed().as_secs_f64();
    }
    let clock = Instant::now();
    let mut out = Exposition::accepted_by(&HeaderMap::new());
    metrics.write(&mut out, Instant::now());
    let telling = clock.elapsed().as_secs_f64();
    println!("{spans} spans");
    println!("written      {:>10.0} ns a span", writing * 1e9 / spans as f64);
    println!("counted      {:>10.0} ns a span", counting * 1e9 / spans as f64);
    println!("share        {:>10.2} %", counting * 100.0 / (counting + writing));
    println!("told         {:>10.2} ms, {} lines", telling * 1e3, out.to_string().lines().count());
}
