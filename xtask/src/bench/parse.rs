//! `./x bench parse`: how fast calls become messages, for each protocol over its recorded sessions, and
//! what a call costs on a connection that speaks none. `crates/protocol/benches/parse.rs` measures.

use anyhow::{Result, bail};

use super::Bench;
use super::table::{Aim, Table, median};
use crate::child;

/// Nanoseconds of a call on a connection of which it is decided that it speaks none of them.
const NOBODYS_NS: f64 = 50.0;
/// Whose parse others are compared with.
const YARDSTICK: &str = "http";

/// What was played of a protocol.
#[derive(Clone, Debug, PartialEq)]
struct Played {
    name: String,
    bytes: f64,
    messages: f64,
    events: f64,
    ns: f64,
}

impl Played {
    fn ns_per_event(&self) -> f64 {
        self.ns / self.events
    }
}

/// Fills `table`.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let rounds: Result<Vec<Vec<Played>>> = (0..bench.rounds()).map(|_| play(bench)).collect();
    let rounds = rounds?;
    let mut nobodys = None;
    for (index, first) in rounds[0].iter().enumerate() {
        let of = |figure: &dyn Fn(&Played) -> f64| {
            median(rounds.iter().filter_map(|round| round.get(index)).map(figure))
        };
        let each = of(&Played::ns_per_event);
        if first.messages == 0.0 {
            nobodys = Some(index);
            continue;
        }
        let rate = of(&|played| played.messages / played.ns * 1e9);
        let bytes = of(&|played| played.bytes / played.ns * 1e3);
        table.figure(format!("{}: messages a CPU second", first.name), rate, "", Aim::None);
        table.figure(format!("{}: bytes", first.name), bytes, "MB/s", Aim::None);
        table.figure(format!("{}: one event", first.name), each, "ns", Aim::None);
    }
    let Some(nobodys) = nobodys else { return Ok(()) };
    let of = |figure: &dyn Fn(&[Played]) -> f64| median(rounds.iter().map(|round| figure(round)));
    let each = of(&|round| round[nobodys].ns_per_event());
    table.figure("none of them, once decided: one event", each, "ns", Aim::AtMost(NOBODYS_NS));
    let yardstick = |round: &[Played]| {
        let found = round.iter().find(|played| played.name == YARDSTICK);
        found.map_or(f64::NAN, Played::ns_per_event)
    };
    let ratio = of(&|round| round[nobodys].ns_per_event() / yardstick(round));
    if ratio.is_finite() {
        table.figure(format!("the same, times one event of {YARDSTICK}"), ratio, "", Aim::None);
    }
    table.note("CPU time of one thread; sessions are short, so each pays for its recognition");
    Ok(())
}

fn play(bench: &Bench) -> Result<Vec<Played>> {
    rows(&child::cargo_bench("deeptrace-protocol", "parse", bench.only.as_deref())?)
}

/// The rows below the heading.
fn rows(text: &str) -> Result<Vec<Played>> {
    let mut all = Vec::new();
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let figures: Result<Vec<f64>, _> = words.map(str::parse).collect();
        let Ok(&[bytes, messages, events, ns]) = figures.as_deref() else {
            bail!("the bench printed a row that is none: {line}");
        };
        all.push(Played { name, bytes, messages, events, ns });
    }
    if all.is_empty() {
        bail!("the bench printed no rows; is the protocol's name right?");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bench_prints_is_read() {
        let text = "               bytes     messages       events             ns\n\
                    http           100000     200          300            60000\n";
        let http = Played {
            name: "http".into(),
            bytes: 100_000.0,
            messages: 200.0,
            events: 300.0,
            ns: 60_000.0,
        };
        assert!((http.ns_per_event() - 200.0).abs() < 1e-9);
        assert_eq!(rows(text).unwrap(), [http]);
        assert!(rows("heading\nhttp 1\n").is_err());
        assert!(rows("heading\n").is_err());
    }
}
