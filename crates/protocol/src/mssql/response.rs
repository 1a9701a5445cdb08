//! What the server sends: a response in tokens ([MS-TDS] §2.2.7).

use std::sync::Arc;

use deeptrace_model::{SpanStatus, Value};

use super::collect::Message;
use super::packet::{self, Front, Packet, Smp};
use super::session::{Asked, Session};
use super::token::{
    DONE_ATTENTION, DONE_COUNT, DONE_ERROR, DONE_MORE, DONE_SERVER_ERROR, SELECT, Token, Tokens,
};
use crate::{Draft, Head};

/// What a response tells.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Rows of all results; `None` where there are none, or where not all was seen.
    rows: Option<u64>,
    /// Number, class and text of the first error.
    error: Option<(i32, u8, String)>,
    /// The server says that something failed.
    has_failed: bool,
    /// It ends what the client wanted no more.
    pub(super) is_attention: bool,
    /// A token says that something is done.
    pub(super) has_done: bool,
    database: Option<String>,
    is_old: Option<bool>,
    handle: Option<i32>,
    is_cut: bool,
}

impl Outcome {
    pub(super) fn read(message: &Message, is_old: bool) -> Self {
        let mut outcome = Self { is_cut: message.is_cut, ..Self::default() };
        let mut tokens = Tokens::new(&message.first, is_old);
        tokens.by_ref().for_each(|token| outcome.take(token));
        if !message.is_whole() || !tokens.is_at_end() {
            outcome.rows = None;
            outcome.end(&message.last, is_old);
        }
        outcome
    }

    fn take(&mut self, token: Token) {
        match token {
            Token::Done { flags, command, rows } => {
                self.has_done = true;
                self.has_failed |= flags & (DONE_ERROR | DONE_SERVER_ERROR) != 0;
                self.is_attention |= flags & DONE_ATTENTION != 0;
                if flags & DONE_COUNT != 0 && command == SELECT {
                    self.rows = Some(self.rows.unwrap_or(0).saturating_add(rows));
                }
            }
            Token::Error { number, class, message } => {
                self.error.get_or_insert((number, class, message));
            }
            Token::Database(name) => self.database = Some(name),
            Token::Version { is_old } => self.is_old = Some(is_old),
            Token::Value(handle) => {
                self.handle.get_or_insert(handle);
            }
            Token::Row | Token::Other => {}
        }
    }

    /// Reads the end of a long response: the last token, and an error before it.
    fn end(&mut self, last: &[u8], is_old: bool) {
        let done = if is_old { 9 } else { 13 };
        let Some(at) = last.len().checked_sub(done) else { return };
        if !is_end(&last[at..], is_old) {
            return;
        }
        Tokens::new(&last[at..], is_old).for_each(|token| self.take(token));
        if !self.has_failed || self.error.is_some() {
            return;
        }
        // Tokens from here to the end, the first of them an error: nothing else looks so.
        const ERROR: u8 = 0xaa;
        let starts = last.iter().enumerate().filter(|(_, byte)| **byte == ERROR);
        let tail = starts.map(|(at, _)| &last[at..]).find(|tail| is_end(tail, is_old));
        if let Some(tail) = tail {
            Tokens::new(tail, is_old).for_each(|token| self.take(token));
        }
    }

    /// What follows from it for what comes after.
    pub(super) fn settle(&self, asked: Option<&Asked>, session: &mut Session) {
        if let Some(name) = &self.database {
            session.namespace = Some(name.clone());
        }
        session.is_old = self.is_old.or(session.is_old);
        if let (Some(Asked::Query(Some(statement))), Some(handle)) = (asked, self.handle) {
            session.prepare(handle, Arc::clone(statement));
        }
    }

    pub(super) fn draft(self) -> Draft {
        let is_ok = self.error.is_none() && !self.has_failed && !self.is_attention;
        let status = match (is_ok, self.has_done) {
            (true, true) => SpanStatus::Ok,
            (true, false) => SpanStatus::Unset,
            _ => SpanStatus::Error,
        };
        let mut draft = Draft::response(status);
        draft.truncated = self.is_cut;
        if let Some(rows) = self.rows.filter(|_| is_ok) {
            let rows = Value::Int(i64::try_from(rows).unwrap_or(i64::MAX));
            draft.attributes.push(("db.response.returned_rows".into(), rows));
        }
        match self.error {
            Some((number, class, message)) => {
                let code = Value::from(number.to_string());
                draft.attributes.push(("db.response.status_code".into(), code.clone()));
                draft.attributes.push(("error.type".into(), code));
                draft.attributes.push(("mssql.error.class".into(), i64::from(class).into()));
                draft.status_message = Some(message).filter(|message| !message.is_empty());
            }
            None if self.is_attention => {
                draft.attributes.push(("error.type".into(), "cancelled".into()));
            }
            None if !is_ok => draft.attributes.push(("error.type".into(), "_OTHER".into())),
            None => {}
        }
        draft
    }
}

/// Whether these are whole tokens, the last of which ends a response.
fn is_end(bytes: &[u8], is_old: bool) -> bool {
    let mut tokens = Tokens::new(bytes, is_old);
    let last = tokens.by_ref().last();
    let is_last = matches!(last, Some(Token::Done { flags, .. }) if flags & DONE_MORE == 0);
    tokens.is_at_end() && is_last
}

/// Whether the call is a server's: surely, perhaps, or not.
pub(super) fn recognise(head: &Head<'_>) -> Option<bool> {
    let (bytes, around) = match Smp::read(head.bytes) {
        Front::Packet(smp) if smp.has_data() => (&head.bytes[Smp::HEADER..], Smp::HEADER),
        _ => (head.bytes, 0),
    };
    let Front::Packet(packet) = Packet::read(bytes) else { return None };
    if packet.kind != packet::RESPONSE || packet.number > 1 {
        return None;
    }
    let content = &bytes[Packet::HEADER..];
    let is_whole = packet.len + around as u64 == head.call_len as u64;
    let fills = content.len() + Packet::HEADER + around == head.call_len;
    let ends = is_whole && packet.is_end && fills;
    if ends && (is_end(content, false) || is_end(content, true)) {
        return Some(true);
    }
    begins(content).then_some(false)
}

/// Whether a response may start here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    let Front::Packet(packet) = Packet::read(bytes) else { return false };
    packet.kind == packet::RESPONSE && packet.number <= 1 && begins(&bytes[Packet::HEADER..])
}

/// Whether the first token is whole, or names columns.
fn begins(content: &[u8]) -> bool {
    const COLUMNS: u8 = 0x81;
    let is_token =
        [false, true].iter().any(|is_old| Tokens::new(content, *is_old).next().is_some());
    is_token || (content.first() == Some(&COLUMNS) && content.len() > 64)
}
