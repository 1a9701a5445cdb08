//! Walker: passes over the fields of a message to find its end, and notes what they say of an
//! error. It stops wherever the bytes end and goes on from there.
//!
//! What it keeps is a stack of what is open, at most [`DEPTH_MAX`] deep, and one text. Values of
//! one size and texts are passed over by their announced length.

use super::head::{Encoding, Head};
use crate::reader::{Reader, zigzag};
use crate::remote_call::{self, MESSAGE_MAX};

/// Structures within each other that are followed.
const DEPTH_MAX: usize = 64;
/// Elements of a container that are believed.
const COUNT_MAX: u64 = 1 << 28;

/// Types as the binary protocol numbers them.
mod kind {
    pub(super) const BOOL: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const DOUBLE: u8 = 4;
    pub(super) const I16: u8 = 6;
    pub(super) const I32: u8 = 8;
    pub(super) const I64: u8 = 10;
    pub(super) const TEXT: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const MAP: u8 = 13;
    pub(super) const SET: u8 = 14;
    pub(super) const LIST: u8 = 15;
    pub(super) const UUID: u8 = 16;
}

#[derive(Clone, Copy, Debug)]
enum Open {
    /// A structure; the number of its last field.
    Fields(i16),
    /// Elements of a container, or pairs of a map.
    Items { first: u8, second: Option<u8>, left: u64 },
    /// One value.
    Value(u8),
}

/// Where a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// After so many bytes (more than are there is possible).
    Part(u64),
    /// The message ends after so many bytes.
    End(u64),
    /// Before the first byte.
    More,
    NotMine,
}

/// What the fields say.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Number of the first field: zero of a result, more of a declared exception.
    pub(super) first: Option<i16>,
    /// The first text of an exception.
    pub(super) text: Option<String>,
    /// Type of an application exception.
    pub(super) code: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Walker {
    is_compact: bool,
    /// Whether it is an answer, of which an error's text is wanted.
    is_answer: bool,
    stack: Vec<Open>,
    pub(super) facts: Facts,
}

enum Step {
    Took(u64),
    More,
    NotMine,
}

impl Walker {
    pub(super) fn new(head: &Head<'_>) -> Self {
        let is_compact = head.encoding == Encoding::Compact;
        let is_answer = head.kind.is_answer();
        Self { is_compact, is_answer, stack: vec![Open::Fields(0)], facts: Facts::default() }
    }

    /// Goes on with `bytes`; `is_last` if they never grow.
    pub(super) fn walk(&mut self, bytes: &[u8], is_last: bool) -> Walk {
        let mut at = 0u64;
        while !self.stack.is_empty() {
            let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
            let Some(rest) = rest else { break };
            match self.step(Reader::new(rest), is_last) {
                Step::Took(len) => at += len,
                Step::More if at == 0 => return Walk::More,
                Step::More => break,
                Step::NotMine => return Walk::NotMine,
            }
        }
        match (self.stack.is_empty(), at) {
            (true, at) => Walk::End(at),
            (false, 0) => Walk::More,
            (false, at) => Walk::Part(at),
        }
    }

    fn step(&mut self, mut reader: Reader<'_>, is_last: bool) -> Step {
        let Some(open) = self.stack.pop() else { return Step::NotMine };
        let step = match open {
            Open::Fields(last) => self.field(&mut reader, last),
            Open::Items { first, second, left } => return self.item(first, second, left),
            Open::Value(kind) => self.value(&mut reader, kind, is_last),
        };
        if matches!(step, Some(Step::NotMine)) || self.stack.len() > DEPTH_MAX {
            return Step::NotMine;
        }
        step.unwrap_or_else(|| {
            self.stack.push(open);
            Step::More
        })
    }

    /// The head of a field, or the end of a structure.
    fn field(&mut self, reader: &mut Reader<'_>, last: i16) -> Option<Step> {
        let byte = reader.u8()?;
        if byte == 0 {
            return Some(Step::Took(1));
        }
        let (kind, id) = if self.is_compact {
            let id = match byte >> 4 {
                0 => i16::try_from(zigzag(reader.varint()?)).ok(),
                delta => last.checked_add(i16::from(delta)),
            };
            (compact_kind(byte & 0x0f), id)
        } else {
            (Some(byte), Some(reader.u16()?.cast_signed()))
        };
        let (Some(kind), Some(id)) = (kind.filter(is_kind), id) else {
            return Some(Step::NotMine);
        };
        if self.stack.is_empty() {
            self.facts.first.get_or_insert(id);
        }
        self.stack.push(Open::Fields(id));
        // The compact protocol has a field's truth in its type.
        if !(self.is_compact && kind == kind::BOOL) {
            self.stack.push(Open::Value(kind));
        }
        Some(Step::Took(reader.at() as u64))
    }

    fn item(&mut self, first: u8, second: Option<u8>, left: u64) -> Step {
        let size = |kind| if self.is_compact { compact_size(kind) } else { size(kind) };
        let sizes = size(first).zip(second.map_or(Some(0), size));
        match sizes {
            Some((one, other)) => return Step::Took(left.saturating_mul(one + other)),
            None if left == 0 => return Step::Took(0),
            None => {}
        }
        self.stack.push(Open::Items { first, second, left: left - 1 });
        self.stack.extend(second.map(Open::Value));
        self.stack.push(Open::Value(first));
        Step::Took(0)
    }

    fn value(&mut self, reader: &mut Reader<'_>, kind: u8, is_last: bool) -> Option<Step> {
        let fixed = if self.is_compact { compact_size(kind) } else { size(kind) };
        match kind {
            kind::I32 if self.is_code() => {
                let code = match self.is_compact {
                    true => zigzag(reader.varint()?),
                    false => i64::from(reader.u32()?.cast_signed()),
                };
                self.facts.code = Some(code);
            }
            _ if fixed.is_some() => return fixed.map(Step::Took),
            kind::I16 | kind::I32 | kind::I64 => {
                reader.varint()?;
            }
            kind::TEXT => return self.text(reader, is_last),
            kind::STRUCT => self.stack.push(Open::Fields(0)),
            kind::MAP => return self.map(reader),
            _ => return self.list(reader),
        }
        Some(Step::Took(reader.at() as u64))
    }

    /// Whether the value is field 2 of an application exception.
    fn is_code(&self) -> bool {
        matches!(self.stack[..], [Open::Fields(2)])
    }

    fn text(&mut self, reader: &mut Reader<'_>, is_last: bool) -> Option<Step> {
        let Some(len) = self.count(reader)? else { return Some(Step::NotMine) };
        let is_wanted = match self.stack[..] {
            [Open::Fields(1)] => true,
            [Open::Fields(id), Open::Fields(_)] => id != 0,
            _ => false,
        };
        if self.is_answer && is_wanted && self.facts.text.is_none() {
            let wanted = usize::try_from(len).map_or(MESSAGE_MAX, |len| len.min(MESSAGE_MAX));
            let there = reader.rest();
            if there.len() < wanted && !is_last {
                return None;
            }
            self.facts.text = Some(remote_call::message(&there[..there.len().min(wanted)]));
        }
        Some(Step::Took(reader.at() as u64 + len))
    }

    /// Length of a text or number of elements; `Some(None)` if it can't be one.
    fn count(&self, reader: &mut Reader<'_>) -> Option<Option<u64>> {
        let number = match self.is_compact {
            true => reader.varint()?,
            false => u64::from(reader.u32()?),
        };
        Some(Some(number).filter(|number| *number <= COUNT_MAX))
    }

    fn list(&mut self, reader: &mut Reader<'_>) -> Option<Step> {
        let byte = reader.u8()?;
        let (kind, left) = match self.is_compact {
            true if byte >> 4 == 15 => (compact_kind(byte & 0x0f), self.count(reader)?),
            true => (compact_kind(byte & 0x0f), Some(u64::from(byte >> 4))),
            false => (Some(byte), self.count(reader)?),
        };
        Some(self.items(reader, kind, None, left))
    }

    fn map(&mut self, reader: &mut Reader<'_>) -> Option<Step> {
        if !self.is_compact {
            let (first, second) = (reader.u8()?, reader.u8()?);
            let left = self.count(reader)?;
            return Some(self.items(reader, Some(first), Some(second), left));
        }
        let left = self.count(reader)?;
        if left == Some(0) {
            return Some(Step::Took(reader.at() as u64));
        }
        let kinds = reader.u8()?;
        let Some(second) = compact_kind(kinds & 0x0f) else { return Some(Step::NotMine) };
        Some(self.items(reader, compact_kind(kinds >> 4), Some(second), left))
    }

    fn items(
        &mut self,
        reader: &Reader<'_>,
        first: Option<u8>,
        second: Option<u8>,
        left: Option<u64>,
    ) -> Step {
        let Some(left) = left else { return Step::NotMine };
        let took = Step::Took(reader.at() as u64);
        match first {
            // Some writers leave the type of nothing away.
            _ if left == 0 => return took,
            Some(first) if is_kind(&first) && second.is_none_or(|kind| is_kind(&kind)) => {
                self.stack.push(Open::Items { first, second, left });
            }
            _ => return Step::NotMine,
        }
        took
    }
}

fn is_kind(kind: &u8) -> bool {
    size(*kind).is_some() || matches!(*kind, kind::TEXT..=kind::LIST)
}

/// Bytes of a value in the binary protocol, where all of its type have as many.
fn size(kind: u8) -> Option<u64> {
    match kind {
        kind::BOOL | kind::BYTE => Some(1),
        kind::I16 => Some(2),
        kind::I32 => Some(4),
        kind::I64 | kind::DOUBLE => Some(8),
        kind::UUID => Some(16),
        _ => None,
    }
}

/// The same in the compact protocol.
fn compact_size(kind: u8) -> Option<u64> {
    match kind {
        kind::I16 | kind::I32 | kind::I64 => None,
        _ => size(kind),
    }
}

/// A type of the compact protocol.
fn compact_kind(number: u8) -> Option<u8> {
    Some(match number {
        1 | 2 => kind::BOOL,
        3 => kind::BYTE,
        4 => kind::I16,
        5 => kind::I32,
        6 => kind::I64,
        7 => kind::DOUBLE,
        8 => kind::TEXT,
        9 => kind::LIST,
        10 => kind::SET,
        11 => kind::MAP,
        12 => kind::STRUCT,
        13 => kind::UUID,
        _ => return None,
    })
}
