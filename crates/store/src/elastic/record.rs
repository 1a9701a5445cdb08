//! Record: a span, link or gap as the line of JSON that is indexed: what can be searched, and all of it
//! in `body`.

use std::fmt;

use deeptrace_model::{Attributes, Gap, Link, Span, SpanKind, SpanStatus, Value, hash_bytes};
use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{body, schema::moment};

/// Attributes whose text is longer, in bytes, cannot be searched: statements, mostly.
const ATTRIBUTE_MAX: usize = 256;

/// A span.
#[derive(Serialize)]
struct SpanRecord<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: u64,
    id: Hex,
    start: i64,
    end: i64,
    duration: i64,
    service: &'a str,
    name: &'a str,
    kind: SpanKind,
    status: SpanStatus,
    protocol: &'a str,
    attributes: Searched<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<Hex>,
    request: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_trace: Option<String>,
    body: String,
}

/// A link.
#[derive(Serialize)]
struct LinkRecord<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: u64,
    key: &'a str,
    child: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Hex>,
    child_start: i64,
    method: &'static str,
    body: String,
}

/// A gap.
#[derive(Serialize)]
struct GapRecord<'a> {
    key: &'a str,
    from: i64,
    to: i64,
    cause: deeptrace_model::GapCause,
    body: String,
}

/// Sixteen hex digits, so that their order is that of the numbers.
#[derive(Clone, Copy)]
pub(super) struct Hex(pub(super) u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Attributes as `name=value`: a field for each name would be thousands of fields in the end.
struct Searched<'a>(&'a Attributes);

impl Serialize for Searched<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(None)?;
        for (name, value) in self.0.iter() {
            match value {
                Value::Text(text) if text.len() > ATTRIBUTE_MAX => {}
                Value::Text(text) => list.serialize_element(&Pair(name, text))?,
                Value::Int(number) => list.serialize_element(&Pair(name, number))?,
                Value::Float(number) => list.serialize_element(&Pair(name, number))?,
                Value::Bool(yes) => list.serialize_element(&Pair(name, yes))?,
                Value::Texts(texts) => {
                    for text in texts.iter().filter(|text| text.len() <= ATTRIBUTE_MAX) {
                        list.serialize_element(&Pair(name, text))?;
                    }
                }
            }
        }
        list.end()
    }
}

struct Pair<'a, T>(&'a str, T);

impl<T: fmt::Display> fmt::Display for Pair<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.0, self.1)
    }
}

impl<T: fmt::Display> Serialize for Pair<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

const MILLI: u64 = 1_000_000;

/// Appends the line of a span; returns its `_id`. `room` is overwritten.
pub(super) fn span(span: &Span, room: &mut Vec<u8>, out: &mut Vec<u8>) -> String {
    body::pack(span, room);
    let record = SpanRecord {
        timestamp: span.start.0 / MILLI,
        id: Hex(span.id.0),
        start: moment(span.start),
        end: moment(span.end),
        duration: i64::try_from(span.end.since(span.start).0).unwrap_or(i64::MAX),
        service: &span.service,
        name: &span.name,
        kind: span.kind,
        status: span.status,
        protocol: &span.protocol,
        attributes: Searched(&span.attributes),
        exchange: span.exchange.key().map(|key| Hex(key.0)),
        request: Hex(span.exchange.request_key().0),
        application_trace: span.trace_context.map(|context| { context.trace }.to_string()),
        body: body::to_text(room),
    };
    write(&record, out);
    record.id.to_string()
}

/// Appends the line of a link; returns its `_id`: equal links have the same, others another.
pub(super) fn link(link: &Link, room: &mut Vec<u8>, out: &mut Vec<u8>) -> String {
    body::pack(link, room);
    let key = format!("{}-{}", Hex(link.child.0), Hex(hash_bytes(room)));
    let record = LinkRecord {
        timestamp: link.child_start.0 / MILLI,
        key: &key,
        child: Hex(link.child.0),
        parent: link.parent.map(|parent| Hex(parent.0)),
        child_start: moment(link.child_start),
        method: link.method.as_str(),
        body: body::to_text(room),
    };
    write(&record, out);
    key
}

/// Appends the line of a gap; returns its `_id`.
pub(super) fn gap(gap: &Gap, room: &mut Vec<u8>, out: &mut Vec<u8>) -> String {
    body::pack(gap, room);
    let key = Hex(hash_bytes(room)).to_string();
    let record = GapRecord {
        key: &key,
        from: moment(gap.from),
        to: moment(gap.to),
        cause: gap.cause,
        body: body::to_text(room),
    };
    write(&record, out);
    key
}

fn write(record: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, record).expect("plain structs become JSON, and memory grows");
    out.push(b'\n');
}
