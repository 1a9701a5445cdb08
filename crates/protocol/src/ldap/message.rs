//! Message: the envelope of an operation (RFC 4511 §4.1.1), and which operations there are.

use super::ber::{self, Element, Elements};
use crate::Side;

/// Longest message believed.
const LEN_MAX: u64 = 64 << 20;

/// Bytes of a message that are looked at.
pub(super) const WINDOW: usize = 4096;

/// Tag of a message, of its number, of its controls.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const CONTROLS: u8 = 0xa0;

pub(super) const BIND: u8 = 0x60;
pub(super) const UNBIND: u8 = 0x42;
pub(super) const SEARCH: u8 = 0x63;
pub(super) const MODIFY: u8 = 0x66;
pub(super) const ADD: u8 = 0x68;
pub(super) const DELETE: u8 = 0x4a;
pub(super) const MODIFY_DN: u8 = 0x6c;
pub(super) const COMPARE: u8 = 0x6e;
pub(super) const ABANDON: u8 = 0x50;
pub(super) const EXTENDED: u8 = 0x77;

pub(super) const BIND_RESPONSE: u8 = 0x61;
pub(super) const ENTRY: u8 = 0x64;
pub(super) const SEARCH_DONE: u8 = 0x65;
pub(super) const MODIFY_RESPONSE: u8 = 0x67;
pub(super) const ADD_RESPONSE: u8 = 0x69;
pub(super) const DELETE_RESPONSE: u8 = 0x6b;
pub(super) const MODIFY_DN_RESPONSE: u8 = 0x6d;
pub(super) const COMPARE_RESPONSE: u8 = 0x6f;
pub(super) const REFERENCE: u8 = 0x73;
pub(super) const EXTENDED_RESPONSE: u8 = 0x78;
pub(super) const INTERMEDIATE: u8 = 0x79;

/// A message at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Bytes in all.
    pub(super) len: u64,
    pub(super) id: u32,
    pub(super) operation: Element<'a>,
    /// Where the operation's content begins.
    pub(super) start: usize,
    pub(super) is_cut: bool,
}

pub(super) enum Front<'a> {
    Message(Message<'a>),
    More,
    NotMine,
}

impl<'a> Message<'a> {
    /// Reads a message that `from` sent, of which at most [`WINDOW`] bytes are looked at.
    pub(super) fn read(bytes: &'a [u8], from: Side, is_last: bool) -> Front<'a> {
        if bytes.first().is_some_and(|tag| *tag != SEQUENCE) {
            return Front::NotMine;
        }
        let outer = match ber::read(bytes) {
            ber::Front::Element(outer) => outer,
            ber::Front::More => return Front::More,
            ber::Front::Bad => return Front::NotMine,
        };
        let len = outer.header as u64 + outer.len;
        if !(5..=LEN_MAX).contains(&outer.len) {
            return Front::NotMine;
        }
        let wanted = usize::try_from(len).map_or(WINDOW, |len| len.min(WINDOW));
        if bytes.len() < wanted && !is_last {
            return Front::More;
        }
        let seen = &bytes[outer.header..bytes.len().min(wanted)];
        let inner = match inner(seen, outer.len, from) {
            Ok(inner) => inner,
            Err(front) => return front,
        };
        let (id, at, operation) = inner;
        let start = outer.header + at + operation.header;
        let is_cut = bytes.len() < wanted;
        Front::Message(Self { len, id, operation, start, is_cut })
    }

    /// Elements of a constructed operation.
    pub(super) fn parts(&self) -> Elements<'a> {
        Elements(self.operation.content)
    }

    /// Whether the operation's first elements are such as it has; `None` where they are cut off.
    pub(super) fn is_sound(&self) -> Option<bool> {
        let mut parts = self.parts();
        Some(match self.operation.tag {
            DELETE => std::str::from_utf8(self.operation.content).is_ok(),
            UNBIND => self.operation.len == 0,
            ABANDON => self.operation.number().is_some(),
            BIND => {
                let version = parts.next()?;
                version.tag == INTEGER && matches!(version.number(), Some(2 | 3))
            }
            SEARCH => {
                let (base, scope) = (parts.next()?, parts.next()?);
                base.tag == 0x04 && scope.tag == 0x0a && scope.number().is_some_and(|n| n < 4)
            }
            EXTENDED => {
                let name = parts.next()?;
                let is_oid = name.content.iter().all(|b| b.is_ascii_digit() || *b == b'.');
                name.tag == 0x80 && is_oid
            }
            MODIFY | ADD | MODIFY_DN | COMPARE | ENTRY | REFERENCE => parts.next()?.tag == 0x04,
            INTERMEDIATE => true,
            _ => {
                let (code, matched) = (parts.next()?, parts.next()?);
                code.tag == 0x0a && code.number().is_some() && matched.tag == 0x04
            }
        })
    }
}

/// Number and operation of a message, and where the operation lies.
fn inner(seen: &[u8], room: u64, from: Side) -> Result<(u32, usize, Element<'_>), Front<'_>> {
    let element = |at: usize| match ber::read(seen.get(at..).unwrap_or_default()) {
        ber::Front::Element(element) => Ok(element),
        ber::Front::More => Err(Front::More),
        ber::Front::Bad => Err(Front::NotMine),
    };
    let number = element(0)?;
    let has_number = number.tag == INTEGER && (1..=4).contains(&number.len);
    if !has_number {
        return Err(Front::NotMine);
    }
    if number.content.len() as u64 != number.len {
        return Err(Front::More);
    }
    let id = number.number().ok_or(Front::NotMine)?;
    let at = number.header + number.content.len();
    let operation = element(at)?;
    let end = at as u64 + operation.header as u64 + operation.len;
    let after = usize::try_from(end).ok().and_then(|end| seen.get(end));
    let is_right = is_operation(operation.tag, from)
        && end <= room
        && (end == room || after.is_none_or(|tag| *tag == CONTROLS))
        && (id != 0 || operation.tag == EXTENDED_RESPONSE);
    if is_right { Ok((id, at, operation)) } else { Err(Front::NotMine) }
}

fn is_operation(tag: u8, from: Side) -> bool {
    match from {
        Side::Client => matches!(
            tag,
            BIND | UNBIND
                | SEARCH
                | MODIFY
                | ADD
                | DELETE
                | MODIFY_DN
                | COMPARE
                | ABANDON
                | EXTENDED
        ),
        Side::Server => matches!(
            tag,
            BIND_RESPONSE
                | ENTRY
                | SEARCH_DONE
                | MODIFY_RESPONSE
                | ADD_RESPONSE
                | DELETE_RESPONSE
                | MODIFY_DN_RESPONSE
                | COMPARE_RESPONSE
                | REFERENCE
                | EXTENDED_RESPONSE
                | INTERMEDIATE
        ),
    }
}
