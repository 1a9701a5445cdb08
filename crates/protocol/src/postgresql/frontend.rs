//! What the client sends.

use std::sync::Arc;

use super::Encryption;
use super::frame::{Frame, Front, HEADER, chain, number, text};
use super::group::Group;
use super::prepared::Names;
use crate::sql::{self, REST, STATEMENT_MAX, Statement};
use crate::{Draft, Form, Head, Input, Side, Verdict};

// Request codes of packets without a type byte (manual, "Message Formats").
const VERSION_3: u32 = 3;
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSSENC: u32 = 80_877_104;

/// As the server's `MAX_STARTUP_PACKET_LENGTH`.
const STARTUP_MAX: u32 = 10_000;

/// The client's direction.
#[derive(Default)]
pub(super) struct Frontend {
    /// From the startup message; `None` if that was sent before the agent came.
    namespace: Option<String>,
    statements: Names,
    portals: Names,
    group: Option<Group>,
    /// The last messages were data for COPY: a `Sync` after them belongs to that.
    is_copying: bool,
    /// What follows belongs to a group that was lost, up to its `Sync`.
    is_tail: bool,
}

/// Bytes of content that are looked at.
fn window(kind: u8) -> usize {
    match kind {
        b'Q' => STATEMENT_MAX,
        b'P' => STATEMENT_MAX + 256,
        b'B' | b'C' | b'D' | b'E' => 256,
        _ => 0,
    }
}

impl Frontend {
    pub(super) fn parse(&mut self, input: &Input<'_>, encryption: &mut Encryption) -> Verdict {
        if input.bytes.first() == Some(&0) {
            return self.untyped(input, encryption);
        }
        let frame = match Frame::read(input.bytes, Side::Client, input.is_last, window) {
            Front::Frame(frame) => frame,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        let (was_copying, was_tail) = (self.is_copying, self.is_tail);
        self.is_copying = matches!(frame.kind, b'd' | b'c' | b'f');
        self.is_tail = false;
        match frame.kind {
            b'Q' => self.query(&frame),
            b'F' => {
                let mut draft = Draft::request("FunctionCall");
                draft.redact.push(HEADER..REST);
                self.request(frame.len, draft)
            }
            // Nothing of these is kept: data, a password, the end.
            b'd' | b'c' | b'f' | b'p' | b'X' => Verdict::Skip(frame.len),
            b'S' if was_tail || (was_copying && self.group.is_none()) => Verdict::Skip(frame.len),
            // Asks for what is asked already.
            b'H' if self.group.is_none() => {
                self.is_tail = was_tail;
                Verdict::Skip(frame.len)
            }
            b'C' | b'D' | b'E' if was_tail => {
                self.is_tail = true;
                Verdict::Skip(frame.len)
            }
            _ => self.extended(&frame),
        }
    }

    /// `Sync` completes the group, everything else belongs to it.
    fn extended(&mut self, frame: &Frame<'_>) -> Verdict {
        let mut group = self.group.take().unwrap_or_default();
        match frame.kind {
            b'S' => {
                group.add("Sync", frame);
                return self.request(frame.len, group.draft());
            }
            b'P' => {
                if let Some((name, rest)) = text(frame.body) {
                    let sql = text(rest).map_or(rest, |parts| parts.0);
                    let statement = Arc::new(Statement::new(sql));
                    group.prepare(&statement, HEADER + name.len() + 1);
                    self.statements.insert(name, statement);
                } else {
                    // The name was not copied; but for this one, names are used once.
                    self.statements.remove(b"");
                }
                group.add("Parse", frame);
            }
            b'B' => {
                let names = self.bind(frame.body);
                group.hide(HEADER + names, frame.len);
                group.add("Bind", frame);
            }
            b'E' => {
                group.execute(text(frame.body).and_then(|parts| self.portals.get(parts.0)));
                group.add("Execute", frame);
            }
            b'C' => {
                match frame.body.split_first().map(|parts| (parts.0, text(parts.1))) {
                    Some((b'S', Some((name, _)))) => self.statements.remove(name),
                    Some((b'P', Some((name, _)))) => self.portals.remove(name),
                    _ => {}
                }
                group.add("Close", frame);
            }
            b'D' => group.add("Describe", frame),
            _ => group.add("Flush", frame),
        }
        self.group = Some(group);
        Verdict::Part { len: frame.len, stream: 0 }
    }

    /// Binds values to a statement. Returns the length of the names before the values.
    fn bind(&mut self, body: &[u8]) -> usize {
        let Some((portal, rest)) = text(body) else {
            self.portals.clear();
            return 0;
        };
        match text(rest).and_then(|parts| self.statements.get(parts.0)) {
            Some(statement) => self.portals.insert(portal, statement),
            None => self.portals.remove(portal),
        }
        text(rest).map_or(0, |parts| portal.len() + parts.0.len() + 2)
    }

    fn query(&mut self, frame: &Frame<'_>) -> Verdict {
        let sql = text(frame.body).map_or(frame.body, |parts| parts.0);
        let statement = Statement::new(sql);
        let mut draft = Draft::request(statement.summary.as_str());
        statement.describe(&mut draft.attributes);
        draft.trace_context = statement.trace_context;
        draft.truncated = frame.is_cut;
        draft.redact = statement.places(HEADER).collect();
        draft.form = Form::Told;
        self.request(frame.len, draft)
    }

    /// Adds what all requests of the connection have in common.
    fn request(&mut self, len: u64, mut draft: Draft) -> Verdict {
        self.group = None;
        self.add_common(&mut draft);
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn add_common(&self, draft: &mut Draft) {
        sql::add_common(draft, "postgresql", self.namespace.as_deref(), false);
    }

    /// A packet without a type byte: how a connection begins.
    fn untyped(&mut self, input: &Input<'_>, encryption: &mut Encryption) -> Verdict {
        let (Some(length), Some(code)) = (number(input.bytes, 0), number(input.bytes, 4)) else {
            return Verdict::More;
        };
        let len = u64::from(length);
        match (code, length) {
            (SSL | GSSENC, 8) => {
                *encryption = Encryption::Asked;
                Verdict::Skip(len)
            }
            (CANCEL, 12..=268) => {
                let mut draft = Draft::one_way("CancelRequest");
                draft.attributes.push(("db.system.name".into(), "postgresql".into()));
                // The key in it may cancel again.
                draft.redact.push(8..length as usize);
                Verdict::Done { len, draft: Box::new(draft) }
            }
            (code, 9..=STARTUP_MAX) if code >> 16 == VERSION_3 => {
                let wanted = length as usize;
                if input.bytes.len() < wanted && !input.is_last {
                    return Verdict::More;
                }
                let Some(pairs) = input.bytes.get(8..input.bytes.len().min(wanted)) else {
                    return Verdict::More;
                };
                let value = |key: &[u8]| parameters(pairs).find(|pair| pair.0 == key);
                // "The database to connect to. Defaults to the user name."
                let database = value(b"database").or_else(|| value(b"user"));
                self.namespace = database.map(|pair| String::from_utf8_lossy(pair.1).into_owned());
                *encryption = Encryption::None;
                let mut draft = Draft::request("StartupMessage");
                draft.truncated = input.bytes.len() < wanted;
                self.request(len, draft)
            }
            _ => Verdict::NotMine,
        }
    }

    pub(super) fn lost(&mut self) -> Option<Draft> {
        self.is_copying = false;
        // These may stand for something else by now; but for the unnamed one, names are used once.
        self.statements.remove(b"");
        self.portals.clear();
        let group = self.group.take()?;
        self.is_tail = true;
        let len = usize::try_from(group.len).unwrap_or(usize::MAX);
        let mut draft = group.draft();
        // What was left of a message that never became whole may be a statement with a password.
        draft.redact.push(len..usize::MAX);
        self.add_common(&mut draft);
        Some(draft)
    }
}

/// Names and values of a startup message.
fn parameters(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (name, rest) = text(bytes)?;
        let (value, rest) = text(rest)?;
        bytes = rest;
        (!name.is_empty()).then_some((name, value))
    })
}

/// Whether the call is a client's: surely, perhaps, or not.
pub(super) fn recognise(head: &Head<'_>) -> Option<bool> {
    let bytes = head.bytes;
    if bytes.first() == Some(&0) {
        let (length, code) = (number(bytes, 0)?, number(bytes, 4)?);
        return match (code, length) {
            (SSL | GSSENC, 8) | (CANCEL, 12..=268) if head.call_len == length as usize => {
                Some(true)
            }
            (code, 9..=STARTUP_MAX) if code >> 16 == VERSION_3 && code & 0xffff < 16 => {
                parameters(&bytes[8..]).any(|pair| pair.0 == b"user").then_some(true)
            }
            _ => None,
        };
    }
    let kinds = chain(head, Side::Client, is_believable)?;
    match kinds.as_slice() {
        [b'Q', ..] => Some(true),
        [b'P' | b'B', rest @ ..] if rest.contains(&b'S') || rest.contains(&b'H') => Some(true),
        [b'P' | b'B' | b'D' | b'C' | b'E' | b'S', ..] => Some(false),
        _ => None,
    }
}

/// Whether a message may start here; data for COPY may be anything and is not believed.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    if bytes.first() == Some(&0) {
        return number(bytes, 4).is_some_and(|code| code >> 16 == VERSION_3 || code == CANCEL);
    }
    match Frame::read(bytes, Side::Client, true, |_| usize::MAX) {
        Front::Frame(frame) => is_believable(&frame),
        _ => false,
    }
}

/// Whether the content of a message is such as its type has.
fn is_believable(frame: &Frame<'_>) -> bool {
    let body = frame.body;
    let ends = |rest: &[u8], count: usize| !frame.is_whole() || rest.len() == count;
    match frame.kind {
        b'Q' => match text(body) {
            Some((sql, rest)) => is_statement(sql) && ends(rest, 0),
            None => !frame.is_whole() && is_statement(body),
        },
        b'P' => match text(body).map(|parts| (parts.0, text(parts.1))) {
            Some((name, Some((sql, rest)))) => {
                is_name(name) && is_statement(sql) && (rest.len() >= 2 || !frame.is_whole())
            }
            Some((name, None)) => !frame.is_whole() && is_name(name),
            None => !frame.is_whole() && is_name(body),
        },
        b'B' => match text(body).map(|parts| (parts.0, text(parts.1))) {
            Some((portal, Some((name, rest)))) => {
                is_name(portal) && is_name(name) && (rest.len() >= 6 || !frame.is_whole())
            }
            _ => !frame.is_whole() && body.len() <= 128,
        },
        b'D' | b'C' => match body.split_first() {
            Some((b'S' | b'P', rest)) => {
                text(rest).is_some_and(|parts| is_name(parts.0) && ends(parts.1, 0))
                    || !frame.is_whole()
            }
            _ => false,
        },
        b'E' => {
            text(body).is_some_and(|parts| is_name(parts.0) && ends(parts.1, 4))
                || !frame.is_whole()
        }
        b'S' | b'H' | b'F' | b'X' => true,
        _ => false,
    }
}

/// Whether text looks like SQL: begins as statements do, and has no control characters.
fn is_statement(sql: &[u8]) -> bool {
    let start = sql.trim_ascii_start().first();
    let begins = start.is_none_or(|byte| byte.is_ascii_alphabetic() || b"/-(;".contains(byte));
    begins && sql.iter().take(256).all(|byte| *byte >= b' ' || b"\t\r\n".contains(byte))
}

fn is_name(name: &[u8]) -> bool {
    name.len() <= 128 && name.iter().all(|byte| *byte >= b' ')
}
