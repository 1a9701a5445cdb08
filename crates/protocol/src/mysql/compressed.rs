//! Compressed: frames of seven bytes and content, which is not compressed where it is short
//! ("Compression"). What is compressed is not read.

use deeptrace_model::SpanStatus;

use super::client;
use super::command::{self, Answer};
use super::packet::{HEADER, Packet, short};
use super::server::Failure;
use super::session::{Asked, Session, TOLD};
use crate::due::Answers;
use crate::sql::REST;
use crate::{Draft, Input, Side, Verdict};

/// Length, sequence number, length before compression.
const FRAME: usize = 7;

/// A frame at the front of some bytes.
struct Frame<'a> {
    size: u64,
    sequence: u8,
    /// The first packet in it; `None` if it is compressed, or the continuation of another.
    packet: Option<Packet<'a>>,
}

impl<'a> Frame<'a> {
    fn read(bytes: &'a [u8], is_last: bool) -> Result<Self, Verdict> {
        let outer = Packet::read(bytes).ok_or(Verdict::More)?;
        if bytes.len() < FRAME {
            return Err(Verdict::More);
        }
        let content = &bytes[FRAME..];
        let content = &content[..content.len().min(outer.len)];
        let is_plain = bytes[HEADER..FRAME] == [0, 0, 0];
        // Short ones are plain; of longer ones (what fits no frame whole) enough is looked at.
        if is_plain && content.len() < outer.len.min(1024) && !is_last {
            return Err(Verdict::More);
        }
        let packet = if is_plain { Packet::read(content) } else { None };
        Ok(Self { size: (FRAME + outer.len) as u64, sequence: outer.sequence, packet })
    }
}

/// Whether bytes are a plain frame with a whole command in it.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let Some(outer) = Packet::read(bytes) else { return false };
    let Some([0, 0, 0]) = bytes.get(HEADER..FRAME) else { return false };
    Packet::read(&bytes[FRAME..]).is_some_and(|inner| {
        let fits = outer.sequence == 0 && inner.sequence == 0;
        fits && inner.size() == outer.len as u64 && client::is_believable(&inner)
    })
}

/// Whether an exchange may start here.
pub(super) fn is_start(from: Side, bytes: &[u8]) -> bool {
    let Some(outer) = Packet::read(bytes) else { return false };
    let is_first = outer.sequence == u8::from(from == Side::Server);
    let before = bytes.get(HEADER..FRAME).map(|raw| raw.iter().any(|byte| *byte != 0));
    let is_plain = || Packet::read(&bytes[FRAME..]).is_some_and(|inner| inner.len < outer.len);
    is_first && outer.len > 0 && before.is_some_and(|is_compressed| is_compressed || is_plain())
}

/// A frame of the client's.
pub(super) fn ask(input: &Input<'_>, session: &mut Session) -> Verdict {
    let frame = match Frame::read(input.bytes, input.is_last) {
        Ok(frame) => frame,
        Err(verdict) => return verdict,
    };
    if frame.sequence != 0 {
        return Verdict::Skip(frame.size);
    }
    let found = frame.packet.and_then(|packet| {
        let command = command::find(*packet.body.first()?, packet.len)?;
        Some(client::read(command, &packet, session))
    });
    let (mut draft, asked) = found.unwrap_or_else(|| {
        let mut draft = Draft::request("");
        draft.unknown.extend(TOLD);
        draft.redact.push(0..REST);
        (draft, Asked::new(Answer::One))
    });
    for range in &mut draft.redact {
        *range = range.start + FRAME..range.end.saturating_add(FRAME);
    }
    client::finish(frame.size, draft, asked, session)
}

/// A frame of the server's: the first answers.
pub(super) fn answer(input: &Input<'_>, session: &mut Session) -> Verdict {
    let frame = match Frame::read(input.bytes, input.is_last) {
        Ok(frame) => frame,
        Err(verdict) => return verdict,
    };
    let is_stray = session.due.is_stray();
    if frame.sequence != 1 || (session.due.is_empty() && !is_stray) {
        return Verdict::Skip(frame.size);
    }
    if is_stray {
        session.due.heard();
        return Verdict::Stray(frame.size);
    }
    let asked = match session.due.answer() {
        Answers::To(asked) => asked,
        _ => return Verdict::Skip(frame.size),
    };
    let mut draft = Draft::response(SpanStatus::Unset);
    match frame.packet.map(|packet| packet.body) {
        Some([0xff, ..]) => {
            let body = frame.packet.map_or(&[][..], |packet| packet.body);
            Failure::read(body).describe(&mut draft);
        }
        Some(body) => {
            draft.status = SpanStatus::Ok;
            let id = short(body, 1).map(u32::from);
            if let (Answer::Prepared, Some(id), Some(statement)) =
                (asked.answer, super::packet::long(body, 1).or(id), asked.statement)
            {
                session.statements.insert(id, statement);
            }
            session.namespace = asked.namespace.or(session.namespace.take());
        }
        None => draft.unknown.push("db.response.status_code"),
    }
    draft.skips = session.due.skips();
    if asked.is_silent {
        return Verdict::Skip(frame.size);
    }
    Verdict::Done { len: frame.size, draft: Box::new(draft) }
}
