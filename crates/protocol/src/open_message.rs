//! A message that is being put together: where it began, what was seen of it.

use deeptrace_model::{
    ConnectionId, Direction, Incomplete, Message, MessageRole, SpanId, StreamKey, Touch, hash_bytes,
};

use deeptrace_redact::overwrite;

use crate::Draft;
use crate::payloads::Payloads;

/// Bytes of a message that its hash covers.
const HASHED: usize = 64;

/// What the messages of one direction have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) protocol: &'static str,
    pub(crate) connection: ConnectionId,
    pub(crate) direction: Direction,
    /// The host; see [`SpanId::derive`].
    pub(crate) boot: u64,
    /// First bytes of a message to keep.
    pub(crate) payload_max: usize,
}

/// A message whose end was not reached yet.
#[derive(Debug)]
pub(crate) struct OpenMessage {
    pub(crate) stream: u64,
    pub(crate) start: u64,
    /// What its message says of where it starts.
    position: u64,
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
    /// A message that begins at `start`, which both ends know as `position`, with no bytes as yet.
    pub(crate) fn new(
        stream: u64,
        (start, position): (u64, u64),
        touch: Touch,
        lost_events: u32,
    ) -> Self {
        Self {
            stream,
            start,
            position,
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
            let room = payload_max.max(HASHED).saturating_sub(self.payload.len());
            self.payload.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The message, now that it is known what it says.
    pub(crate) fn finish(
        mut self,
        draft: Box<Draft>,
        who: &Who,
        payloads: &mut Payloads,
        end: Option<Incomplete>,
    ) -> Box<Message> {
        let bytes = std::mem::take(&mut self.payload);
        self.build(&bytes, draft, who, payloads, end)
    }

    /// The same for a message to which nothing was added yet: `bytes` are the first of all its `len`.
    pub(crate) fn finish_whole(
        mut self,
        bytes: &[u8],
        len: u64,
        draft: Box<Draft>,
        who: &Who,
        payloads: &mut Payloads,
    ) -> Box<Message> {
        self.size = len;
        self.build(bytes, draft, who, payloads, None)
    }

    fn build(
        self,
        bytes: &[u8],
        mut draft: Box<Draft>,
        who: &Who,
        payloads: &mut Payloads,
        end: Option<Incomplete>,
    ) -> Box<Message> {
        let stream = StreamKey { connection: who.connection, stream: draft.stream };
        let whole = &bytes[..bytes.len().min(who.payload_max.max(HASHED))];
        let is_named = payloads.redactor.mark(whole, self.size, &mut draft);
        let mut masked = Vec::new();
        let whole = if draft.redact.is_empty() {
            whole
        } else {
            masked.extend_from_slice(whole);
            overwrite(&mut masked, &draft.redact);
            &masked[..]
        };
        // Of what is masked as well: a hash of a short secret tells it.
        let head_hash = hash_bytes(&whole[..whole.len().min(HASHED)]);
        let kept = &whole[..whole.len().min(who.payload_max)];
        let payload = payloads.keep(kept, head_hash, &mut draft.attributes);
        Box::new(Message {
            protocol: draft.protocol.unwrap_or(who.protocol),
            stream,
            direction: who.direction,
            role: draft.role,
            span: match draft.role {
                MessageRole::Response => SpanId(0),
                _ => SpanId::derive(who.boot, stream, who.direction, self.position),
            },
            start: self.position,
            size: self.size,
            first: self.first,
            last: self.last,
            name: draft.name,
            attributes: draft.attributes,
            status: draft.status,
            status_message: draft.status_message,
            trace_context: draft.trace_context,
            items: draft.items,
            payload,
            unknown: draft.unknown,
            truncated: self.truncated || draft.truncated,
            lost_events: self.lost_events,
            incomplete: end,
            interim: draft.interim,
            answer_is_value: is_named || draft.asks_secret,
            head_hash,
        })
    }
}
