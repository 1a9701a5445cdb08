//! How fast calls become messages: CPU time of the stage for each protocol, over its sessions of the
//! corpus, and for connections that speak none. `./x bench parse` makes its table of this.
//!
//! Each session is played again and again on connections of its own, so short ones pay for
//! recognition and for the parser's birth. Prints, after a heading, one line each: name, bytes,
//! messages, events, nanoseconds. With a name only that protocol.

#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared with the tests, which use more of it and may fail"
)]
#[path = "../tests/table/session/mod.rs"]
mod session;

use std::time::Duration;

use deeptrace_protocol::{Options, Output, Protocols, TABLE};
use rustix::time::{ClockId, clock_gettime};

use session::corpus::entries;
use session::{Delivery, Session, Step};

/// CPU time that each is played for.
const TIME: Duration = Duration::from_millis(300);

/// Calls of a connection that speaks none of them: what is asked at its beginning is lost in them.
const CALLS: usize = 20_000;

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |name: &str| filter.as_ref().is_none_or(|filter| filter == name);
    println!("{:<14} {:>14} {:>12} {:>12} {:>14}", "", "bytes", "messages", "events", "ns");
    let entries = entries();
    for row in TABLE.iter().filter(|row| is_wanted(row.name)) {
        let own = entries.iter().filter(|entry| entry.protocol == row.name);
        let known = own.filter(|entry| entry.session.origin.is_some());
        let sessions: Vec<Session> = known.map(|entry| closed(&entry.session)).collect();
        measure(row.name, &sessions);
    }
    if is_wanted("none") {
        measure("none", &[nobodys()]);
    }
}

/// What is not closed would be gone on with when it is played again.
fn closed(session: &Session) -> Session {
    let mut closed = session.clone();
    if !matches!(closed.steps.last(), Some(Step::Close(_))) {
        closed.steps.push(Step::Close(0));
    }
    closed
}

/// A connection that says again and again what nobody understands, and is open to the end.
fn nobodys() -> Session {
    let line = "C \"\\xfe\\xdc\\xba\\x98 what is this\"\n";
    Session::parse(&format!("open accepted tcp 1\n{}close 0\n", line.repeat(CALLS)))
}

fn measure(name: &str, sessions: &[Session]) {
    let played: Vec<(&Session, Vec<Delivery>)> =
        sessions.iter().map(|session| (session, session.deliveries())).collect();
    let bytes_once: u64 = played.iter().map(|(_, deliveries)| bytes(deliveries)).sum();
    let events_once: u64 = played.iter().map(|(_, deliveries)| deliveries.len() as u64 + 1).sum();
    let mut stage = Protocols::new(Options::default());
    let mut out = Output::default();
    let (mut rounds, mut messages) = (0, 0);
    let start = cpu_time();
    while cpu_time() - start < TIME {
        for (session, deliveries) in &played {
            session.run_in(&mut stage, &mut out, deliveries);
            messages += out.messages.len();
            out.messages.clear();
            out.demands.clear();
        }
        rounds += 1;
    }
    let ns = (cpu_time() - start).as_nanos();
    let (bytes, events) = (bytes_once * rounds, events_once * rounds);
    println!("{name:<14} {bytes:>14} {messages:>12} {events:>12} {ns:>14}");
}

/// Bytes that the calls moved, copied or not.
fn bytes(deliveries: &[Delivery]) -> u64 {
    let len = |delivery: &Delivery| match delivery {
        Delivery::Piece(piece) => u64::from(piece.len),
        Delivery::Tick(_) | Delivery::Close(_) => 0,
    };
    deliveries.iter().map(len).sum()
}

/// CPU time of this process: others on the machine don't count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
