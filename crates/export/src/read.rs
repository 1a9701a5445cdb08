//! Read: spans out of the formats that exporters write, one file per format, streamed: memory is bounded
//! by one span, one trace or one resource, whichever the format has as its unit.

mod jaeger;
mod json;
mod objects;
mod otlp;
mod plain;
mod zipkin;

use std::io::{self, BufRead};

use deeptrace_model::TraceSpan;

pub(crate) use jaeger::read as jaeger;
pub(crate) use json::read as json;
pub use json::read_lines;
pub(crate) use otlp::{json as otlp_json, protobuf as otlp_protobuf};
pub(crate) use zipkin::read as zipkin;

use crate::Format;

/// Takes a span as it is read. A trace's own id is in the span's context, if it is not derived.
pub type Take<'a> = &'a mut dyn FnMut(TraceSpan) -> Result<(), Stop>;

/// Why whoever takes spans takes no more.
pub type Stop = Box<dyn std::error::Error + Send + Sync>;

/// Reads what the exporter of the format wrote, also several such one after the other.
pub type Read = fn(&mut dyn BufRead, Take<'_>) -> Result<(), ReadError>;

/// The text is not of the format.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no JSON, or not of the right shape.
    #[error("read spans as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is no protobuf, or not of the right shape.
    #[error("read spans as protobuf: {0}")]
    Protobuf(String),
    /// A span that cannot be.
    #[error("read span {span}: {reason}")]
    Span {
        /// Its id as it was written.
        span: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It cannot be read at all.
    #[error("read: {0}")]
    Io(#[from] io::Error),
    /// Whoever takes spans takes no more.
    #[error(transparent)]
    Stopped(Stop),
}

/// Keys by which formats are told apart, each the first of its format to come.
const SIGNS: &[(&str, &str)] = &[
    ("\"resourceSpans\"", "otlp"),
    ("\"traceID\"", "jaeger"),
    ("\"trace_id\"", "json"),
    ("\"traceId\"", "zipkin"),
];

/// The format of a file that begins with `head`; `None` if none is told by it.
pub fn recognise(head: &[u8]) -> Option<&'static Format> {
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if !matches!(first, b'[' | b'{') {
        // Field 1 of `TracesData`, a message; it would be a blank line before JSON.
        return crate::format("otlp-protobuf").filter(|_| head[0] == 0x0a);
    }
    let text = String::from_utf8_lossy(head);
    let signs = SIGNS.iter().filter_map(|(sign, name)| Some((text.find(sign)?, name)));
    let (_, name) = signs.min()?;
    crate::format(name)
}
