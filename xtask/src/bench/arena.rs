//! Arena: for each way in which programs hand work over, and so many requests at once: how many calls
//! get the right parent, none, or a wrong one. DeepTrace comes when connections and pools are warm.
//!
//! What a call says of its request is a keyed hash: only the scorer can tell which belong together.

mod backend;
mod driver;
mod floors;
mod front;
mod record;
mod score;
mod shared;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use self::backend::Backend;
use self::floors::Floors;
use self::front::{Builder, FRONTS, Front, Speaks};
use self::score::{Cell, score};
use super::Bench;
use super::observer::{Observer, Role};
use super::table::Table;
use crate::child;

/// Requests at once.
const AT_ONCE: [usize; 4] = [1, 8, 32, 128];
/// Requests of a cell.
const REQUESTS: usize = 500;
/// Time for what was seen last to be decided and written.
const SETTLE: Duration = Duration::from_millis(2500);
const PORT: u16 = 28_470;
const BACKEND_PORT: u16 = 28_471;
const SHARED_BACKEND_PORT: u16 = 28_472;

/// Floors of cells.
const FLOORS: &str = include_str!("../../../examples/arena/floors.tsv");

/// Measures every front, or the one that is named.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let key = format!("{:x}", std::process::id().wrapping_mul(0x9e37_79b9));
    let floors = Floors::read(FLOORS)?;
    let backend = Backend::start(BACKEND_PORT)?;
    let shared_backend = shared::backend(SHARED_BACKEND_PORT)?;
    let builder = Builder::new()?;
    let mut all = Cell::default();
    for front in FRONTS.iter().filter(|f| bench.only.as_ref().is_none_or(|o| f.matches(o))) {
        if let Some(folder) = &bench.record {
            record::record(bench, &builder, front, |way| is_wanted(bench, way), folder)?;
            continue;
        }
        let mut cells: BTreeMap<(usize, usize), Vec<Cell>> = BTreeMap::new();
        for _ in 0..bench.rounds.unwrap_or(1) {
            match round(bench, &builder, front, &key) {
                Ok(round) => round.into_iter().for_each(|(cell, counts)| {
                    cells.entry(cell).or_default().push(counts);
                }),
                Err(error) => table.missing(front.name, &error),
            }
        }
        for ((way, at_once), rounds) in cells {
            let way = front.ways[way];
            let floor = floors.of(front.name, way, at_once);
            let mut cell = Cell::default();
            rounds.iter().for_each(|round| cell.add(round));
            all.add(&cell);
            let what = format!("{} {way} at {at_once}", front.name);
            table.text(what, cell.to_string(), &floor.to_string(), floor.holds(&rounds));
        }
    }
    backend.stop();
    shared_backend.shutdown_background();
    if bench.record.is_some() {
        return Ok(());
    }
    table.text("all cells", all.to_string(), "≤0.2 wrong", all.wrong_share() <= 0.2);
    table
        .note("right / no answer / wrong, % of the calls made; how links were found: right, wrong");
    Ok(())
}

/// Measures the cells of a front, each by the place of its way and how many requests there are at once.
fn round(
    bench: &Bench,
    builder: &Builder,
    front: &Front,
    key: &str,
) -> Result<Vec<((usize, usize), Cell)>> {
    let kept = builder.start(front, PORT, backend_port(front), key, &bench.folder)?;
    run(bench, front, kept.pid(), key)
}

fn backend_port(front: &Front) -> u16 {
    match front.speaks {
        Speaks::Http1 => BACKEND_PORT,
        Speaks::Http2 | Speaks::Grpc => SHARED_BACKEND_PORT,
    }
}

/// Sends requests whose tokens are `PREFIXn`.
fn drive(front: &Front, way: &str, prefix: &str, at_once: usize, count: usize) -> Result<()> {
    match front.speaks {
        Speaks::Http1 => driver::drive(PORT, way, prefix, at_once, count),
        speaks => shared::drive(PORT, speaks == Speaks::Grpc, way, prefix, at_once, count),
    }
}

/// Whether a way is measured.
fn is_wanted(bench: &Bench, way: &str) -> bool {
    let only = bench.only.as_ref().and_then(|only| only.split_once('/'));
    only.is_none_or(|(_, only)| only == way)
}

/// Warms a front up, lets DeepTrace come, and drives each of its ways.
fn run(bench: &Bench, front: &Front, pid: u32, key: &str) -> Result<Vec<((usize, usize), Cell)>> {
    let ways = || front.ways.iter().enumerate().filter(|(_, way)| is_wanted(bench, way));
    for (_, way) in ways() {
        drive(front, way, "warm", 32, 64)?;
    }
    let config = format!("[agents.trace]\npids = [{pid}]\n");
    let observer = Observer::start(&bench.binary, &bench.folder, None, Role::Run, &config)?;
    let mut cells = Vec::new();
    for (number, way) in ways() {
        for at_once in AT_ONCE {
            let prefix = format!("{way}-{at_once}-");
            drive(front, way, &prefix, at_once, REQUESTS)?;
            cells.push(((number, at_once), *way, prefix));
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
    let folder = if front.speaks == Speaks::Http1 { "" } else { "/arena" };
    let cells = cells.into_iter().map(|(cell, way, prefix)| {
        let tokens: BTreeMap<String, String> = (0..REQUESTS)
            .flat_map(|request| {
                let token = format!("{prefix}{request}");
                let request = format!("{folder}/{way}/{token}");
                [1, 2].map(|number| (score::disguise(key, &token, number), request.clone()))
            })
            .collect();
        (cell, score(&spans, &tokens))
    });
    Ok(cells.collect())
}
