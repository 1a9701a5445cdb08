//! `deeptrace import`: what `export` wrote, into the configured store. What is there already stays.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use clap::Args;
use deeptrace_export::{Format, Framing, ReadError, TABLE};
use deeptrace_model::{TraceId, TraceSpan};
use deeptrace_server::duties::{Imported, SPANS_MAX};

use crate::duty::{Absent, Doer};
use crate::progress::Progress;
use crate::{Common, arguments};

/// Bytes of payloads, about, after which spans are handed on.
const BYTES_MAX: usize = 2 << 20;
/// Bytes by which the format of a file is told.
const HEAD_LEN: usize = 64 << 10;
/// First bytes of a zstd frame (RFC 8878 §3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Options of the command.
#[derive(Args)]
#[command(after_help = "Example: deeptrace import --input traces.json.zst")]
pub struct Options {
    /// File to read, compressed with zstd or not; `-` is standard input
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Format [default: told by the first bytes]
    #[arg(long, value_parser = known_formats())]
    format: Option<String>,
    /// Have it taken in by the server at this address [default: whoever has the data folder]
    #[arg(long, value_name = "URL", value_parser = arguments::url)]
    server: Option<String>,
}

fn known_formats() -> clap::builder::PossibleValuesParser {
    TABLE.iter().map(|format| format.name).collect::<Vec<_>>().into()
}

/// Does it.
pub fn run(options: Options, common: &Common) -> Result<()> {
    let (mut input, position, len) = open(&options.input)?;
    let head =
        input.fill_buf().with_context(|| format!("cannot read {}", options.input.display()))?;
    let format: &Format = match &options.format {
        Some(name) => deeptrace_export::format(name),
        None if head.is_empty() => anyhow::bail!("{} is empty", options.input.display()),
        None => deeptrace_export::recognise(head),
    }
    .context("the first bytes tell no format: give --format")?;
    let mut taker = Taker {
        doer: Doer::new(options.server.as_deref(), common, Absent::Made)?,
        waiting: Vec::new(),
        bytes: 0,
        count: Imported::default(),
    };
    let progress = Progress::of("importing");
    let read = (format.read)(&mut input, &mut |span| {
        taker.take(span)?;
        if let Some(len) = len.filter(|_| taker.waiting.is_empty()) {
            let said = format!("{} spans", taker.count.spans);
            progress.share(position.get() as f64 / len.max(1) as f64, &said);
        }
        Ok(())
    });
    match read {
        Err(ReadError::Stopped(error)) => return Err(anyhow::anyhow!(error)),
        read => read.with_context(|| {
            format!(
                "{} as {}: {} spans were taken in before",
                options.input.display(),
                format.name,
                taker.count.spans
            )
        })?,
    }
    taker.hand_on()?;
    progress.end();
    let Imported { spans, links, known, erased } = taker.count;
    println!(
        "{spans} spans and {links} links; {known} were there already, {erased} had been erased"
    );
    Ok(())
}

/// Bytes of the file that were read.
type Position = Rc<Cell<u64>>;

/// The file, unpacked, with where it is read and how long it is.
fn open(path: &Path) -> Result<(Box<dyn BufRead>, Position, Option<u64>)> {
    let position = Position::default();
    let (file, len): (Box<dyn Read>, Option<u64>) = if path.as_os_str() == "-" {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let len = file.metadata().ok().map(|it| it.len());
        (Box::new(file), len)
    };
    let counted = Counted { file, position: Rc::clone(&position) };
    let mut plain = BufReader::with_capacity(HEAD_LEN, counted);
    let is_packed = plain.fill_buf()?.starts_with(&ZSTD);
    let input: Box<dyn BufRead> = if is_packed {
        let unpacked = zstd::stream::read::Decoder::with_buffer(plain)?;
        Box::new(BufReader::with_capacity(HEAD_LEN, unpacked))
    } else {
        Box::new(plain)
    };
    Ok((input, position, len))
}

struct Counted {
    file: Box<dyn Read>,
    position: Position,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.position.set(self.position.get() + read as u64);
        Ok(read)
    }
}

/// Hands spans on, many at once.
struct Taker {
    doer: Doer,
    waiting: Vec<TraceSpan>,
    bytes: usize,
    count: Imported,
}

impl Taker {
    fn take(&mut self, span: TraceSpan) -> Result<()> {
        self.bytes += span.span.request_payload.len() + span.span.response_payload.len();
        self.waiting.push(span);
        if self.waiting.len() >= SPANS_MAX || self.bytes >= BYTES_MAX {
            self.hand_on()?;
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<()> {
        let spans = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let imported = match &self.doer {
            Doer::Server(client) => client.post_text("/import", lines(&spans)?)?,
            Doer::Folder(duties) => duties.import(spans).context("the store refuses")?,
        };
        self.count.add(imported);
        Ok(())
    }
}

/// Span JSON, one a line.
fn lines(spans: &[TraceSpan]) -> Result<String> {
    let mut exporter = (TABLE[0].make)(Framing::Lines);
    let mut out = Vec::new();
    for span in spans {
        let own = span.span.trace_context.map(|context| context.trace);
        let trace = own.unwrap_or_else(|| TraceId::from_root(span.span.id));
        exporter.spans(trace, std::slice::from_ref(span), &mut out)?;
    }
    exporter.end(&mut out)?;
    Ok(String::from_utf8(out)?)
}
