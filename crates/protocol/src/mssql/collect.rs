//! Collect: the content of a message, which lies in several packets, as far as it is looked at.

use super::packet::Packet;
use crate::Input;

/// First bytes of a message's content that are kept while it comes.
const FIRST_MAX: usize = 16 * 1024;

/// Last bytes of it.
const LAST_MAX: usize = 2048;

/// A message that is coming.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// Type of its packets.
    pub(super) kind: u8,
    /// Its first bytes.
    pub(super) first: Vec<u8>,
    /// Its last bytes, if it is longer.
    pub(super) last: Vec<u8>,
    /// Length of its content.
    pub(super) len: u64,
    /// Bytes of it that are looked at were not copied.
    pub(super) is_cut: bool,
    /// Where content begins: in `first`, and in the message with its headers.
    places: Vec<(usize, usize)>,
    /// Length with headers.
    size: usize,
}

impl Message {
    pub(super) fn new(kind: u8) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Whether all of it is in `first`.
    pub(super) fn is_whole(&self) -> bool {
        self.len == self.first.len() as u64 && !self.is_cut
    }

    /// Whether as much of a packet is there as is looked at.
    pub(super) fn is_enough(packet: &Packet, input: &Input<'_>) -> bool {
        input.is_last || input.bytes.len() as u64 >= packet.len
    }

    /// Takes a packet, before which are `around` bytes of another header.
    pub(super) fn add(&mut self, packet: &Packet, around: usize, bytes: &[u8]) {
        let content = bytes.get(Packet::HEADER..).unwrap_or_default();
        let len = packet.len as usize - Packet::HEADER;
        let seen = &content[..content.len().min(len)];
        self.is_cut |= seen.len() < len;
        let is_joined = self.len == self.first.len() as u64;
        if is_joined && self.first.len() < FIRST_MAX {
            self.places.push((self.first.len(), self.size + around + Packet::HEADER));
            let room = FIRST_MAX - self.first.len();
            self.first.extend_from_slice(&seen[..seen.len().min(room)]);
        }
        if seen.len() < len {
            self.last.clear();
        } else {
            self.last.extend_from_slice(seen);
            let much = self.last.len().saturating_sub(LAST_MAX);
            self.last.drain(..much);
        }
        self.len = self.len.saturating_add(len as u64);
        self.size = self.size.saturating_add(around + Packet::HEADER + len);
    }

    /// Where a byte of `first` lies in the message.
    pub(super) fn place(&self, at: usize) -> usize {
        let before = self.places.partition_point(|place| place.0 <= at);
        let place = before.checked_sub(1).and_then(|index| self.places.get(index));
        place.map_or(at, |place| place.1 + at - place.0)
    }
}

/// The start of UTF-16 text, at most `most` units.
pub(super) fn utf16(bytes: &[u8], most: usize) -> String {
    let units = bytes.as_chunks::<2>().0.iter().take(most).map(|unit| u16::from_le_bytes(*unit));
    char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
