//! Frame: one message with its type byte and length (manual, "Message Formats").

use std::ops::Range;

use crate::{Head, Side};

/// Type byte and length.
pub(super) const HEADER: usize = 5;

/// Lengths above are not believed (`MaxAllocSize` of the server).
const LENGTH_MAX: u32 = 0x3fff_ffff;

/// Length of messages that hold no data; as libpq's bound for all but those that may be long.
const SHORT_MAX: u32 = 30_000;

/// A message at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    /// Bytes with type and length.
    pub(super) len: u64,
    /// What is there of its content.
    pub(super) body: &'a [u8],
    /// Whether content that is looked at was not copied.
    pub(super) is_cut: bool,
}

/// What is at the front of some bytes.
pub(super) enum Front<'a> {
    Frame(Frame<'a>),
    More,
    NotMine,
}

impl<'a> Frame<'a> {
    /// Reads the header and up to `window(kind)` bytes of content, more of which is never looked
    /// at: so the answer does not depend on how much there is.
    pub(super) fn read(
        bytes: &'a [u8],
        from: Side,
        is_last: bool,
        window: fn(u8) -> usize,
    ) -> Front<'a> {
        let Some(kind) = bytes.first().copied() else { return Front::More };
        let Some(range) = lengths(kind, from) else { return Front::NotMine };
        let Some(length) = number(bytes, 1) else { return Front::More };
        if !range.contains(&length) {
            return Front::NotMine;
        }
        let wanted = HEADER + (length as usize - 4).min(window(kind));
        if bytes.len() < wanted && !is_last {
            return Front::More;
        }
        let body = &bytes[HEADER..bytes.len().min(wanted)];
        let is_cut = bytes.len() < wanted;
        Front::Frame(Frame { kind, len: u64::from(length) + 1, body, is_cut })
    }

    /// Whether all of the content is there.
    pub(super) fn is_whole(&self) -> bool {
        self.len == (HEADER + self.body.len()) as u64
    }
}

/// A big-endian number of four bytes.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// The text at the front up to its NUL, and what follows; `None` where the NUL is missing.
pub(super) fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Lengths (without the type byte) that a message of `kind` may have; `None` if there is none.
fn lengths(kind: u8, from: Side) -> Option<Range<u32>> {
    let exactly = |length: u32| length..length + 1;
    let short = |least: u32| least..SHORT_MAX;
    let long = |least: u32| least..LENGTH_MAX;
    Some(match (from, kind) {
        (Side::Client, b'H' | b'S' | b'X' | b'c') => exactly(4),
        (Side::Client, b'Q' | b'f') => long(5),
        (Side::Client, b'P') => long(8),
        (Side::Client, b'B') => long(12),
        (Side::Client, b'C' | b'D') => short(6),
        (Side::Client, b'E') => short(9),
        (Side::Client, b'F') => long(14),
        (Side::Client, b'p') => 5..65_540,
        (Side::Client, b'd') => long(4),
        (Side::Server, b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c') => exactly(4),
        (Side::Server, b'Z') => exactly(5),
        (Side::Server, b'R') => short(8),
        (Side::Server, b'K') => 12..269,
        (Side::Server, b'S') => short(6),
        (Side::Server, b'C') => short(5),
        (Side::Server, b'A') => long(10),
        (Side::Server, b'E' | b'N') => long(5),
        (Side::Server, b'T' | b'D' | b't') => long(6),
        (Side::Server, b'G' | b'H' | b'W') => short(7),
        (Side::Server, b'd') => long(4),
        (Side::Server, b'V') => long(8),
        (Side::Server, b'v') => short(12),
        _ => return None,
    })
}

/// Types of the messages that a call is made of; `None` if it is not made of messages of `from`
/// that `check` believes. The last may be cut, or go on in the next call.
pub(super) fn chain(head: &Head<'_>, from: Side, check: fn(&Frame<'_>) -> bool) -> Option<Vec<u8>> {
    const KINDS_MAX: usize = 64;
    let mut kinds = Vec::new();
    let mut at = 0u64;
    while kinds.len() < KINDS_MAX {
        let Some(rest) = usize::try_from(at).ok().and_then(|at| head.bytes.get(at..)) else {
            break;
        };
        if rest.is_empty() {
            break;
        }
        match Frame::read(rest, from, true, |_| usize::MAX) {
            Front::Frame(frame) if check(&frame) => {
                kinds.push(frame.kind);
                at += frame.len;
            }
            // The header itself is cut.
            Front::More if !kinds.is_empty() => break,
            _ => return None,
        }
    }
    Some(kinds)
}
