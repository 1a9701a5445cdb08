//! Properties of version 5 (§2.2.2).

use super::packet::{Variable, field, short, take, variable};
use crate::trace_context::TraceHeaders;

/// Properties of one packet; what is of no use is only checked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Properties<'a> {
    pub(super) topic_alias: Option<u16>,
    pub(super) reason: Option<&'a [u8]>,
    pub(super) trace: TraceHeaders,
    /// How many there are.
    pub(super) count: usize,
}

/// Takes the length and the properties behind it; `None` if they do not fit or are not all there.
pub(super) fn properties<'a>(rest: &mut &'a [u8]) -> Option<Properties<'a>> {
    let Variable::Number(len, len_len) = variable(rest) else { return None };
    let mut after = rest.get(len_len..)?;
    let mut bytes = take(&mut after, len as usize)?;
    let mut found = Properties::default();
    while !bytes.is_empty() {
        property(&mut bytes, &mut found)?;
        found.count += 1;
    }
    *rest = after;
    Some(found)
}

/// Takes one property by its identifier (§2.2.2.2).
fn property<'a>(rest: &mut &'a [u8], found: &mut Properties<'a>) -> Option<()> {
    match take(rest, 1)?[0] {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => {
            take(rest, 1)?;
        }
        0x23 => found.topic_alias = Some(short(rest)?),
        0x13 | 0x21 | 0x22 => {
            take(rest, 2)?;
        }
        0x02 | 0x11 | 0x18 | 0x27 => {
            take(rest, 4)?;
        }
        0x0b => {
            let Variable::Number(_, len) = variable(rest) else { return None };
            take(rest, len)?;
        }
        0x1f => found.reason = Some(field(rest)?),
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c => {
            field(rest)?;
        }
        0x26 => {
            let (name, value) = (field(rest)?, field(rest)?);
            found.trace.header(name, value);
        }
        _ => return None,
    }
    Some(())
}
