//! The load of `./x test --only overload`: `TEMPLATE URL SECONDS THREADS` posts batches of spans to `/spans` as fast
//! as they can be made, whatever is answered, and tells what came of them, one a line, name, tab, value.
//!
//! Spans are of a few rounds of the demo, each time with other ids and positions.
#![expect(clippy::unwrap_used, reason = "a benchmark fails like a test")]

#[expect(dead_code, reason = "the bench of the store asks more of it")]
#[path = "store/demo.rs"]
mod demo;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use deeptrace_model::{Link, Span, SpanId, hash64};
use deeptrace_store::Batch;
use deeptrace_wire::{Encoder, MEDIA_TYPE};
use demo::{Demo, batch};

/// Rounds of the demo that are posted again and again.
const ROUNDS: u64 = 2;
/// Spans of a batch.
const BATCH: usize = 4_096;

/// Spans by what was answered.
#[derive(Debug, Default)]
struct Counts {
    /// 200.
    acknowledged: usize,
    /// 429 or 503.
    refused: usize,
    /// The connection ended before the body was sent: who refuses need not read it (RFC 9112 §9.6).
    cut: usize,
    /// Another status.
    failed: usize,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [template, url, seconds, threads] = words.as_slice() else {
        println!("run by ./x test --only overload");
        return;
    };
    let demo = Demo::open(Path::new(template));
    let traces: Vec<_> = (0..ROUNDS).flat_map(|round| demo.round(round)).collect();
    let Batch { spans, links, .. } = batch(&traces);
    let until = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
    let counts = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for thread in 0..threads.parse::<u64>().unwrap() {
            let (spans, links, counts) = (&spans, &links, &counts);
            scope.spawn(move || press(spans, links, url, thread, until, counts));
        }
    });
    let Counts { acknowledged, refused, cut, failed } = counts.into_inner().unwrap();
    for (name, value) in
        [("acknowledged", acknowledged), ("refused", refused), ("cut", cut), ("failed", failed)]
    {
        println!("{name}\t{value}");
    }
}

/// One sender: batch after batch, each with ids that nobody else has.
fn press(
    spans: &[Span],
    links: &[Link],
    url: &str,
    thread: u64,
    until: Instant,
    counts: &Mutex<Counts>,
) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    let mut encoder = Encoder::new(false).unwrap();
    let mut spans = spans.to_vec();
    let mut links = links.to_vec();
    for turn in 0.. {
        let seed = [thread, turn];
        // From the ids that they have now: two turns never give the same.
        let again = |id: SpanId| SpanId(hash64(&[id.0, seed[0], seed[1]]));
        for span in &mut spans {
            span.id = again(span.id);
            span.exchange.request = hash64(&[span.exchange.request, seed[0], seed[1]]);
        }
        for link in &mut links {
            (link.child, link.parent) = (again(link.child), link.parent.map(again));
        }
        let batches = spans.len().div_ceil(BATCH);
        let parts = spans.chunks(BATCH).zip(links.chunks(links.len().div_ceil(batches)));
        for (spans, links) in parts {
            if Instant::now() >= until {
                return;
            }
            let mut bodies = Vec::new();
            encoder.encode(spans, links, &[], &mut |one| bodies.push(one));
            for body in bodies {
                let request = agent.post(format!("{url}/spans")).header("content-type", MEDIA_TYPE);
                let status = request.send(&body.bytes[..]).map(|answer| answer.status().as_u16());
                let mut counts = counts.lock().unwrap();
                let count = match status {
                    Ok(200) => &mut counts.acknowledged,
                    Ok(429 | 503) => &mut counts.refused,
                    Err(_) => &mut counts.cut,
                    Ok(_) => &mut counts.failed,
                };
                *count += body.head.spans as usize;
            }
        }
    }
}
