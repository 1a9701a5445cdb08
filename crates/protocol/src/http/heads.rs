//! Heads that repeat: clients on kept connections, health checks and load balancers send the same head
//! again and again, servers answer with the same. What such a head said is remembered.
//!
//! The memory is the thread's, so that parsers of all connections share it; it changes nothing of what
//! they say. A head with a value that must not be kept is never remembered.

use std::cell::RefCell;
use std::sync::Arc;

use deeptrace_model::{AttributeSet, Attributes, Text, TraceContext, hash_bytes};

use super::Asked;
use super::head::Fields;
use crate::Draft;

/// Heads remembered by a thread; a power of two.
const SLOTS: usize = 512;
/// Longest head that is.
const HEAD_MAX: usize = 1024;
/// Bytes by which a slot is chosen.
const HASHED: usize = 64;

thread_local! {
    static HEADS: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

/// What a head says, and what decides how long a message is.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) draft: Draft,
    /// Of a request.
    pub(super) asked: Asked,
    /// Of a response, else zero.
    pub(super) status: u16,
    /// Length with the empty line.
    pub(super) end: usize,
    /// Whether the empty line was there.
    pub(super) is_whole: bool,
    /// Announced length of the body.
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
}

impl Summary {
    pub(super) fn new(draft: Draft, fields: &Fields<'_>, asked: Asked, status: u16) -> Self {
        Self {
            draft,
            asked,
            status,
            end: fields.end,
            is_whole: fields.is_whole,
            length: fields.length,
            is_chunked: fields.is_chunked,
        }
    }
}

#[derive(Default)]
struct Slot {
    /// Of the head that came here last: only one that comes twice is worth its memory.
    last: u64,
    bytes: Box<[u8]>,
    said: Option<Said>,
}

/// A [`Summary`] that is cheap to repeat.
struct Said {
    name: Text,
    attributes: Arc<AttributeSet>,
    trace_context: Option<TraceContext>,
    head: Summary,
}

/// The head at the front of `bytes`, if it is remembered.
pub(super) fn recall(bytes: &[u8]) -> Option<Summary> {
    HEADS.with_borrow(|slots| {
        let slot = slots.get(place(bytes).1)?;
        let said = slot.said.as_ref().filter(|_| bytes.starts_with(&slot.bytes))?;
        let mut draft = said.head.draft.clone();
        draft.name = said.name.clone();
        draft.attributes.share_new(&said.attributes);
        draft.trace_context = said.trace_context;
        Some(Summary { draft, ..said.head })
    })
}

/// Remembers what the head at the front of `bytes` said, if it may be and comes again.
pub(super) fn remember(bytes: &[u8], head: &Summary) {
    let is_plain = head.draft.redact.is_empty() && head.draft.status_message.is_none();
    if !head.is_whole || !is_plain || head.end > HEAD_MAX {
        return;
    }
    HEADS.with_borrow_mut(|slots| {
        if slots.is_empty() {
            slots.resize_with(SLOTS, Slot::default);
        }
        let (hash, at) = place(bytes);
        let slot = &mut slots[at];
        if std::mem::replace(&mut slot.last, hash) != hash {
            return;
        }
        let mut rest = head.clone();
        let attributes = std::mem::replace(&mut rest.draft.attributes, Attributes::new());
        slot.bytes = bytes[..head.end].into();
        slot.said = Some(Said {
            name: std::mem::take(&mut rest.draft.name),
            attributes: attributes.into_set(),
            trace_context: rest.draft.trace_context.take(),
            head: rest,
        });
    });
}

fn place(bytes: &[u8]) -> (u64, usize) {
    let hash = hash_bytes(&bytes[..bytes.len().min(HASHED)]);
    (hash, hash as usize % SLOTS)
}
