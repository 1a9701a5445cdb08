//! `./x bench day`: a day of traffic through the stages of the agent, as fast as they take it.
//! `crates/deeptrace/benches/day.rs` plays it.

use anyhow::{Result, bail};

use super::Bench;
use super::table::{Aim, Table};
use crate::child;

/// What grows by less than this share between the first twelfth of the day and the last one is flat.
const FLAT: f64 = 1.25;
/// A call has its parent so many milliseconds after its answer, or none: two seconds for a request that is
/// still open, and what a shared connection is looked back on.
const BOUND_MS: f64 = 5_000.0;

/// A twelfth of the day.
#[derive(Debug, PartialEq)]
struct Slice {
    events: f64,
    ns: f64,
    mib: f64,
    parents: f64,
    last_ms: f64,
}

/// Fills `table`.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let out = child::cargo_bench("deeptrace", "day", bench.only.as_deref())?;
    let slices = slices(&out)?;
    let (Some(first), Some(last)) = (slices.first(), slices.last()) else {
        bail!("the bench printed no rows");
    };
    let sum = |of: fn(&Slice) -> f64| slices.iter().map(of).sum::<f64>();
    let most = |of: fn(&Slice) -> f64| slices.iter().map(of).fold(0.0, f64::max);
    let each = |slice: &Slice| slice.parents / slice.events * 1e3;
    table.figure("events", sum(|slice| slice.events), "", Aim::None);
    table.figure("one event, first twelfth", first.ns, "ns", Aim::None);
    table.figure("one event, last twelfth", last.ns, "ns", Aim::AtMost(first.ns * FLAT));
    table.figure("resident, first twelfth", first.mib, "MiB", Aim::None);
    table.figure("resident, last twelfth", last.mib, "MiB", Aim::AtMost(first.mib * FLAT));
    table.figure("resident, most", most(|slice| slice.mib), "MiB", Aim::None);
    table.figure("parents in 1,000 events, first twelfth", each(first), "", Aim::None);
    let aim = Aim::AtLeast(each(first) * 0.99);
    table.figure("parents in 1,000 events, last twelfth", each(last), "", aim);
    let last = most(|slice| slice.last_ms);
    table.figure(
        "the last parent, after the answer to its call",
        last,
        "ms",
        Aim::AtMost(BOUND_MS),
    );
    table
        .note("reading the recordings is part of an event's time; --only gives the hours, else 24");
    Ok(())
}

/// Reads the rows below the heading.
fn slices(text: &str) -> Result<Vec<Slice>> {
    let slice = |line: &str| {
        let figures: Result<Vec<f64>, _> = line.split_whitespace().map(str::parse).collect();
        match figures.as_deref() {
            Ok(&[_, events, ns, mib, parents, _, last_ms]) => {
                Ok(Slice { events, ns, mib, parents, last_ms })
            }
            _ => bail!("the bench printed a row that is none: {line}"),
        }
    };
    text.lines().skip(1).map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bench_prints_is_read() {
        let text = " hours  events  ns  MiB  parents  late ms  last ms\n\
                    \x20  2.0    1000  900 21.5      100       12       80\n";
        let slice = Slice { events: 1000.0, ns: 900.0, mib: 21.5, parents: 100.0, last_ms: 80.0 };
        assert_eq!(slices(text).unwrap(), [slice]);
        assert!(slices("heading\n1 2 3\n").is_err());
    }
}
