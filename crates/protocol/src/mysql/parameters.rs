//! Parameters of a query: "query attributes", of which one may be the trace context
//! ("COM_QUERY", "Binary Protocol Value"; MySQL reference §11.6 and its connectors' `traceparent`).

use super::packet::{counted, number, short};
use crate::TraceHeaders;

/// More are not looked at.
const PARAMETERS_MAX: u64 = 64;

/// Reads parameters at the front: bitmap, types and names, values. Returns what follows them.
pub(super) fn read<'a>(
    count: u64,
    bytes: &'a [u8],
    headers: &mut TraceHeaders,
) -> Option<&'a [u8]> {
    if count > PARAMETERS_MAX {
        return None;
    }
    let count = usize::try_from(count).ok()?;
    if count == 0 {
        return Some(bytes);
    }
    let (nulls, rest) = bytes.split_at_checked(count.div_ceil(8))?;
    let (has_types, mut rest) = rest.split_first()?;
    if *has_types != 1 {
        return None;
    }
    let mut named: Vec<(u8, &[u8])> = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = short(rest, 0)?.to_le_bytes()[0];
        let (name, after) = counted(&rest[2..])?;
        named.push((kind, name));
        rest = after;
    }
    for (index, (kind, name)) in named.into_iter().enumerate() {
        if nulls[index / 8] & (1 << (index % 8)) != 0 {
            continue;
        }
        let (value, after) = value(kind, rest)?;
        headers.header(name, value);
        rest = after;
    }
    Some(rest)
}

/// Reads how many parameters there are, how many sets of them (one), and the parameters.
pub(super) fn of_query<'a>(bytes: &'a [u8], headers: &mut TraceHeaders) -> Option<&'a [u8]> {
    let (count, rest) = number(bytes)?;
    let (1, rest) = number(rest)? else { return None };
    read(count, rest, headers)
}

/// A value of the type `kind` at the front, and what follows it.
fn value(kind: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = match kind {
        0x06 => 0,
        0x01 => 1,
        0x02 | 0x0d => 2,
        0x03 | 0x04 | 0x09 => 4,
        0x05 | 0x08 => 8,
        // Dates and times have a length of one byte.
        0x07 | 0x0a..=0x0c => 1 + usize::from(*bytes.first()?),
        _ => return counted(bytes),
    };
    bytes.split_at_checked(len)
}
