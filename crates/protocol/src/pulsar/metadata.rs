//! Metadata of a message (`MessageMetadata`, and `SingleMessageMetadata` in a batch).

use deeptrace_model::TraceContext;

use super::fields::{Fields, Value};
use crate::trace_context::TraceHeaders;

/// What stands before what a broker adds (PIP-70), and before a checksum.
const BROKER_ENTRY: &[u8] = &[0x0e, 0x02];
const CHECKSUM: &[u8] = &[0x0e, 0x01];

pub(super) struct Metadata {
    pub(super) trace: Option<TraceContext>,
    pub(super) payload_len: usize,
}

/// Reads what follows a command; `len` are its bytes, of which `bytes` are there.
pub(super) fn read(bytes: &[u8], len: usize) -> Option<Metadata> {
    let mut rest = bytes;
    if let Some(after) = rest.strip_prefix(BROKER_ENTRY) {
        rest = after;
        sized(&mut rest)?;
    }
    if let Some(after) = rest.strip_prefix(CHECKSUM) {
        rest = after.get(4..)?;
    }
    let fields = Fields(sized(&mut rest)?);
    let payload_len = len.checked_sub(bytes.len() - rest.len())?;
    let mut trace = context(fields, 4);
    let is_batch = fields.number(11).is_some();
    let is_plain = fields.number(8).unwrap_or(0) == 0 && fields.bytes(13).is_none();
    if trace.is_none() && is_batch && is_plain {
        trace = sized(&mut rest).and_then(|single| context(Fields(single), 1));
    }
    Some(Metadata { trace, payload_len })
}

/// Takes bytes behind their length.
fn sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_at_checked(4)?;
    let len = u32::from_be_bytes([len[0], len[1], len[2], len[3]]) as usize;
    let (front, back) = after.split_at_checked(len)?;
    *rest = back;
    Some(front)
}

/// The trace context among the properties, which are the field `number`.
fn context(fields: Fields<'_>, number: u64) -> Option<TraceContext> {
    let mut trace = TraceHeaders::default();
    for (field, value) in fields.iter() {
        let Value::Bytes(property) = value else { continue };
        if field == number {
            let property = Fields(property);
            trace.header(
                property.bytes(1).unwrap_or_default(),
                property.bytes(2).unwrap_or_default(),
            );
        }
    }
    trace.context()
}
