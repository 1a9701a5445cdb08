//! Writes a named workload: `cargo run -p deeptrace-workload --example write -- NAME SEED FOLDER`.

use std::fs::File;
use std::io::{BufWriter, Error, Result, Write};
use std::path::Path;

use deeptrace_workload::{SETS, simulate, spans, truth};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, seed, folder] = arguments.as_slice() else {
        return Err(Error::other("give NAME SEED FOLDER"));
    };
    let seed = seed.parse().map_err(Error::other)?;
    for set in SETS.iter().filter(|set| name == "all" || set.name == name) {
        let seen = simulate(&(set.make)(), seed);
        let file =
            |ending: &str| File::create(Path::new(folder).join(format!("{}.{ending}", set.name)));
        let mut out = BufWriter::new(file("spans.jsonl")?);
        spans(&mut out, &seen)?;
        out.flush()?;
        let mut out = BufWriter::new(file("truth.csv")?);
        truth(&mut out, &seen)?;
        out.flush()?;
    }
    Ok(())
}
