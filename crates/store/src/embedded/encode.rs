//! Encode: spans or links as the row of a batch, and back.
//!
//! A body is the length of the plain bytes (28 bits of a u32, little-endian; the upper four are the form of
//! what is in it), then a zstd frame with checksum.

use deeptrace_model::{Duration, Link, Span, SpanKind, SpanStatus};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use zstd::bulk::{Compressor, Decompressor};

use super::{
    block::Block,
    catalogue::{Entry, Kind},
    filter::{Filter, link_hash},
    first,
    links::{self, Links},
    pace::Pace,
    writing::{Room, Writing},
};
use crate::{LinkKey, Operation};

/// Most that a body may have unpacked; a longer one is taken for damaged.
const PLAIN_LEN_MAX: usize = (1 << FORM_SHIFT) - 1;
/// Where the form is, in the length before a body.
const FORM_SHIFT: u32 = 28;
/// Rollups; spans as version 5 and before wrote them, and links one after the other as version 3 and before.
const FIRST: u32 = 0;
/// Links by columns.
const LINK_COLUMNS: u32 = 1;
/// Spans by columns and tables.
const SPAN_TABLES: u32 = 2;

/// Level of zstd of what is written: the fastest.
pub(super) const WRITTEN_LEVEL: i32 = 1;
/// Spans or links of one batch as it is written.
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
    packer: &mut Packer,
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
            filter: Filter::write(&room.keys),
            body: {
                pace.step();
                packer.pack(SPAN_TABLES, &room.plain, pace)?
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
pub(super) fn links(all: &[&Link], packer: &mut Packer, pace: &mut Pace) -> Result<Row, String> {
    let mut entry = Entry::new(Kind::Links);
    let mut hashes = Vec::with_capacity(all.len() * 2);
    for link in all {
        entry.add_time(link.child_start, link.child_start);
        hashes.push(link_hash(&LinkKey::Child(link.child)));
        hashes.extend(link.parent.map(|parent| link_hash(&LinkKey::Parent(parent))));
    }
    let mut plain = Vec::new();
    links::write(all, &mut plain, pace).map_err(|error| error.to_string())?;
    pace.step();
    let filter = Filter::write(&hashes);
    pace.step();
    let body = packer.pack(LINK_COLUMNS, &plain, pace)?;
    Ok(Row { entry, operations: Vec::new(), filter, body })
}

/// Spans of a body.
pub(super) fn read_spans(body: &[u8], zstd: &mut Decompressor<'_>) -> Result<Block, String> {
    match unpack(body, zstd)? {
        (FIRST, plain) => Block::from_bytes(first::tables(&plain)?),
        (SPAN_TABLES, plain) => Block::from_bytes(plain),
        (form, _) => Err(format!("its form {form} is not known")),
    }
}

/// Links of a body.
pub(super) fn read_links(body: &[u8], zstd: &mut Decompressor<'_>) -> Result<Links, String> {
    match unpack(body, zstd)? {
        (FIRST, plain) => Links::from_bytes(&first::link_columns(&plain)?),
        (LINK_COLUMNS, plain) => Links::from_bytes(&plain),
        (form, _) => Err(format!("its form {form} is not known")),
    }
}

/// A body compressed anew: what is in it stays as it is.
pub(super) fn pack_anew(
    body: &[u8],
    packer: &mut Packer,
    zstd: &mut Decompressor<'_>,
    pace: &mut Pace,
) -> Result<Vec<u8>, String> {
    let (form, plain) = unpack(body, zstd)?;
    packer.pack(form, &plain, pace)
}

/// Counts of a batch.
pub(super) fn read_operations(bytes: &[u8]) -> Result<Vec<OperationRow>, String> {
    postcard::from_bytes(bytes).map_err(|error| error.to_string())
}

/// Compresses bodies.
pub(super) struct Packer(Compressor<'static>);

impl Packer {
    /// Of a level of zstd, with a checksum.
    pub(super) fn new(level: i32) -> std::io::Result<Self> {
        let mut zstd = Compressor::new(level)?;
        zstd.include_checksum(true)?;
        Ok(Self(zstd))
    }

    fn pack(&mut self, form: u32, plain: &[u8], pace: &mut Pace) -> Result<Vec<u8>, String> {
        if plain.len() > PLAIN_LEN_MAX {
            return Err(format!("{} bytes are too many for one batch", plain.len()));
        }
        let packed = self.0.compress(plain).map_err(|error| error.to_string())?;
        pace.step();
        let mut body = Vec::with_capacity(4 + packed.len());
        let head = plain.len() as u32 | form << FORM_SHIFT;
        body.extend_from_slice(&head.to_le_bytes());
        body.extend_from_slice(&packed);
        Ok(body)
    }

    /// Sums as they are stored.
    pub(super) fn pack_sums(&mut self, plain: &[u8]) -> Result<Vec<u8>, String> {
        self.pack(FIRST, plain, &mut Pace::new(false))
    }
}

/// Sums as they were before [`Packer::pack_sums`].
pub(super) fn unpack_sums(body: &[u8], zstd: &mut Decompressor<'_>) -> Result<Vec<u8>, String> {
    unpack(body, zstd).map(|(_, plain)| plain)
}

/// The form and the bytes of a body.
fn unpack(body: &[u8], zstd: &mut Decompressor<'_>) -> Result<(u32, Vec<u8>), String> {
    let (head, packed) = body.split_first_chunk::<4>().ok_or("it is cut")?;
    let head = u32::from_le_bytes(*head);
    let (form, len) = (head >> FORM_SHIFT, head as usize & PLAIN_LEN_MAX);
    let plain = zstd.decompress(packed, len).map_err(|error| error.to_string())?;
    if plain.len() != len {
        return Err(format!("it has {} of {len} bytes", plain.len()));
    }
    Ok((form, plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeptrace_model::{Method, Relation, SpanId, WallTime};

    #[test]
    fn links_of_older_versions_are_read_and_unknown_forms_refused() {
        let link = Link {
            child: SpanId(1),
            parent: Some(SpanId(2)),
            child_start: WallTime(3),
            method: Method::Wake,
            relation: Relation::Follows,
            confidence: 0.5,
            algorithm: "auto".into(),
            candidates: 4,
            generation: 5,
            is_final: true,
        };
        let plain = postcard::to_stdvec(&[&link][..]).unwrap();
        let mut packer = Packer::new(WRITTEN_LEVEL).unwrap();
        let (mut zstd, mut pace) = (Decompressor::new().unwrap(), Pace::new(false));
        let body = packer.pack(FIRST, &plain, &mut pace).unwrap();
        let all = |body: &[u8]| read_links(body, &mut Decompressor::new().unwrap()).unwrap().all();
        assert_eq!(all(&body), Some(vec![link.clone()]));
        let row = super::links(&[&link], &mut packer, &mut pace).unwrap();
        assert_eq!(all(&row.body), Some(vec![link]));
        let body = packer.pack(15, &plain, &mut pace).unwrap();
        assert!(read_links(&body, &mut zstd).is_err() && read_spans(&body, &mut zstd).is_err());
    }
}
