//! Spans at the process boundary: [`TABLE`] of formats, one file per format.
#![forbid(unsafe_code)]

mod json;

use std::io::{self, Write};

use deeptrace_model::{TraceId, TraceSpan};

pub use json::{ReadError, SpanJson, read};

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
/// The same spans in the same order MUST give the same bytes. A writer MUST NOT keep what was
/// written; memory is bounded by one span.
pub trait Exporter {
    /// Writes one span, which is in the trace of that id.
    fn span(&mut self, trace: TraceId, span: &TraceSpan, out: &mut dyn Write) -> io::Result<()>;

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
}

/// All formats; the first is the default.
pub const TABLE: &[Format] = &[json::FORMAT];

/// The format of that name.
pub fn format(name: &str) -> Option<&'static Format> {
    TABLE.iter().find(|format| format.name == name)
}
