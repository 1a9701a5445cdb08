//! What the client sends ([MS-TDS] §2.2.1, §2.2.6).

use std::sync::Arc;

use super::collect::{Message, utf16};
use super::packet::{self, Front, Packet, Smp};
use super::rpc;
use super::session::{Asked, Encryption, Session};
use super::token::Bytes;
use crate::sql::{Dialect, REST, STATEMENT_MAX, Statement};
use crate::{Draft, Head};

/// Bytes of the headers before a request (§2.2.5.3) that are believed.
const HEADERS_MAX: u32 = 512;

/// What a message asks; `None` if it is no request that is told.
pub(super) fn read(message: &Message, session: &mut Session) -> Option<(Draft, Asked)> {
    let content = &message.first;
    match message.kind {
        packet::BATCH => {
            let start = start(content, session);
            let text = content.get(start..)?;
            let (draft, _) = statement(text, start, message);
            Some((draft, Asked::Query(None)))
        }
        packet::RPC => {
            let start = start(content, session);
            let (mut draft, asked) = rpc::read(message, start, session);
            // The text of a statement is one of the values.
            draft.redact.push(message.place(start)..REST);
            Some((draft, asked))
        }
        packet::TRANSACTION => {
            let mut bytes = Bytes(content.get(start(content, session)..)?);
            let name = match bytes.u16()? {
                5 => "BEGIN TRANSACTION",
                7 => "COMMIT TRANSACTION",
                8 => "ROLLBACK TRANSACTION",
                9 => "SAVE TRANSACTION",
                _ => "TRANSACTION",
            };
            Some((operation(name), Asked::Query(None)))
        }
        packet::BULK_LOAD => Some((operation("BULK LOAD"), Asked::Query(None))),
        packet::LOGIN => {
            session.is_known = true;
            Some((login(), Asked::Login))
        }
        _ => None,
    }
}

fn operation(name: &'static str) -> Draft {
    let mut draft = Draft::request(name);
    draft.attributes.push(("db.operation.name".into(), name.into()));
    draft
}

/// A login, of which nothing is kept.
pub(super) fn login() -> Draft {
    let mut draft = operation("LOGIN7");
    draft.redact.push(0..usize::MAX);
    draft
}

/// A request that sends a statement, whose text begins at `at`.
pub(super) fn statement(text: &[u8], at: usize, message: &Message) -> (Draft, Arc<Statement>) {
    let sql = utf16(text, STATEMENT_MAX);
    let statement = Statement::of(sql.as_bytes(), Dialect::TransactSql);
    let mut draft = Draft::request(statement.summary.as_str());
    statement.describe(&mut draft.attributes);
    draft.trace_context = statement.trace_context;
    draft.truncated = message.is_cut;
    let units = |end: usize| sql.get(..end).map_or(0, |part| part.encode_utf16().count());
    let place = |end: usize| if end < REST { message.place(at + 2 * units(end)) } else { REST };
    let values = statement.values.iter();
    draft.redact = values.map(|value| place(value.start)..place(value.end)).collect();
    (draft, Arc::new(statement))
}

/// Length of the headers before a request: since 7.2 there are some.
fn start(content: &[u8], session: &mut Session) -> usize {
    let len = headers(content);
    session.is_old.get_or_insert(len.is_none());
    len.unwrap_or(0)
}

/// Length of all headers, each with its length and type; `None` if there are none.
fn headers(content: &[u8]) -> Option<usize> {
    let mut bytes = Bytes(content);
    let total = bytes.u32()?;
    if !(10..=HEADERS_MAX).contains(&total) {
        return None;
    }
    let mut left = total - 4;
    while left > 0 {
        let (len, kind) = (bytes.u32()?, bytes.u16()?);
        if !(6..=left).contains(&len) || !(1..=3).contains(&kind) {
            return None;
        }
        bytes.skip(len as usize - 6)?;
        left -= len;
    }
    Some(total as usize)
}

/// Options of `PRELOGIN` (§2.2.6.5): what, where, how long; then their values.
fn options(content: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    const KINDS_MAX: u8 = 7;
    let mut options = Vec::new();
    let mut rest = content;
    loop {
        match *rest {
            [0xff, ..] => break,
            [kind @ ..=KINDS_MAX, a, b, c, d, ref after @ ..] => {
                let at = usize::from(u16::from_be_bytes([a, b]));
                let value = content.get(at..at + usize::from(u16::from_be_bytes([c, d])))?;
                options.push((kind, value));
                rest = after;
            }
            _ => return None,
        }
    }
    // The version comes first.
    options.first().is_some_and(|(kind, value)| *kind == 0 && value.len() == 6).then_some(options)
}

/// What the server's `PRELOGIN` says of encryption.
pub(super) fn encryption(content: &[u8]) -> Encryption {
    const ENCRYPTION: u8 = 1;
    let options = options(content).unwrap_or_default();
    let option = options.iter().find(|(kind, _)| *kind == ENCRYPTION);
    match option.and_then(|(_, value)| value.first()) {
        Some(0) => Encryption::Login,
        Some(1 | 3) => Encryption::All,
        _ => Encryption::None,
    }
}

/// Whether the content is a record of TLS, as in packets before a login.
pub(super) fn is_handshake(content: &[u8]) -> bool {
    matches!(content, [0x14..=0x17, 3, ..] | [0x14..=0x17])
}

/// Whether the call is a client's: surely, perhaps, or not.
pub(super) fn recognise(head: &Head<'_>) -> Option<bool> {
    let (bytes, around) = match Smp::read(head.bytes) {
        Front::Packet(smp) if smp.has_data() => (&head.bytes[Smp::HEADER..], Smp::HEADER),
        _ => (head.bytes, 0),
    };
    let Front::Packet(packet) = Packet::read(bytes) else { return None };
    let fits = packet.len + around as u64 == head.call_len as u64 || !packet.is_end;
    let content = &bytes[Packet::HEADER..];
    let is_first = fits && packet.number <= 1;
    if !is_first {
        return None;
    }
    match packet.kind {
        packet::PRELOGIN => (options(content).is_some() || is_handshake(content)).then_some(true),
        packet::BATCH | packet::RPC | packet::TRANSACTION if headers(content).is_some() => {
            Some(true)
        }
        packet::BATCH => is_text(content).then_some(false),
        packet::LOGIN => is_login(content, &packet).then_some(true),
        _ => None,
    }
}

/// Whether a request may start here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    let Front::Packet(packet) = Packet::read(bytes) else { return false };
    let content = &bytes[Packet::HEADER..];
    match packet.kind {
        packet::BATCH => headers(content).is_some() || (packet.number <= 1 && is_text(content)),
        packet::RPC | packet::TRANSACTION => headers(content).is_some(),
        packet::PRELOGIN => options(content).is_some(),
        packet::LOGIN => is_login(content, &packet),
        _ => false,
    }
}

/// Its length, and a version (§2.2.6.4).
fn is_login(content: &[u8], packet: &Packet) -> bool {
    let mut bytes = Bytes(content);
    let (len, version) = (bytes.u32(), bytes.u32());
    let is_length = len.is_some_and(|len| {
        let most = packet.len - Packet::HEADER as u64;
        u64::from(len) == most || (!packet.is_end && u64::from(len) > most)
    });
    is_length && version.is_some_and(|version| matches!(version >> 24, 0x70..=0x74 | 0x08))
}

/// Whether it is UTF-16 text of western letters, as statements begin.
fn is_text(content: &[u8]) -> bool {
    let units = content.as_chunks::<2>().0;
    let is_letter = |unit: &[u8; 2]| unit[1] == 0 && (b' '..=b'~').contains(&unit[0]);
    let is_word = |unit: &[u8; 2]| unit[1] == 0 && unit[0].is_ascii_alphabetic();
    units.len() >= 4 && units.first().is_some_and(is_word) && units.iter().take(8).all(is_letter)
}
