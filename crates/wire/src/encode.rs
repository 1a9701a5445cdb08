//! Encode: spans, links and gaps as batches of bounded size.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use deeptrace_model::{AttributeSet, Gap, Link, Span, WallTime};
use serde::Serialize;
use zstd::bulk::Compressor;

use crate::head::Head;
use crate::record::{GAPS, GapRecord, LINKS, LinkRecord, SETS, SPANS, SetRecord, SpanRecord};

/// Bytes of records after which a batch is closed; one span more is far from the limit.
const SPLIT: usize = 2 << 20;
/// The fastest level: most of what repeats is found by it.
const LEVEL: i32 = 1;
/// For batches of a few spans, in which little repeats.
const DENSE: i32 = 12;

/// A batch as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What can be told of it.
    pub head: Head,
    /// Head and body.
    pub bytes: Vec<u8>,
}

/// Makes batches, and keeps its memory.
pub struct Encoder {
    zstd: Option<Compressor<'static>>,
    sets: Records,
    spans: Records,
    links: Records,
    gaps: Records,
    plain: Vec<u8>,
}

impl Encoder {
    /// With or without compression.
    pub fn new(is_compressing: bool) -> io::Result<Self> {
        Ok(Self::with(is_compressing.then(|| Compressor::new(LEVEL)).transpose()?))
    }

    /// As small as can be, for batches of a few spans.
    pub fn dense() -> io::Result<Self> {
        Ok(Self::with(Some(Compressor::new(DENSE)?)))
    }

    fn with(zstd: Option<Compressor<'static>>) -> Self {
        let records = Records::default;
        let (sets, spans, links, gaps) = (records(), records(), records(), records());
        Self { zstd, sets, spans, links, gaps, plain: Vec::new() }
    }

    /// Everything, in as many batches as it takes. Returns how many records could not be written,
    /// because they are larger than a batch may be.
    pub fn encode(
        &mut self,
        spans: &[Span],
        links: &[Link],
        gaps: &[Gap],
        out: &mut dyn FnMut(Encoded),
    ) -> usize {
        let mut omitted = 0;
        for link in links {
            omitted += usize::from(!self.links.push(&LinkRecord::of(link)));
            self.split(&mut Times::default(), out);
        }
        for gap in gaps {
            omitted += usize::from(!self.gaps.push(&GapRecord::of(gap)));
        }
        let mut places: HashMap<*const AttributeSet, u32> = HashMap::new();
        let mut times = Times::default();
        for span in spans {
            let mut indices = Vec::new();
            for set in span.attributes.shared() {
                let next = places.len() as u32;
                let index = *places.entry(Arc::as_ptr(set)).or_insert(next);
                if index == next {
                    // A set that is too large leaves a hole, which its spans are left out for.
                    self.sets.push(&SetRecord(Cow::Borrowed(set.as_slice())));
                }
                indices.push(index);
            }
            if self.spans.push(&SpanRecord::of(span, indices)) {
                times.add(span);
            } else {
                omitted += 1;
            }
            if self.split(&mut times, out) {
                places.clear();
            }
        }
        self.close(&mut times, out);
        omitted
    }

    /// Closes the batch where it is large enough.
    fn split(&mut self, times: &mut Times, out: &mut dyn FnMut(Encoded)) -> bool {
        let all = [&self.sets, &self.spans, &self.links, &self.gaps];
        let is_full = all.iter().map(|records| records.bytes.len()).sum::<usize>() >= SPLIT;
        if is_full {
            self.close(times, out);
        }
        is_full
    }

    fn close(&mut self, times: &mut Times, out: &mut dyn FnMut(Encoded)) {
        self.plain.clear();
        let sections = [
            (SETS, &mut self.sets),
            (SPANS, &mut self.spans),
            (LINKS, &mut self.links),
            (GAPS, &mut self.gaps),
        ];
        for (kind, records) in sections {
            records.take(kind, &mut self.plain);
        }
        let Times { spans, from, to } = std::mem::take(times);
        if self.plain.is_empty() {
            return;
        }
        // Without compression where it fails, which is no reason to lose a batch.
        let packed = self.zstd.as_mut().and_then(|zstd| zstd.compress(&self.plain).ok());
        let mut head = Head::new(packed.is_some(), self.plain.len());
        (head.spans, head.from, head.to) = (spans, from, to);
        let body = packed.as_deref().unwrap_or(&self.plain);
        let mut bytes = Vec::with_capacity(Head::LEN + body.len());
        head.write(&mut bytes);
        bytes.extend_from_slice(body);
        out(Encoded { head, bytes });
    }
}

/// What the head says of the spans.
#[derive(Default)]
struct Times {
    spans: u32,
    from: WallTime,
    to: WallTime,
}

impl Times {
    fn add(&mut self, span: &Span) {
        self.from = if self.spans == 0 { span.start } else { self.from.min(span.start) };
        self.to = self.to.max(span.end);
        self.spans += 1;
    }
}

/// Records of one section.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    one: Vec<u8>,
}

impl Records {
    /// Whether it could be written.
    fn push(&mut self, record: &impl Serialize) -> bool {
        self.one.clear();
        let is_written = postcard::to_io(record, &mut self.one).is_ok() && self.one.len() < SPLIT;
        if !is_written {
            self.one.clear();
        }
        varint(self.one.len(), &mut self.bytes);
        self.bytes.extend_from_slice(&self.one);
        is_written
    }

    /// Writes the section, unless it is empty, and empties it.
    fn take(&mut self, kind: u8, out: &mut Vec<u8>) {
        if !self.bytes.is_empty() {
            out.push(kind);
            varint(self.bytes.len(), out);
            out.append(&mut self.bytes);
        }
    }
}

/// LEB128, as postcard has it.
fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
