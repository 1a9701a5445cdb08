//! Values in loose and tight encoding, and things that are told once and then by a number.
//!
//! Loose encoding has a byte before whatever may be absent. Tight encoding has these flags, and those
//! of how long numbers are, together in front, a bit each.

use std::collections::BTreeMap;

use super::command::{Before, Command};

/// Destinations that are remembered, and bytes of each.
const DESTINATIONS_MAX: usize = 1024;
const DESTINATION_LEN_MAX: usize = 512;

/// What numbers of things that are told once are below.
const NUMBER_MAX: u16 = 0x4000;

/// Types of destinations: queue, topic, and temporary ones.
const DESTINATION: std::ops::RangeInclusive<u8> = 100..=103;

/// Types of ids: connection, session, consumer, producer.
const CONNECTION_ID: u8 = 120;
const SESSION_ID: u8 = 121;
const CONSUMER_ID: u8 = 122;
const PRODUCER_ID: u8 = 123;

/// A number of four bytes at the front.
pub(super) fn integer(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (front, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*front), rest))
}

/// A flag in a byte.
pub(super) fn flag(byte: u8) -> Option<bool> {
    (byte <= 1).then_some(byte == 1)
}

/// The flags in front of a command in tight encoding, the lowest bit of a byte first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    /// Takes them with their length: in a byte, or behind a mark of how long it is.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (first, rest) = bytes.split_first()?;
        let (len, rest) = match first {
            0x80 => {
                let (len, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*len)), rest)
            }
            0xc0 => rest.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
            len @ 1..64 => (usize::from(*len), rest),
            _ => return None,
        };
        let (bytes, rest) = rest.split_at_checked(len)?;
        Some((Self { bytes, at: 0 }, rest))
    }

    pub(super) fn next(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }
}

/// Reads fields of a command one after the other.
pub(super) struct Fields<'a> {
    bits: Bits<'a>,
    rest: &'a [u8],
    is_tight: bool,
    /// Whether things are told once and then by a number.
    caches: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(command: &Command<'a>, rest: &'a [u8]) -> Self {
        Self { bits: command.bits, rest, is_tight: command.is_tight, caches: false }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(front)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        if self.is_tight { self.bits.next() } else { flag(self.byte()?) }
    }

    /// A long number, whose value is of no use.
    fn long(&mut self) -> Option<()> {
        let len = match self.is_tight {
            false => 8,
            true => match (self.bits.next()?, self.bits.next()?) {
                (true, true) => 8,
                (true, false) => 4,
                (false, true) => 2,
                (false, false) => 0,
            },
        };
        self.take(len).map(|_| ())
    }

    /// Text; empty if it is absent.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        if !self.flag()? {
            return Some(b"");
        }
        if self.is_tight {
            // Whether it is all ASCII: the bytes are the same.
            self.bits.next()?;
        }
        let len = self.short()?;
        self.take(usize::from(len))
    }

    /// An id of any kind.
    fn id(&mut self, kind: u8) -> Option<()> {
        self.text()?;
        let longs = match kind {
            CONNECTION_ID => 0,
            SESSION_ID => 1,
            CONSUMER_ID | PRODUCER_ID => 2,
            _ => return None,
        };
        (0..longs).try_for_each(|_| self.long())
    }

    /// The number of something, zero where things have none; and whether it is told here.
    fn cached(&mut self) -> Option<(u16, bool)> {
        if !self.caches {
            return Some((0, true));
        }
        let is_new = self.flag()?;
        Some((self.short()?, is_new))
    }

    /// The type of something that is not absent.
    fn kind(&mut self) -> Option<u8> {
        if self.flag()? { self.byte() } else { None }
    }

    /// What stands before the destination.
    fn before(&mut self, before: Before) -> Option<()> {
        if before == Before::NoDestination {
            return None;
        }
        if before != Before::Nothing {
            let (_, is_new) = self.cached()?;
            if is_new {
                let kind = self.kind()?;
                self.id(kind)?;
            }
        }
        if before == Before::IdAndFlag {
            self.flag()?;
        }
        Some(())
    }

    /// The number of the destination, and its name if it is told here.
    fn destination(&mut self) -> Option<(u16, Option<&'a [u8]>)> {
        let (number, is_new) = self.cached()?;
        if !is_new {
            return Some((number, None));
        }
        let kind = self.kind()?;
        let name = if DESTINATION.contains(&kind) { self.text()? } else { return None };
        let is_text = std::str::from_utf8(name).is_ok_and(|text| !text.contains(char::is_control));
        (is_text && !name.is_empty()).then_some((number, Some(name)))
    }
}

/// The number of a command's destination, and its name if it is told here.
fn read<'a>(command: &Command<'a>, caches: bool) -> Option<(u16, Option<&'a [u8]>)> {
    let mut fields = Fields { caches, ..Fields::new(command, command.fields) };
    fields.before(command.before)?;
    fields.destination().filter(|(number, _)| *number < NUMBER_MAX)
}

/// Whether a command has its destination where it should be.
pub(super) fn has_destination(command: &Command<'_>) -> bool {
    read(command, false).or_else(|| read(command, true)).is_some()
}

/// Destinations by the numbers that one end gave them.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    names: BTreeMap<u16, Vec<u8>>,
}

/// What a command says of its destination.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Name(Vec<u8>),
    /// A number whose name was not seen.
    Number,
    /// It has none, or it is not clear where that is.
    None,
}

impl Destinations {
    /// The destination of a command. Whether things are told once shows in the first command that tells
    /// its destination, and is then kept in `caches`.
    pub(super) fn read(&mut self, command: &Command<'_>, caches: &mut Option<bool>) -> Destination {
        let Some((number, name)) = Self::found(command, caches) else { return Destination::None };
        let Some(name) = name else {
            return self.names.get(&number).cloned().map_or(Destination::Number, Destination::Name);
        };
        if *caches == Some(true) {
            self.names.remove(&number);
            if self.names.len() < DESTINATIONS_MAX && name.len() <= DESTINATION_LEN_MAX {
                self.names.insert(number, name.to_vec());
            }
        }
        Destination::Name(name.to_vec())
    }

    /// Its number, and its name if it is told here.
    fn found<'a>(
        command: &Command<'a>,
        caches: &mut Option<bool>,
    ) -> Option<(u16, Option<&'a [u8]>)> {
        match *caches {
            Some(caches) => read(command, caches),
            None => match (read(command, false), read(command, true)) {
                (Some(found), None) => {
                    *caches = Some(false);
                    Some(found)
                }
                (None, Some(found)) => {
                    if found.1.is_some() {
                        *caches = Some(true);
                    }
                    Some(found)
                }
                _ => None,
            },
        }
    }
}
