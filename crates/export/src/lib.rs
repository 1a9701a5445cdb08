//! Spans at the process boundary: [`TABLE`] of formats, one file per format.
#![forbid(unsafe_code)]

pub mod jaeger;
mod json;
mod otel;
pub mod otlp;
mod read;
mod zipkin;

use std::io::{self, Write};

use deeptrace_model::{TraceId, TraceSpan};

pub use json::SpanJson;
pub use read::{Read, ReadError, Stop, Take, read_lines, recognise};

/// How spans of one export follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One document that holds them all: `export`.
    Document,
    /// One span a line: `replay`, pipes.
    Lines,
}

/// Writes spans in one format.
///
/// The same traces in the same order MUST give the same bytes. A writer MUST NOT keep what was
/// written; memory is bounded by one trace.
pub trait Exporter {
    /// Writes spans of the trace of that id; all of them, where the format has an object for a trace.
    fn spans(&mut self, trace: TraceId, spans: &[TraceSpan], out: &mut dyn Write)
    -> io::Result<()>;

    /// Writes what comes after the last span. MUST be called once at the end, also without spans.
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// Makes an exporter.
pub type Make = fn(Framing) -> Box<dyn Exporter>;

/// A way to write spans: one row of [`TABLE`].
#[derive(Clone, Copy)]
pub struct Format {
    /// Name in `--format`.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Media type of a document.
    pub media_type: &'static str,
    /// Makes an exporter.
    pub make: Make,
    /// Reads what it wrote.
    pub read: Read,
}

/// All formats; the first is the default.
pub const TABLE: &[Format] =
    &[json::FORMAT, otlp::JSON, otlp::PROTOBUF, jaeger::FORMAT, zipkin::FORMAT];

/// The format of that name.
pub fn format(name: &str) -> Option<&'static Format> {
    TABLE.iter().find(|format| format.name == name)
}

/// Writes JSON objects into a document, or one a line.
struct Objects {
    framing: Framing,
    /// What comes before the first and after the last, in a document.
    around: [&'static str; 2],
    /// Adds the objects of a trace.
    of_trace: OfTrace,
    count: u64,
}

type OfTrace = fn(TraceId, &[TraceSpan], &mut Objects, &mut dyn Write) -> io::Result<()>;

impl Objects {
    fn boxed(framing: Framing, around: [&'static str; 2], of_trace: OfTrace) -> Box<dyn Exporter> {
        Box::new(Self { framing, around, of_trace, count: 0 })
    }

    fn add(&mut self, object: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
        match (self.framing, self.count) {
            (Framing::Lines, _) => {}
            (Framing::Document, 0) => writeln!(out, "{}", self.around[0])?,
            (Framing::Document, _) => out.write_all(b",\n")?,
        }
        self.count += 1;
        serde_json::to_writer(&mut *out, object)?;
        if self.framing == Framing::Lines {
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl Exporter for Objects {
    fn spans(
        &mut self,
        trace: TraceId,
        spans: &[TraceSpan],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        (self.of_trace)(trace, spans, self, out)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let [before, after] = self.around;
        match (self.framing, self.count) {
            (Framing::Lines, _) => Ok(()),
            (Framing::Document, 0) => writeln!(out, "{before}{after}"),
            (Framing::Document, _) => write!(out, "\n{after}\n"),
        }
    }
}
