//! What each ingredient of `auto` is worth: how many links and traces are wrong for its lack. Prints
//! Markdown, over the sets of `accuracy`.

use std::io::Write;

use anyhow::Result;
use deeptrace_correlate::WITHOUT;
use serde_json::Value;

use super::Bench;
use super::accuracy::{Input, inputs, scores};
use super::table::Table;

/// All of them are in use there.
const LEVEL: &str = "payload";

/// Prints its own table.
pub fn measure(bench: &Bench, _: &mut Table) -> Result<()> {
    let inputs = inputs(bench)?;
    let all: Vec<Value> = inputs
        .iter()
        .map(|input| scores(&bench.binary, input, &["--features", LEVEL]))
        .collect::<Result<_>>()?;
    println!("| without | what it is | link | trace | calibration error | most on |");
    println!("|---|---|---|---|---|---|");
    for row in WITHOUT {
        let less: Vec<Value> = inputs
            .iter()
            .map(|input| {
                scores(&bench.binary, input, &["--features", LEVEL, "--without", row.name])
            })
            .collect::<Result<_>>()?;
        print(row.name, row.title, &inputs, &all, &less);
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Points that are lost in the mean over all sets, and where most.
fn print(name: &str, title: &str, inputs: &[Input], all: &[Value], less: &[Value]) {
    let lost = |score: &str| {
        let value = |of: &Value| of[score].as_f64().unwrap_or(f64::NAN);
        all.iter().zip(less).map(|(all, less)| value(all) - value(less)).collect::<Vec<f64>>()
    };
    let mean = |lost: &[f64]| lost.iter().sum::<f64>() / lost.len().max(1) as f64;
    let link = lost("link");
    let most = link.iter().zip(inputs).max_by(|a, b| a.0.total_cmp(b.0));
    let most = most
        .map_or_else(String::new, |(lost, input)| format!("{} ({:.2})", input.name, lost * 100.0));
    println!(
        "| {name} | {title} | {:.2} | {:.2} | {:.3} | {most} |",
        mean(&link) * 100.0,
        mean(&lost("trace")) * 100.0,
        -mean(&lost("calibration_error")),
    );
}
