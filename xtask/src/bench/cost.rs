//! What one socket call costs the process that makes it, beside the least that any program on the
//! same hook can cost: `crates/capture/examples/event_cost` measures, here its table gets its aims.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Bench;
use super::table::{Aim, Table};
use crate::root;

/// An event may cost so many times the floor: an empty program on the same hook, and the copy.
const FLOORS: f64 = 1.6;
/// Width of the names in the table of the example.
const NAME: usize = 28;

/// A row of the example's table.
#[derive(Debug, PartialEq)]
struct Cost {
    name: String,
    ns_per_event: f64,
    floors: Option<f64>,
}

/// Fills `table`.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--release", "--package", "deeptrace-capture"]);
    command.args(["--features", "live", "--example", "event_cost", "--"]);
    // Its rounds take seconds, and the best of them counts: more of them find a quiet moment.
    command.arg((bench.rounds() * 3).to_string()).current_dir(root());
    let out = command.output().context("failed to start the example event_cost")?;
    if !out.status.success() {
        bail!("event_cost: {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    let costs = rows(&String::from_utf8_lossy(&out.stdout))?;
    for Cost { name, ns_per_event, floors } in costs {
        if !name.starts_with("bare") {
            table.figure(format!("one call: {name}"), ns_per_event, "ns", Aim::None);
        }
        if let Some(floors) = floors {
            let what = format!("one call: {name}, times its floor");
            table.figure(what, floors, "", Aim::AtMost(FLOORS));
        }
    }
    Ok(())
}

/// The rows below the heading: name, ns/exchange, ns/event, sometimes times the floor, events seen.
fn rows(text: &str) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for line in text.lines().skip(1) {
        let (Some(name), Some(figures)) = (line.get(..NAME), line.get(NAME..)) else {
            bail!("event_cost printed a row that is none: {line}");
        };
        let figures: Result<Vec<f64>, _> = figures.split_whitespace().map(str::parse).collect();
        let (ns_per_event, floors) = match figures.as_deref() {
            Ok(&[_, event, _]) => (event, None),
            Ok(&[_, event, floors, _]) => (event, Some(floors)),
            _ => bail!("event_cost printed a row that is none: {line}"),
        };
        costs.push(Cost { name: name.trim().to_owned(), ns_per_event, floors });
    }
    if costs.is_empty() {
        bail!("event_cost printed no rows");
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_example_is_read() {
        let text = format!(
            "{:<28} {:>14} {:>12} {:>10} {:>10}\n{:<28} {:>14} {:>12} {:>10} {:>10}\n\
             {:<28} {:>14} {:>12} {:>10} {:>10}\n",
            "",
            "ns/exchange",
            "ns/event",
            "x floor",
            "seen",
            "floor: copy 256 bytes",
            9000,
            280,
            "",
            66000,
            "256 bytes",
            9500,
            610,
            "2.18",
            66000
        );
        let cost =
            |name: &str, ns_per_event, floors| Cost { name: name.into(), ns_per_event, floors };
        let expected =
            [cost("floor: copy 256 bytes", 280.0, None), cost("256 bytes", 610.0, Some(2.18))];
        assert_eq!(rows(&text).unwrap(), expected);
        assert!(rows("heading\nshort\n").is_err());
        assert!(rows("").is_err());
    }
}
