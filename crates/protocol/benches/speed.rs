//! Events per second through the stage, for each session of the corpus that is opened and closed,
//! and for bytes that no protocol knows. `cargo bench -p deeptrace-protocol`, with a part of a
//! name if wanted.
//!
//! Each session is played again and again on connections of its own, so short ones pay for
//! recognition and for the parser's birth.

#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared with the tests, which use more of it and may fail"
)]
#[path = "../tests/table/session/mod.rs"]
mod session;

use std::time::{Duration, Instant};

use deeptrace_protocol::{Options, Output, Protocols};

use session::corpus::{Entry, entries};
use session::{Session, Step};

/// How long each session is played.
const TIME: Duration = Duration::from_millis(300);

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("{:<40} {:>12} {:>10} {:>10}", "session", "events/s", "ns/event", "messages");
    let (mut events_all, mut time_all) = (0, Duration::ZERO);
    for entry in entries().into_iter().chain([unknown()]) {
        if entry.session.origin.is_none()
            || !matches!(entry.session.steps.last(), Some(Step::Close(_)))
        {
            continue;
        }
        let name = format!(
            "{}/{}",
            entry.protocol,
            entry.path.file_stem().unwrap_or_default().to_string_lossy()
        );
        if filter.as_ref().is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let deliveries = entry.session.deliveries();
        let mut stage = Protocols::new(Options::default());
        let mut out = Output::default();
        let (mut events, mut messages) = (0, 0);
        let start = Instant::now();
        while start.elapsed() < TIME {
            for _ in 0..50 {
                entry.session.run_in(&mut stage, &mut out, &deliveries);
                events += deliveries.len() as u64 + 1;
                messages += out.messages.len();
                out.messages.clear();
                out.demands.clear();
            }
        }
        let time = start.elapsed();
        print_row(&name, events, time, messages);
        events_all += events;
        time_all += time;
    }
    print_row("all", events_all, time_all, 0);
}

/// A connection that says a thousand times what nobody understands.
fn unknown() -> Entry {
    let line = "C \"\\xfe\\xdc\\xba\\x98 what is this\"\n";
    let session = Session::parse(&format!("open accepted tcp 1\n{}close 0\n", line.repeat(1000)));
    Entry { protocol: "none".into(), path: "unknown.stream".into(), session }
}

fn print_row(name: &str, events: u64, time: Duration, messages: usize) {
    let per_second = events as f64 / time.as_secs_f64();
    println!("{name:<40} {per_second:>12.0} {:>10.0} {messages:>10}", 1e9 / per_second);
}
