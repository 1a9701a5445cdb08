//! Record: the frame of everything in TLS (RFC 8446 §5.1, RFC 5246 §6.2).

use std::borrow::Cow;

/// Type, version and length.
const HEADER: usize = 5;

/// The most that a record may hold: 2^14 bytes, and what encryption before TLS 1.3 adds.
const RECORD_MAX: usize = (1 << 14) + 2048;

/// The least that an encrypted record holds: a byte and the shortest seal.
const SEALED_MIN: usize = 9;

/// The least that application data holds that alone tells the protocol: a byte and a seal of 16.
const DATA_MIN: usize = 17;

/// The longest hello that is waited for.
const HELLO_MAX: usize = 32 * 1024;

/// Records that one hello may be spread over.
const HELLO_RECORDS_MAX: usize = 64;

/// What is at the front of some bytes.
pub(super) enum Front<T> {
    Is(T),
    More,
    NotMine,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ChangeCipher,
    Alert,
    Handshake,
    Data,
    Heartbeat,
}

/// A record, of which not all may be there.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    /// Bytes with the header.
    pub(super) len: u64,
    /// What is there of what it holds.
    body: &'a [u8],
    body_len: usize,
}

impl<'a> Record<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Front<Self> {
        let kind = match bytes.first() {
            Some(20) => Kind::ChangeCipher,
            Some(21) => Kind::Alert,
            Some(22) => Kind::Handshake,
            Some(23) => Kind::Data,
            Some(24) => Kind::Heartbeat,
            Some(_) => return Front::NotMine,
            None => return Front::More,
        };
        if bytes.get(1).is_some_and(|major| *major != 3)
            || bytes.get(2).is_some_and(|minor| *minor > 4)
        {
            return Front::NotMine;
        }
        let Some(header) = bytes.get(..HEADER) else { return Front::More };
        let body_len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let is_sound = match kind {
            Kind::ChangeCipher => body_len == 1,
            // Plain, or encrypted.
            Kind::Alert => body_len == 2 || body_len >= SEALED_MIN,
            Kind::Handshake => body_len >= 4,
            Kind::Data | Kind::Heartbeat => body_len >= SEALED_MIN,
        };
        if !is_sound || body_len > RECORD_MAX {
            return Front::NotMine;
        }
        let body = &bytes[HEADER..bytes.len().min(HEADER + body_len)];
        Front::Is(Self { kind, len: (HEADER + body_len) as u64, body, body_len })
    }

    /// Level and description of an alert, `Some(None)` if it is encrypted or not there; `None` if
    /// more bytes will tell.
    pub(super) fn alert(&self, is_last: bool) -> Option<Option<(u8, u8)>> {
        match self.body {
            _ if self.body_len != 2 => Some(None),
            [level, description] => Some(Some((*level, *description))),
            _ if is_last => Some(None),
            _ => None,
        }
    }
}

/// The first hand-shake message, put together from its records; the length of these records; and
/// whether its end was not copied.
pub(super) fn handshake(bytes: &[u8], is_last: bool) -> Front<(Cow<'_, [u8]>, u64, bool)> {
    let mut message: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut at = 0usize;
    for _ in 0..HELLO_RECORDS_MAX {
        let record = match Record::read(bytes.get(at..).unwrap_or_default()) {
            Front::Is(record) if record.kind == Kind::Handshake => record,
            Front::More if is_last && at > 0 => return Front::Is((message, at as u64, true)),
            Front::More => return Front::More,
            _ => return Front::NotMine,
        };
        if at == 0 {
            message = Cow::Borrowed(record.body);
        } else {
            message.to_mut().extend_from_slice(record.body);
        }
        let is_whole = record.body.len() == record.body_len;
        at += HEADER + record.body_len;
        let needed = match message.get(..4) {
            Some(head) => 4 + u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize,
            None => 4,
        };
        if needed > HELLO_MAX {
            return Front::NotMine;
        }
        if message.len() >= needed && message.len() >= 4 {
            if let Cow::Borrowed(whole) = message {
                message = Cow::Borrowed(&whole[..needed]);
            } else {
                message.to_mut().truncate(needed);
            }
            return if is_whole || is_last {
                Front::Is((message, at as u64, false))
            } else {
                Front::More
            };
        }
        if !is_whole {
            return if is_last { Front::Is((message, at as u64, true)) } else { Front::More };
        }
    }
    Front::NotMine
}

/// Whether the call is made of whole records, application data among them: nothing else looks so.
pub(super) fn is_chain(bytes: &[u8], call_len: usize) -> bool {
    let (mut at, mut has_data) = (0usize, false);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Front::Is(record) = Record::read(rest) else { return false };
        has_data |= record.kind == Kind::Data && record.body_len >= DATA_MIN && rest[2] == 3;
        at += HEADER + record.body_len;
    }
    // The length of a record that is not all there must fit the call, too.
    has_data && at == call_len && bytes.len() > HEADER
}

/// Whether records, one at least, may begin here.
pub(super) fn may_be_chain(bytes: &[u8]) -> bool {
    let mut at = 0usize;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match Record::read(rest) {
            Front::Is(record) => at += HEADER + record.body_len,
            Front::More => return at > 0,
            Front::NotMine => return false,
        }
    }
    at > 0
}
