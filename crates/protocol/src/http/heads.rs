//! Heads that repeat: clients on kept connections, health checks and load balancers send the same head
//! again and again, servers answer with the same. What such a head said is remembered.
//!
//! The memory is the thread's, so that parsers of all connections share it; it changes nothing of what
//! they say. A head with a value that must not be kept is never remembered.

use std::cell::RefCell;
use std::sync::Arc;

use deeptrace_model::{AttributeSet, MessageRole, SpanStatus, Text, TraceContext, hash64};

use super::Asked;
use super::head::Fields;
use crate::Draft;
use crate::web::meaning::Wanted;

/// Heads remembered by a thread; a power of two.
const SLOTS: usize = 512;
/// Longest head that is.
const HEAD_MAX: usize = 1024;

thread_local! {
    static HEADS: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

/// What a head says.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) draft: Box<Draft>,
    pub(super) framing: Framing,
}

/// What of a head decides where its message ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framing {
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
    /// Who wants to see the body of a request.
    pub(super) wanted: Option<Wanted>,
    /// Whether the body of a response can be read.
    pub(super) is_json: bool,
}

impl Summary {
    pub(super) fn new(draft: Draft, fields: &Fields<'_>, asked: Asked, status: u16) -> Self {
        let Fields { end, is_whole, length, is_chunked, .. } = *fields;
        let (wanted, is_json) = (None, fields.words.is_json());
        let framing = Framing { asked, status, end, is_whole, length, is_chunked, wanted, is_json };
        Self { draft: Box::new(draft), framing }
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
    role: MessageRole,
    name: Text,
    attributes: Arc<AttributeSet>,
    status: SpanStatus,
    trace_context: Option<TraceContext>,
    interim: bool,
    framing: Framing,
}

/// The head at the front of `bytes`, if it is remembered.
pub(super) fn recall(bytes: &[u8]) -> Option<Summary> {
    HEADS.with_borrow(|slots| {
        let slot = slots.get(place(bytes).1)?;
        let said = slot.said.as_ref().filter(|_| bytes.starts_with(&slot.bytes))?;
        // The memory is taken first, so that the draft is made where it stays.
        let mut draft = Box::write(
            Box::new_uninit(),
            Draft {
                role: said.role,
                status: said.status,
                trace_context: said.trace_context,
                interim: said.interim,
                ..Draft::request(said.name.clone())
            },
        );
        draft.attributes.share_new(&said.attributes);
        Some(Summary { draft, framing: said.framing })
    })
}

/// Remembers what the head at the front of `bytes` said, if it may be and comes again.
pub(super) fn remember(bytes: &[u8], head: &Summary) {
    let Summary { draft, framing } = head;
    let is_plain =
        draft.redact.is_empty() && draft.status_message.is_none() && draft.unknown.is_empty();
    if !framing.is_whole || !is_plain || framing.end > HEAD_MAX {
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
        slot.bytes = bytes[..framing.end].into();
        slot.said = Some(Said {
            role: draft.role,
            name: draft.name.clone(),
            attributes: draft.attributes.clone().into_set(),
            status: draft.status,
            trace_context: draft.trace_context,
            interim: draft.interim,
            framing: *framing,
        });
    });
}

/// Hash and slot of a head, by bytes in front of it that differ between most heads.
fn place(bytes: &[u8]) -> (u64, usize) {
    let word = |at: usize| {
        bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    let hash = hash64(&[word(4), word(12), word(24), word(48)]);
    (hash, hash as usize % SLOTS)
}
