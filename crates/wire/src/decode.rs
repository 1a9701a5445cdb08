//! Decode: bytes from anywhere as spans, links and gaps. Never panics, never allocates by a length
//! that it has not checked.

use std::borrow::Cow;
use std::sync::Arc;

use deeptrace_model::{
    AttributeSet, Attributes, ConnectionId, Gap, Link, Span, SpanId, Text, WallTime,
};
use serde::Deserialize;

use crate::head::{Head, WireError};
use crate::record::{
    ATTRIBUTES_MAX, GAPS, GapRecord, LINKS, LinkRecord, SETS, SETS_MAX, SPANS, SetRecord,
    SpanRecord,
};

/// What a batch holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Spans, as they were sent.
    pub spans: Vec<Span>,
    /// Links, as they were sent.
    pub links: Vec<Link>,
    /// Times in which events are missing.
    pub gaps: Vec<Gap>,
    /// Records and sections that this version does not understand.
    pub omitted: usize,
}

/// Reads a batch.
pub fn decode(bytes: &[u8]) -> Result<Decoded, WireError> {
    let head = Head::read(bytes)?;
    let body = bytes.get(Head::LEN..).unwrap_or_default();
    let plain = match head.is_compressed {
        // As large as the head says, which was checked; a frame that holds more is an error.
        true => zstd::bulk::decompress(body, head.plain_len)
            .map(Cow::Owned)
            .map_err(|_| WireError::Damaged("it does not unpack"))?,
        false => Cow::Borrowed(body),
    };
    if plain.len() != head.plain_len {
        return Err(WireError::Damaged("its length is another"));
    }
    let mut decoded = Decoded::default();
    let mut sets: Vec<Option<Arc<AttributeSet>>> = Vec::new();
    let mut rest: &[u8] = &plain;
    while let Some((&kind, after)) = rest.split_first() {
        let mut section = piece(after)?;
        rest = section.1;
        while !section.0.is_empty() {
            let (record, following) = piece(section.0)?;
            section.0 = following;
            match kind {
                SETS => sets.push(set(record)),
                SPANS => keep(&mut decoded.spans, span(record, &sets), &mut decoded.omitted),
                LINKS => {
                    let link = read::<LinkRecord<'_>>(record).map(LinkRecord::link);
                    keep(&mut decoded.links, link, &mut decoded.omitted);
                }
                GAPS => {
                    let gap = read::<GapRecord>(record).map(GapRecord::gap);
                    keep(&mut decoded.gaps, gap, &mut decoded.omitted);
                }
                _ => decoded.omitted += 1,
            }
        }
    }
    Ok(decoded)
}

fn keep<T>(all: &mut Vec<T>, one: Option<T>, omitted: &mut usize) {
    match one {
        Some(one) => all.push(one),
        None => *omitted += 1,
    }
}

/// The piece behind its length, and what follows.
fn piece(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let cut = WireError::Damaged("it is cut off");
    let Ok((len, rest)) = postcard::take_from_bytes::<u32>(bytes) else { return Err(cut) };
    rest.split_at_checked(len as usize).ok_or(cut)
}

/// A record; what a later version has appended is not looked at.
fn read<'a, T: Deserialize<'a>>(record: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(record).ok().map(|(record, _appended)| record)
}

fn set(record: &[u8]) -> Option<Arc<AttributeSet>> {
    let SetRecord(attributes) = read(record)?;
    (attributes.len() <= ATTRIBUTES_MAX).then(|| Arc::new(attributes.into_owned().into()))
}

fn span(record: &[u8], sets: &[Option<Arc<AttributeSet>>]) -> Option<Span> {
    let record: SpanRecord<'_> = read(record)?;
    if record.own.len() > ATTRIBUTES_MAX || record.sets.len() > SETS_MAX {
        return None;
    }
    let mut attributes = Attributes::with_capacity(record.own.len());
    for index in record.sets {
        attributes.share(sets.get(index as usize)?.as_ref()?);
    }
    for (key, value) in record.own.into_owned() {
        attributes.set(key, value);
    }
    Some(Span {
        id: SpanId(record.id),
        kind: record.kind,
        name: Text::new(record.name),
        service: Text::new(record.service),
        protocol: Cow::Owned(record.protocol.to_owned()),
        start: WallTime(record.start),
        end: WallTime(record.end),
        status: record.status,
        status_message: record.status_message.map(str::to_owned),
        attributes,
        request_size: record.request_size,
        response_size: record.response_size,
        request_payload: record.request_payload.into(),
        response_payload: record.response_payload.into(),
        process: record.process,
        connection: ConnectionId(record.connection),
        exchange: record.exchange,
        request: record.request,
        response: record.response,
        trace_context: record.trace_context,
        unknown: record.unknown.into_owned(),
        truncated: record.truncated,
        lost_events: record.lost_events,
    })
}
