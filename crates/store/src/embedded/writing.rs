//! Writing: spans, one after the other, into the bytes of a block.
//!
//! What spans share in memory (text, sets of attributes, payloads) is told by its address and stored
//! once. The addresses stay valid because the spans are borrowed until the block is done.

use std::sync::Arc;

use deeptrace_model::{AttributeSet, ConnectionId, Payload, Span, Text, Touch, TraceContext};
use rustc_hash::FxHashMap;

use super::column::put;
use super::filter::span_hash;
use super::pace::Pace;
use super::row::{Common, Extra, NONE, Row, is_common, touches};
use super::table;
use crate::SpanKey;

/// Room that one block after the other is written in: fresh memory would cost as much as writing.
#[derive(Default)]
pub(super) struct Room {
    rows: Vec<Row>,
    /// Hashes of all keys by which the spans are looked up.
    pub(super) keys: Vec<u64>,
    /// The block as bytes, not compressed.
    pub(super) plain: Vec<u8>,
}

/// A block that is being written.
pub(super) struct Writing<'a> {
    strings: Numbered<&'a str>,
    sets: Numbered<*const AttributeSet, &'a AttributeSet>,
    payloads: Numbered<*const u8, &'a Payload>,
    commons: Numbered<Common, Common>,
    /// The last span of each connection: the next one is mostly like it.
    latest: Numbered<ConnectionId, Option<Latest<'a>>>,
    extras: Vec<Extra>,
    /// Ids of applications' traces, with the number of their extra, one more.
    contexts: Vec<(u64, TraceContext)>,
    /// Positions of the last span of each common.
    last: Vec<(u64, u64)>,
    bytes: usize,
    room: &'a mut Room,
}

/// A span with the numbers of what it shares.
#[derive(Clone, Copy)]
struct Latest<'a> {
    span: &'a Span,
    common: u32,
    name: u32,
    request_payload: u32,
    response_payload: u32,
}

/// Values, each with the number under which it is stored.
struct Numbered<K, V = K> {
    numbers: FxHashMap<K, u32>,
    values: Vec<V>,
}

impl<K, V> Default for Numbered<K, V> {
    fn default() -> Self {
        Self { numbers: FxHashMap::default(), values: Vec::new() }
    }
}

impl<K: Eq + std::hash::Hash, V> Numbered<K, V> {
    fn number(&mut self, key: K, value: impl FnOnce(&K) -> V) -> u32 {
        let next = self.values.len() as u32;
        *self.numbers.entry(key).or_insert_with_key(|key| {
            self.values.push(value(key));
            next
        })
    }
}

impl<'a> Writing<'a> {
    /// An empty block; what `room` held is gone.
    pub(super) fn new(room: &'a mut Room) -> Self {
        room.rows.clear();
        room.keys.clear();
        room.plain.clear();
        Self {
            strings: Numbered::default(),
            sets: Numbered::default(),
            payloads: Numbered::default(),
            commons: Numbered::default(),
            latest: Numbered::default(),
            extras: Vec::new(),
            contexts: Vec::new(),
            last: Vec::new(),
            bytes: 0,
            room,
        }
    }

    /// Appends a span; returns the numbers of its service and name.
    pub(super) fn push(&mut self, span: &'a Span) -> (u32, u32) {
        let calls = touches(span);
        let mut row = Row::of(span, &calls);
        let Latest { common, name, request_payload, response_payload, .. } =
            self.shared(span, &calls);
        row.common = common.into();
        row.name = name.into();
        row.request_payload = request_payload.into();
        row.response_payload = response_payload.into();
        row.extra = self.extra(span);
        self.key(&SpanKey::Id(span.id));
        span.exchange.key().into_iter().for_each(|key| self.key(&SpanKey::Exchange(key)));
        self.key(&SpanKey::Request(span.exchange.request_key()));
        let context = span.trace_context;
        context.into_iter().for_each(|it| self.key(&SpanKey::Application(it.trace)));
        let service = self.commons.values[common as usize].service;
        let last = &mut self.last[common as usize];
        let now = (row.request, row.response);
        row.request = now.0.wrapping_sub(last.0);
        row.response = now.1.wrapping_sub(last.1);
        *last = now;
        self.room.rows.push(row);
        self.bytes += size_of::<Row>();
        (service, name)
    }

    /// What it shares: as the last span of its connection, as far as it is like that.
    fn shared(&mut self, span: &'a Span, calls: &[Touch; 4]) -> Latest<'a> {
        let at = self.latest.number(span.connection, |_| None) as usize;
        let latest = self.latest.values[at];
        let like = |is_like: &dyn Fn(&Span) -> bool| latest.filter(|it| is_like(it.span));
        let now = Latest {
            span,
            common: match like(&|it| is_common(it, span, calls)) {
                Some(latest) => latest.common,
                None => self.common(span, Common::of(span, calls)),
            },
            name: match like(&|it| it.name == span.name) {
                Some(latest) => latest.name,
                None => self.string(&span.name),
            },
            request_payload: match like(&|it| {
                it.request_payload.is_shared_with(&span.request_payload)
            }) {
                Some(latest) => latest.request_payload,
                None => self.payload(&span.request_payload),
            },
            response_payload: match like(&|it| {
                it.response_payload.is_shared_with(&span.response_payload)
            }) {
                Some(latest) => latest.response_payload,
                None => self.payload(&span.response_payload),
            },
        };
        self.latest.values[at] = Some(now);
        now
    }

    fn key(&mut self, key: &SpanKey) {
        self.room.keys.push(span_hash(key));
    }

    fn string(&mut self, text: &'a str) -> u32 {
        self.strings.number(text, |text| text)
    }

    fn payload(&mut self, payload: &'a Payload) -> u32 {
        let bytes = &mut self.bytes;
        // Empty ones have one address.
        self.payloads.number(payload.as_ptr(), |_| {
            *bytes += payload.len();
            payload
        })
    }

    fn common(&mut self, span: &'a Span, mut common: Common) -> u32 {
        common.service = self.string(&span.service);
        common.protocol = self.string(&span.protocol);
        for (at, set) in span.attributes.shared().enumerate() {
            let bytes = &mut self.bytes;
            common.sets[at] = self.sets.number(Arc::as_ptr(set), |_| {
                *bytes += size(set.as_slice());
                &**set
            });
        }
        let number = self.commons.number(common, Common::clone);
        if number as usize == self.last.len() {
            self.last.push((0, 0));
        }
        number
    }

    fn extra(&mut self, span: &'a Span) -> u64 {
        let own = span.attributes.own();
        let is_plain = own.is_empty()
            && span.status_message.is_none()
            && span.trace_context.is_none()
            && span.unknown.is_empty()
            && !span.truncated
            && span.lost_events == 0;
        if is_plain {
            return 0;
        }
        self.bytes += size_of::<Extra>() + size(own);
        let attributes = own.iter().map(|(name, value)| (self.string(name), value.clone()));
        let attributes = attributes.collect();
        self.extras.push(Extra {
            attributes,
            status_message: span.status_message.clone(),
            unknown: span.unknown.clone(),
            truncated: span.truncated,
            lost_events: span.lost_events,
        });
        let number = self.extras.len() as u64;
        self.contexts.extend(span.trace_context.map(|context| (number, context)));
        number
    }

    /// Spans in it.
    pub(super) fn len(&self) -> usize {
        self.room.rows.len()
    }

    /// Bytes that it will have, about, not compressed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Ends the block: its bytes and keys are in the room.
    pub(super) fn finish(self, pace: &mut Pace) -> postcard::Result<()> {
        debug_assert!(self.commons.values.iter().all(|common| common.service != NONE));
        let Self {
            mut strings, sets, payloads, commons, extras, contexts: of_contexts, room, ..
        } = self;
        let mut numbered = Vec::with_capacity(sets.values.len());
        for set in sets.values {
            let named = set.as_slice().iter();
            let names: Vec<_> =
                named.map(|(name, value)| (strings.number(name, |it| it), value)).collect();
            numbered.push(names);
        }
        let Room { rows, plain, .. } = room;
        let mut out = std::mem::take(plain);
        table::write(strings.values.iter(), &mut out)?;
        table::write(numbered.iter(), &mut out)?;
        table::write(payloads.values.iter(), &mut out)?;
        pace.step();
        table::write(commons.values.iter(), &mut out)?;
        table::write(extras.iter(), &mut out)?;
        contexts(&of_contexts, &mut out);
        put(rows.len() as u64, &mut out);
        pace.step();
        Row::write(rows, &mut out, pace);
        *plain = out;
        Ok(())
    }
}

/// Appends ids of applications' traces, each with the number of its extra, one more.
pub(super) fn contexts(contexts: &[(u64, TraceContext)], out: &mut Vec<u8>) {
    put(contexts.len() as u64, out);
    for (extra, context) in contexts {
        put(*extra, out);
        out.extend_from_slice(&{ context.trace }.0.to_le_bytes());
        out.extend_from_slice(&context.parent.to_le_bytes());
    }
}

/// Bytes of attributes, about.
fn size(attributes: &[deeptrace_model::Attribute]) -> usize {
    use deeptrace_model::Value;
    let value = |value: &Value| match value {
        Value::Text(text) => Text::len(text),
        Value::Texts(texts) => texts.iter().map(String::len).sum(),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) => 8,
    };
    attributes.iter().map(|(key, it)| key.len() + value(it)).sum()
}
