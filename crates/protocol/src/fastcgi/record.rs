//! Record: the frame of everything in FastCGI (specification §3.3), and how it tells a connection.

use crate::{Head, Recognition, Side};

/// Version, type, id, lengths.
const HEADER: usize = 8;

/// Bytes of a record's content that are waited for.
pub(super) const STREAM_WAIT_MAX: usize = 32 * 1024;

/// A record's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Abort,
    End,
    Params,
    Stdin,
    Stdout,
    Stderr,
    Data,
    /// About the server itself, not about a request.
    Management,
}

/// A record, of which not all may be there.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: Kind,
    pub(super) id: u16,
    /// Bytes with header and padding.
    pub(super) len: u64,
    pub(super) content_len: usize,
    content: &'a [u8],
}

/// What is at the front of some bytes.
pub(super) enum Front<'a> {
    Record(Record<'a>),
    More,
    NotMine,
}

impl<'a> Record<'a> {
    pub(super) fn read(bytes: &'a [u8], from: Side) -> Front<'a> {
        if bytes.first().is_some_and(|version| *version != 1) {
            return Front::NotMine;
        }
        let Some(&kind) = bytes.get(1) else { return Front::More };
        let is_client = from == Side::Client;
        let kind = match kind {
            1 if is_client => Kind::Begin,
            2 if is_client => Kind::Abort,
            4 if is_client => Kind::Params,
            5 if is_client => Kind::Stdin,
            8 if is_client => Kind::Data,
            9 if is_client => Kind::Management,
            3 if !is_client => Kind::End,
            6 if !is_client => Kind::Stdout,
            7 if !is_client => Kind::Stderr,
            10 | 11 if !is_client => Kind::Management,
            _ => return Front::NotMine,
        };
        let Some(header) = bytes.get(..HEADER) else { return Front::More };
        let id = u16::from_be_bytes([header[2], header[3]]);
        let content_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let is_sound = match kind {
            Kind::Begin | Kind::End => content_len == 8,
            Kind::Abort => content_len == 0,
            _ => true,
        };
        if !is_sound || (id == 0) != (kind == Kind::Management) {
            return Front::NotMine;
        }
        let there = &bytes[HEADER..];
        let content = &there[..content_len.min(there.len())];
        let len = (HEADER + content_len + usize::from(header[6])) as u64;
        let record = Self { kind, id, len, content_len, content };
        match kind {
            Kind::Begin if !record.is_sound_begin() => Front::NotMine,
            Kind::End if content.get(4).is_some_and(|status| *status > 3) => Front::NotMine,
            _ => Front::Record(record),
        }
    }

    /// A known role, a known flag, and zeros.
    fn is_sound_begin(&self) -> bool {
        let at = |index: usize, most: u8| self.content.get(index).is_none_or(|byte| *byte <= most);
        at(0, 0) && at(1, 3) && at(2, 1) && (3..8).all(|index| at(index, 0))
    }

    /// What is there of the content.
    pub(super) fn content(&self) -> &'a [u8] {
        self.content
    }

    /// Whether all of the content is there.
    pub(super) fn is_whole(&self) -> bool {
        self.content.len() == self.content_len
    }

    /// Whether so many bytes of the content are there, or all.
    pub(super) fn has(&self, len: usize) -> bool {
        self.content.len() >= self.content_len.min(len)
    }

    /// The role that `BEGIN_REQUEST` asks for.
    pub(super) fn role(&self) -> Option<u16> {
        self.is_whole().then(|| u16::from_be_bytes([self.content[0], self.content[1]]))
    }

    /// Status of the application and of the protocol that `END_REQUEST` tells.
    pub(super) fn end(&self) -> Option<(u32, u8)> {
        let [a, b, c, d, protocol, ..] = *self.content else { return None };
        self.is_whole().then(|| (u32::from_be_bytes([a, b, c, d]), protocol))
    }
}

/// The records of a call: the kinds of the first and the last one whose header is there, and where
/// the last one ends.
fn chain(bytes: &[u8], from: Side) -> Option<(Kind, Kind, u64)> {
    let (mut at, mut kinds) = (0u64, None::<(Kind, Kind)>);
    while let Some(rest) = usize::try_from(at).ok().and_then(|at| bytes.get(at..)) {
        if rest.is_empty() {
            break;
        }
        match Record::read(rest, from) {
            Front::Record(record) => {
                at += record.len;
                kinds = Some((kinds.map_or(record.kind, |kinds| kinds.0), record.kind));
            }
            Front::More if kinds.is_some() => break,
            _ => return None,
        }
    }
    kinds.map(|(first, last)| (first, last, at))
}

/// Requests begin with sixteen bytes of which most are known; an answer is believed if its end is
/// there, or if it begins with a header of CGI.
pub(super) fn recognise(head: &Head<'_>) -> Recognition {
    let side = match head.bytes.get(1) {
        Some(1 | 9) => Side::Client,
        Some(6 | 7 | 10) => Side::Server,
        _ => return Recognition::No,
    };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    let Some((first, last, end)) = chain(head.bytes, side) else { return Recognition::No };
    let is_exact = end == head.call_len as u64;
    match first {
        Kind::Begin if head.bytes.len() >= 2 * HEADER => Recognition::Yes(side),
        // What the server can do is asked by names that begin alike.
        Kind::Management if head.bytes.get(10..15) == Some(b"FCGI_") => Recognition::Yes(side),
        Kind::Stdout if is_exact && last == Kind::End => Recognition::Yes(side),
        Kind::Stdout if begins_like_cgi(&head.bytes[HEADER..]) => Recognition::Maybe(side),
        Kind::Stdout | Kind::Stderr if is_exact && last == Kind::End => Recognition::Maybe(side),
        _ => Recognition::No,
    }
}

/// Whether a header of CGI may begin here.
fn begins_like_cgi(content: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let name = content.iter().take_while(|byte| is_name(byte)).count();
    name >= 3 && content[name..].starts_with(b": ")
}

/// Whether records, one at least, may begin here.
pub(super) fn is_start(from: Side, bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && chain(bytes, from).is_some()
}
