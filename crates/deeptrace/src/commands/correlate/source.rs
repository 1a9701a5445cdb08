//! Lines of a file that may be compressed, or of standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Bytes of a line at most: one with two cut payloads has some kilobytes.
const LINE_MAX: u64 = 16 << 20;

/// Hands each line that is not empty to `take`; an error says which line it was.
pub fn each_line(path: &Path, mut take: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let name = path.display();
    let mut lines = open(path).with_context(|| format!("cannot read {name}"))?;
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let mut limited = lines.by_ref().take(LINE_MAX);
        let read = limited.read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read {name}, line {number}"))? == 0 {
            break;
        }
        if line.len() as u64 >= LINE_MAX {
            bail!("{name}, line {number}: longer than {LINE_MAX} bytes");
        }
        let text = std::str::from_utf8(&line).context("not UTF-8");
        let taken = text.map(str::trim).and_then(|text| match text {
            "" => Ok(()),
            text => take(text),
        });
        taken.with_context(|| format!("{name}, line {number}"))?;
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path)?;
    if path.extension().is_some_and(|extension| extension == "zst") {
        return Ok(Box::new(BufReader::new(zstd::Decoder::new(file)?)));
    }
    Ok(Box::new(BufReader::new(file)))
}
