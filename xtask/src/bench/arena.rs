//! Arena: for each way in which programs hand work over, and so many requests at once: how many calls
//! get the right parent, none, or a wrong one. DeepTrace comes when connections and pools are warm.
//!
//! What a call says of its request is a keyed hash: only the scorer can tell which belong together.

mod backend;
mod driver;
mod front;
mod score;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use self::backend::Backend;
use self::front::{Builder, FRONTS};
use self::score::{Cell, score};
use super::Bench;
use super::observer::{Observer, Role};
use super::table::Table;
use crate::child;

/// Requests at once.
const AT_ONCE: [usize; 4] = [1, 8, 32, 128];
/// Requests of a cell.
const REQUESTS: usize = 500;
/// Most of 100 calls of a cell that may have a wrong parent.
const WRONG_MAX: f64 = 1.0;
/// Time for what was seen last to be decided and written.
const SETTLE: Duration = Duration::from_millis(2500);
const PORT: u16 = 28_470;
const BACKEND_PORT: u16 = 28_471;

/// Measures every front, or the one that is named.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let key = format!("{:x}", std::process::id().wrapping_mul(0x9e37_79b9));
    let backend = Backend::start(BACKEND_PORT)?;
    let builder = Builder::new()?;
    let mut all = Cell::default();
    for front in FRONTS.iter().filter(|f| bench.only.as_ref().is_none_or(|o| f.matches(o))) {
        let cells = builder
            .start(front, PORT, BACKEND_PORT, &key, &bench.folder)
            .and_then(|kept| run(bench, front, kept.pid(), &key));
        match cells {
            Ok(cells) => {
                for (way, at_once, cell) in cells {
                    let what = format!("{} {way} at {at_once}", front.name);
                    let holds = cell.wrong_share() <= WRONG_MAX;
                    table.text(what, cell.to_string(), "≤1 wrong", holds);
                    all.add(&cell);
                }
            }
            Err(error) => table.missing(front.name, &error),
        }
    }
    backend.stop();
    table.text("all cells", all.to_string(), "≤0.2 wrong", all.wrong_share() <= 0.2);
    table
        .note("right / no answer / wrong, % of the calls made; how links were found: right, wrong");
    Ok(())
}

/// Warms a front up, lets DeepTrace come, and drives each of its ways.
fn run(
    bench: &Bench,
    front: &front::Front,
    pid: u32,
    key: &str,
) -> Result<Vec<(&'static str, usize, Cell)>> {
    let only = bench.only.as_ref().and_then(|only| only.split_once('/'));
    let ways = || front.ways.iter().filter(|way| only.is_none_or(|(_, only)| only == **way));
    for way in ways() {
        driver::drive(PORT, way, "warm", 32, 64)?;
    }
    let config = format!("[agents.trace]\npids = [{pid}]\n");
    let observer = Observer::start(&bench.binary, &bench.folder, None, Role::Run, &config)?;
    let mut cells = Vec::new();
    for way in ways() {
        for at_once in AT_ONCE {
            let prefix = format!("{way}-{at_once}-");
            driver::drive(PORT, way, &prefix, at_once, REQUESTS)?;
            cells.push((*way, at_once, prefix));
        }
    }
    std::thread::sleep(SETTLE);
    let spans = bench.folder.join(format!("{}.json", front.name));
    let mut export = std::process::Command::new(&bench.binary);
    export.arg("export").arg("--data-dir").arg(observer.data()).args(["--format", "json"]);
    child::succeed(export.arg("--output").arg(&spans))?;
    let counters = observer.counters()?;
    std::fs::write(
        bench.folder.join(format!("{}.counters.json", front.name)),
        serde_json::to_string_pretty(&counters)?,
    )?;
    observer.stop()?;
    let text = std::fs::read_to_string(&spans).context("the export is not there")?;
    let spans: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    let cells = cells.into_iter().map(|(way, at_once, prefix)| {
        let tokens: BTreeMap<String, String> = (0..REQUESTS)
            .flat_map(|request| {
                let token = format!("{prefix}{request}");
                let request = format!("/{way}/{token}");
                [1, 2].map(|number| (score::disguise(key, &token, number), request.clone()))
            })
            .collect();
        (way, at_once, score(&spans, &tokens))
    });
    Ok(cells.collect())
}
