//! Encode: spans or links as the row of a batch, and back.
//!
//! A body is the length of the plain bytes (u32, little-endian), then a zstd frame with checksum.

use deeptrace_model::{Duration, Link, Span, SpanKind, SpanStatus};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, Decompressor};

use super::{
    block::Block,
    catalogue::{Entry, Kind},
    filter::{Filter, link_hash},
    pace::Pace,
    writing::{Room, Writing},
};
use crate::{LinkKey, Operation};

/// Most that a body may have unpacked; a longer one is taken for damaged.
const PLAIN_LEN_MAX: usize = 256 << 20;

/// Spans or links of one stored batch: more compress better, fewer are found faster.
pub(super) const BATCH_LEN_MAX: usize = 4096;
/// Spans between two looks at the pace.
const STEP: usize = 64;
/// Bytes of spans, about, of one stored batch.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// A batch as it is stored.
pub(super) struct Row {
    pub(super) entry: Entry,
    pub(super) operations: Vec<u8>,
    pub(super) filter: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// Counts of one operation in one batch.
#[derive(Serialize, Deserialize)]
pub(super) struct OperationRow {
    service: String,
    name: String,
    kind: SpanKind,
    spans: u64,
    errors: u64,
    total: u64,
    longest: u64,
}

impl OperationRow {
    pub(super) fn into_operation(self) -> Operation {
        let Self { service, name, kind, spans, errors, total, longest } = self;
        let (total, longest) = (Duration(total), Duration(longest));
        Operation { service, name, kind, spans, errors, total, longest }
    }
}

/// Spans, by start, as rows of at most [`BATCH_LEN_MAX`] spans and about [`BATCH_BYTES_MAX`] bytes.
pub(super) fn spans(
    spans: &[&Span],
    zstd: &mut Compressor<'_>,
    room: &mut Room,
    pace: &mut Pace,
) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut rest = spans;
    while !rest.is_empty() {
        let mut writing = Writing::new(room);
        let mut summary = Summary::new();
        for span in rest {
            if writing.len() == BATCH_LEN_MAX || writing.bytes() > BATCH_BYTES_MAX {
                break;
            }
            let (service, name) = writing.push(span);
            summary.add(span, (service, name, span.kind as u8));
            if writing.len().is_multiple_of(STEP) {
                pace.step();
            }
        }
        rest = &rest[writing.len()..];
        writing.finish(pace).map_err(|error| error.to_string())?;
        rows.push(Row {
            entry: summary.entry,
            operations: postcard::to_stdvec(&summary.rows).map_err(|error| error.to_string())?,
            filter: Filter::new(&room.keys).to_bytes(),
            body: {
                pace.step();
                pack(&room.plain, zstd)?
            },
        });
        pace.step();
    }
    Ok(rows)
}

/// What is known of a batch without reading it.
struct Summary {
    entry: Entry,
    rows: Vec<OperationRow>,
    /// Where in `rows` an operation is: numbers of service and name in the block, kind.
    places: FxHashMap<(u32, u32, u8), usize>,
}

impl Summary {
    fn new() -> Self {
        let entry = Entry::new(Kind::Spans);
        Self { entry, rows: Vec::new(), places: FxHashMap::default() }
    }

    fn add(&mut self, span: &Span, operation: (u32, u32, u8)) {
        let place = *self.places.entry(operation).or_insert_with(|| {
            self.entry.name(&span.service, &span.name);
            let (service, name, kind) =
                (span.service.to_string(), span.name.to_string(), span.kind);
            let (spans, errors, total, longest) = (0, 0, 0, 0);
            self.rows.push(OperationRow { service, name, kind, spans, errors, total, longest });
            self.rows.len() - 1
        });
        self.entry.add(span);
        let duration = span.end.since(span.start).0;
        let row = &mut self.rows[place];
        row.spans += 1;
        row.errors += u64::from(span.status == SpanStatus::Error);
        row.total = row.total.saturating_add(duration);
        row.longest = row.longest.max(duration);
    }
}

/// Links as a row.
pub(super) fn links(links: &[&Link], zstd: &mut Compressor<'_>) -> Result<Row, String> {
    let mut entry = Entry::new(Kind::Links);
    let mut hashes = Vec::with_capacity(links.len() * 2);
    for link in links {
        entry.add_time(link.child_start, link.child_start);
        hashes.push(link_hash(&LinkKey::Child(link.child)));
        hashes.extend(link.parent.map(|parent| link_hash(&LinkKey::Parent(parent))));
    }
    let plain = postcard::to_stdvec(links).map_err(|error| error.to_string())?;
    let filter = Filter::new(&hashes).to_bytes();
    Ok(Row { entry, operations: Vec::new(), filter, body: pack(&plain, zstd)? })
}

/// Spans of a body.
pub(super) fn read_spans(body: &[u8], zstd: &mut Decompressor<'_>) -> Result<Block, String> {
    Block::from_bytes(&unpack(body, zstd)?)
}

/// Links of a body.
pub(super) fn read_links(body: &[u8], zstd: &mut Decompressor<'_>) -> Result<Vec<Link>, String> {
    postcard::from_bytes(&unpack(body, zstd)?).map_err(|error| error.to_string())
}

/// Counts of a batch.
pub(super) fn read_operations(bytes: &[u8]) -> Result<Vec<OperationRow>, String> {
    postcard::from_bytes(bytes).map_err(|error| error.to_string())
}

/// The bytes as a body.
pub(super) fn pack(plain: &[u8], zstd: &mut Compressor<'_>) -> Result<Vec<u8>, String> {
    if plain.len() > PLAIN_LEN_MAX {
        return Err(format!("{} bytes are too many for one batch", plain.len()));
    }
    let packed = zstd.compress(plain).map_err(|error| error.to_string())?;
    let mut body = Vec::with_capacity(4 + packed.len());
    body.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    body.extend_from_slice(&packed);
    Ok(body)
}

/// The bytes of a body.
pub(super) fn unpack(body: &[u8], zstd: &mut Decompressor<'_>) -> Result<Vec<u8>, String> {
    let (len, packed) = body.split_first_chunk::<4>().ok_or("it is cut")?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > PLAIN_LEN_MAX {
        return Err(format!("it claims {len} bytes"));
    }
    let plain = zstd.decompress(packed, len).map_err(|error| error.to_string())?;
    if plain.len() != len {
        return Err(format!("it has {} of {len} bytes", plain.len()));
    }
    Ok(plain)
}
