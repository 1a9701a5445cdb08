//! A message that is being put together: where it began, what was seen of it.

use std::ops::Range;

use deeptrace_model::{ConnectionId, Direction, Incomplete, Message, StreamKey, Touch, hash_bytes};

use crate::Draft;

/// Bytes of a message that its hash covers.
const HASHED: usize = 64;

/// What the messages of one direction have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) protocol: &'static str,
    pub(crate) connection: ConnectionId,
    pub(crate) direction: Direction,
    /// First bytes of a message to keep.
    pub(crate) payload_max: usize,
}

/// A message whose end was not reached yet.
#[derive(Debug)]
pub(crate) struct OpenMessage {
    pub(crate) stream: u64,
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) first: Touch,
    pub(crate) last: Touch,
    pub(crate) lost_events: u32,
    pub(crate) truncated: bool,
    payload: Vec<u8>,
    /// Bytes from the front on of which none was passed over; `payload` holds the first of them.
    seen: u64,
}

impl OpenMessage {
    /// A message that begins at `start`, with no bytes as yet.
    pub(crate) fn new(stream: u64, start: u64, touch: Touch, lost_events: u32) -> Self {
        Self {
            stream,
            start,
            size: 0,
            first: touch,
            last: touch,
            lost_events,
            truncated: false,
            payload: Vec::new(),
            seen: 0,
        }
    }

    /// Adds `len` bytes, of which `bytes` are the first.
    pub(crate) fn add(&mut self, bytes: &[u8], len: u64, touch: Touch, payload_max: usize) {
        self.last = touch;
        self.see(self.size, bytes, payload_max);
        self.size = self.size.saturating_add(len);
    }

    /// Bytes that were added before they came, from `offset` in the message on.
    pub(crate) fn see(&mut self, offset: u64, bytes: &[u8], payload_max: usize) {
        if offset == self.seen {
            self.seen += bytes.len() as u64;
            let room = payload_max.max(HASHED) - self.payload.len();
            self.payload.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The message, now that it is known what it says.
    pub(crate) fn finish(mut self, draft: Draft, who: &Who, end: Option<Incomplete>) -> Message {
        let head_hash = hash_bytes(&self.payload[..self.payload.len().min(HASHED)]);
        self.payload.truncate(who.payload_max);
        redact(&mut self.payload, &draft.redact);
        Message {
            protocol: who.protocol,
            stream: StreamKey { connection: who.connection, stream: draft.stream },
            direction: who.direction,
            role: draft.role,
            start: self.start,
            size: self.size,
            first: self.first,
            last: self.last,
            name: draft.name,
            attributes: draft.attributes,
            status: draft.status,
            status_message: draft.status_message,
            trace_context: draft.trace_context,
            payload: self.payload,
            unknown: draft.unknown,
            truncated: self.truncated || draft.truncated,
            lost_events: self.lost_events,
            incomplete: end,
            interim: draft.interim,
            head_hash,
        }
    }
}

/// Overwrites `ranges` at equal length.
fn redact(payload: &mut [u8], ranges: &[Range<usize>]) {
    for range in ranges {
        let end = range.end.min(payload.len());
        if range.start < end {
            payload[range.start..end].fill(b'*');
        }
    }
}
