//! Frame: what orders and answers have in common: a head that names the format, then records of a kind
//! each, of which a reader skips and counts those that it does not know.

use serde::{Deserialize, Serialize};

use crate::head::WireError;

/// Readers refuse another one.
const MAJOR: u8 = 1;
/// Counts up with each kind and each field that is appended.
const MINOR: u8 = 0;
/// Bytes of a record, at most: a part of what was found is the largest.
pub const RECORD_MAX: usize = 3 << 20;
/// Bytes of the head.
const HEAD: usize = 8;

/// A record with its kind and length in front; `None` where it is larger than [`RECORD_MAX`].
pub(crate) fn record(kind: u8, value: &impl Serialize) -> Option<Vec<u8>> {
    let body = postcard::to_stdvec(value).ok().filter(|body| body.len() <= RECORD_MAX)?;
    let len = postcard::to_stdvec(&u32::try_from(body.len()).ok()?).ok()?;
    Some([&[kind], len.as_slice(), body.as_slice()].concat())
}

/// A head.
pub(crate) fn head(magic: [u8; 4]) -> Vec<u8> {
    [magic.as_slice(), &[MAJOR, MINOR, 0, 0]].concat()
}

/// Checks the head and tells each record behind it with its kind.
pub(crate) fn each<'a>(
    magic: [u8; 4],
    bytes: &'a [u8],
    mut take: impl FnMut(u8, &'a [u8]),
) -> Result<(), WireError> {
    if !bytes.starts_with(&magic) {
        return Err(WireError::Foreign);
    }
    let Some((head, mut rest)) = bytes.split_at_checked(HEAD) else {
        return Err(WireError::Damaged("it ends in its head"));
    };
    if head[4] != MAJOR {
        return Err(WireError::Version(head[4], head[5]));
    }
    let cut = WireError::Damaged("it is cut off");
    while let Some((&kind, after)) = rest.split_first() {
        let Ok((len, after)) = postcard::take_from_bytes::<u32>(after) else { return Err(cut) };
        let Some((record, after)) = after.split_at_checked(len as usize) else { return Err(cut) };
        take(kind, record);
        rest = after;
    }
    Ok(())
}

/// A record; what a later version has appended is not looked at.
pub(crate) fn read<'a, T: Deserialize<'a>>(record: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(record).ok().map(|(value, _appended)| value)
}
