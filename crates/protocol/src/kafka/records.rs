//! Records: what partitions hold (implementation guide, "Message Format"): batches of magic 2 with
//! headers, and message sets of magic 0 and 1 without.
//!
//! Only headers of uncompressed batches are read. Records of several callers may be in one
//! batch: a trace context is told only where all records that were read agree on it.

use deeptrace_model::{ItemKey, TraceContext, hash_bytes, hash64};

use super::cursor::Cursor;
use super::topics::Name;
use crate::TraceHeaders;

/// Offset and length in front of each batch and each message of a set.
const FRONT: usize = 12;

/// What is known of some records.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    /// Number of records.
    pub(super) count: u32,
    /// Not all batches were there to be counted.
    pub(super) is_partial: bool,
    /// A tag of offset and context: `None` where none was read, `Some(None)` where records differ.
    context: Option<Option<TraceContext>>,
    /// Hash of the name of the topic that they are of, or of its id.
    topic: u64,
    /// Batches, as who sends and who fetches them see alike.
    pub(super) items: Vec<ItemKey>,
}

/// Batches of one message that are told.
const ITEMS_MAX: usize = 256;

/// What a broker leaves as it was in a batch: from its checksum to the number of its records, among
/// them time, producer and sequence number. Offset and leader epoch before that are the broker's.
const KEPT: std::ops::Range<usize> = FRONT + 5..FRONT + 49;

impl Records {
    /// What the records have in common.
    pub(super) fn context(&self) -> Option<TraceContext> {
        self.context.flatten()
    }

    /// What follows is of this topic. Who sends and who fetches must call it alike to be linked.
    pub(super) fn of_topic(&mut self, name: &Name) {
        self.topic = match name {
            Name::Known(name) => hash_bytes(name.as_bytes()),
            Name::Unknown(id) => hash_bytes(&id.to_be_bytes()),
            Name::Impossible => 0,
        };
    }

    /// Reads records of `len` bytes, of which `bytes` are there, of a partition.
    pub(super) fn read(&mut self, partition: i32, mut bytes: &[u8], len: usize) {
        let mut left = len;
        while left > 0 {
            let Some(size) = self.batch(partition, bytes).filter(|size| *size <= left) else {
                // A fetch may end in the middle of a batch, which is not counted.
                self.is_partial = true;
                return;
            };
            left -= size;
            bytes = bytes.get(size..).unwrap_or_default();
        }
    }

    /// The batch or message at the front; returns its size.
    fn batch(&mut self, partition: i32, bytes: &[u8]) -> Option<usize> {
        let mut cursor = Cursor::new(bytes, false);
        cursor.long()?;
        let size = usize::try_from(cursor.int()?).ok()?.checked_add(FRONT)?;
        // Leader epoch, or the checksum of a message.
        cursor.int()?;
        match cursor.byte()? {
            0 | 1 if size >= FRONT + 14 => self.count = self.count.saturating_add(1),
            2 => {
                cursor.int()?;
                let attributes = cursor.short()?;
                // Last offset, two timestamps, producer and its epoch, first sequence number.
                cursor.take(4 + 8 + 8 + 8 + 2 + 4)?;
                let count = u32::try_from(cursor.int()?).ok()?;
                self.count = self.count.saturating_add(count);
                if let Some(kept) = bytes.get(KEPT).filter(|_| self.items.len() < ITEMS_MAX) {
                    self.items.push(self.key(partition, kept));
                }
                let is_plain = attributes & 7 == 0 && attributes & 0x20 == 0;
                if is_plain {
                    let _ = self.records(cursor, count);
                }
            }
            _ => return None,
        }
        Some(size)
    }

    /// Batches that are sent at the same time with the same content differ in where they go.
    fn key(&self, partition: i32, kept: &[u8]) -> ItemKey {
        ItemKey(hash64(&[self.topic, partition as u64, hash_bytes(kept)]))
    }

    fn records(&mut self, mut cursor: Cursor<'_>, count: u32) -> Option<()> {
        for _ in 0..count {
            let len = usize::try_from(cursor.varint()?).ok()?;
            let whole = cursor.rest().len() >= len;
            let mut record = Cursor::new(cursor.rest(), false);
            let context = headers(&mut record);
            if whole || context.is_some() {
                let first = *self.context.get_or_insert(context);
                if first != context {
                    self.context = Some(None);
                }
            }
            cursor.take(len)?;
        }
        Some(())
    }
}

/// The trace context in the headers of a record.
fn headers(record: &mut Cursor<'_>) -> Option<TraceContext> {
    record.byte()?;
    record.varint()?;
    record.varint()?;
    nullable(record)?;
    nullable(record)?;
    let mut seen = TraceHeaders::default();
    for _ in 0..record.varint()? {
        let (Some(name), Some(value)) = (nullable(record), nullable(record)) else { break };
        seen.header(name, value);
    }
    seen.context()
}

/// Bytes after their length, of which minus one stands for null.
fn nullable<'a>(record: &mut Cursor<'a>) -> Option<&'a [u8]> {
    match record.varint()? {
        -1 => Some(&[]),
        len => record.take(usize::try_from(len).ok()?),
    }
}
