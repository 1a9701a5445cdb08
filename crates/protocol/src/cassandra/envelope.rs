//! Envelope: one message with its header of nine bytes (native protocol v5 §2, v3 and v4 §2), and
//! the notations of its body (§3).

use std::borrow::Cow;

use crate::Side;

pub(super) const HEADER: usize = 9;

/// Longest body (§2.4).
const BODY_MAX: u32 = 256 << 20;

/// Bytes of a body that are looked at.
const CLIENT_WINDOW: usize = 16 * 1024;
const SERVER_WINDOW: usize = 1024;

const COMPRESSED: u8 = 0x01;
const TRACING: u8 = 0x02;
const CUSTOM_PAYLOAD: u8 = 0x04;
const WARNING: u8 = 0x08;
const FLAGS: u8 = 0x1f;

/// Entries of a custom payload, or warnings, that are passed over.
const ENTRIES_MAX: u16 = 64;

pub(super) const ERROR: u8 = 0x00;
pub(super) const STARTUP: u8 = 0x01;
pub(super) const READY: u8 = 0x02;
pub(super) const AUTHENTICATE: u8 = 0x03;
pub(super) const OPTIONS: u8 = 0x05;
pub(super) const SUPPORTED: u8 = 0x06;
pub(super) const QUERY: u8 = 0x07;
pub(super) const RESULT: u8 = 0x08;
pub(super) const PREPARE: u8 = 0x09;
pub(super) const EXECUTE: u8 = 0x0a;
pub(super) const REGISTER: u8 = 0x0b;
pub(super) const EVENT: u8 = 0x0c;
pub(super) const BATCH: u8 = 0x0d;
pub(super) const AUTH_CHALLENGE: u8 = 0x0e;
pub(super) const AUTH_RESPONSE: u8 = 0x0f;
pub(super) const AUTH_SUCCESS: u8 = 0x10;

/// An envelope at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) version: u8,
    flags: u8,
    pub(super) stream: i16,
    pub(super) opcode: u8,
    /// Bytes with the header.
    pub(super) len: u64,
    /// What is there of the body.
    pub(super) body: &'a [u8],
    /// Whether bytes that are looked at were not copied.
    pub(super) is_cut: bool,
}

pub(super) enum Front<'a> {
    Envelope(Envelope<'a>),
    More,
    NotMine,
}

impl<'a> Envelope<'a> {
    /// Reads an envelope that `from` sent, of which no more than `room` bytes are in reach.
    pub(super) fn read(bytes: &'a [u8], from: Side, room: u64, is_last: bool) -> Front<'a> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            let is_hopeless = bytes.first().is_some_and(|first| !is_version(*first, from));
            return if is_hopeless { Front::NotMine } else { Front::More };
        };
        let stream = i16::from_be_bytes([header[2], header[3]]);
        let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let (version, opcode) = (header[0] & 0x7f, header[4]);
        let is_right = is_version(header[0], from)
            && header[1] & !FLAGS == 0
            && is_opcode(opcode, from)
            && (stream >= 0) != (opcode == EVENT)
            && is_length(opcode, length);
        if !is_right {
            return Front::NotMine;
        }
        let len = u64::from(length) + HEADER as u64;
        let window = if from == Side::Client { CLIENT_WINDOW } else { SERVER_WINDOW };
        let in_reach = usize::try_from(room.min(len)).unwrap_or(usize::MAX);
        let wanted = in_reach.min(HEADER + window);
        if bytes.len() < wanted && !is_last {
            return Front::More;
        }
        let body = bytes.get(HEADER..bytes.len().min(wanted)).unwrap_or_default();
        let is_cut = bytes.len() < wanted;
        Front::Envelope(Self { version, flags: header[1], stream, opcode, len, body, is_cut })
    }

    /// Whether the body can't be read. In version 5 segments are compressed, not envelopes.
    pub(super) fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0 && self.version < 5
    }

    /// The custom payload's entries are given to `entry`; what follows is the message's own.
    pub(super) fn fields(&self, from: Side, mut entry: impl FnMut(&[u8], &[u8])) -> Fields<'a> {
        let mut fields = Fields { rest: self.body, is_cut: false };
        if self.is_compressed() {
            return Fields { rest: &[], is_cut: true };
        }
        if from == Side::Server && self.flags & TRACING != 0 {
            fields.take(16);
        }
        if from == Side::Server && self.flags & WARNING != 0 {
            for _ in 0..fields.short().min(ENTRIES_MAX) {
                fields.string();
            }
        }
        if self.flags & CUSTOM_PAYLOAD != 0 {
            for _ in 0..fields.short().min(ENTRIES_MAX) {
                let key = fields.string();
                entry(key, fields.bytes());
            }
        }
        fields
    }

    /// Whether the body is what the operation announces; `None` where too little of it is there.
    pub(super) fn is_sound(&self, from: Side) -> Option<bool> {
        let length = self.len - HEADER as u64;
        if self.is_compressed() || self.body.len() < 8 {
            return None;
        }
        let mut fields = self.fields(from, |_, _| {});
        let is_sound = match self.opcode {
            STARTUP | SUPPORTED => {
                let has = |word: &[u8]| self.body.windows(word.len()).any(|w| w == word);
                return has(b"CQL_VERSION").then_some(true);
            }
            QUERY | PREPARE => {
                let len = fields.int();
                let text = fields.take(16.min(len as usize));
                let is_text = std::str::from_utf8(text).map_or_else(
                    |error| error.error_len().is_none(),
                    |text| text.chars().all(|c| !c.is_control() || c.is_whitespace()),
                );
                u64::from(len) < length && len > 2 && is_text
            }
            EXECUTE => {
                let len = u64::from(fields.short());
                (1..=64).contains(&len) && len + 4 < length
            }
            BATCH => fields.byte() <= 2 && fields.short() > 0 && fields.byte() <= 1,
            RESULT => (1..=5).contains(&fields.int()),
            ERROR => super::response::error_name(fields.int()).is_some(),
            EVENT => fields.string().iter().all(|b| b.is_ascii_uppercase() || *b == b'_'),
            _ => return None,
        };
        Some(is_sound)
    }
}

fn is_version(first: u8, from: Side) -> bool {
    matches!(first & 0x7f, 3..=5) && (first & 0x80 != 0) == (from == Side::Server)
}

fn is_opcode(opcode: u8, from: Side) -> bool {
    match from {
        Side::Client => matches!(
            opcode,
            STARTUP | OPTIONS | QUERY | PREPARE | EXECUTE | REGISTER | BATCH | AUTH_RESPONSE
        ),
        Side::Server => matches!(
            opcode,
            ERROR
                | READY
                | AUTHENTICATE
                | SUPPORTED
                | RESULT
                | EVENT
                | AUTH_CHALLENGE
                | AUTH_SUCCESS
        ),
    }
}

/// Whether a body of this operation may be so long.
fn is_length(opcode: u8, length: u32) -> bool {
    let range = match opcode {
        OPTIONS => 0..=0,
        // With a tracing id or a custom payload.
        READY => 0..=1024,
        STARTUP | SUPPORTED | REGISTER | AUTHENTICATE | EVENT => 2..=65_536,
        AUTH_CHALLENGE | AUTH_RESPONSE | AUTH_SUCCESS => 4..=1 << 20,
        QUERY | PREPARE | EXECUTE | BATCH | ERROR => 5..=BODY_MAX,
        _ => 4..=BODY_MAX,
    };
    range.contains(&length)
}

/// The notations of §3, one after the other. What is cut off reads as zero or as nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
    /// Something was cut off.
    pub(super) is_cut: bool,
}

impl<'a> Fields<'a> {
    /// Bytes, or what is there of them.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        self.is_cut |= len > self.rest.len();
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(super) fn short(&mut self) -> u16 {
        self.take(2).first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
    }

    pub(super) fn int(&mut self) -> u32 {
        self.take(4).first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// `[string]` and `[short bytes]`.
    pub(super) fn string(&mut self) -> &'a [u8] {
        let len = usize::from(self.short());
        self.take(len)
    }

    /// `[string]` as text.
    pub(super) fn text(&mut self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.string())
    }

    /// `[long string]` and `[bytes]`, where a negative length is null or not set.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let len = self.int();
        self.take(if len >= 1 << 31 { 0 } else { len as usize })
    }
}
