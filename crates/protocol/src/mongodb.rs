//! MongoDB's wire protocol (manual, "MongoDB Wire Protocol"; drivers' specification "OP_MSG"): `OP_MSG`
//! with its sections, `OP_COMPRESSED`, and the operations that were removed in 5.1 (`OP_QUERY`, …).
//!
//! The stream is the request's id plus one, which the answer repeats. A request with `moreToCome` asks
//! for no answer. An answer with `moreToCome` (exhaust) is followed by more that nobody asks for, each
//! as an answer to the one before: the first is the response, the others are one-way.
//! `hello` and its answers are left out: drivers greet with it and ask it every ten seconds.
//!
//! Of a compressed message only the ids are read (and what compressor 0, none, left as it was): its
//! command is unknown, and it is taken for one that is answered. Assumed: a command's `$db` and an
//! answer's `ok` lie in the first 16 KiB, or the answer has a cursor, which failures have not.

mod bson;
mod command;
mod header;
mod reply;
mod text;

use deeptrace_model::{SpanStatus, Transport};

use crate::{
    CopyPolicy, Draft, Form, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support,
    Verdict,
};

use command::Command;
use header::{Front, HEADER, MORE_TO_COME, Message, Opcode};
use reply::Reply;

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "mongodb",
    title: "MongoDB (wire protocol: OP_MSG, OP_COMPRESSED and legacy operations)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[27017, 27018, 27019],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("request id"),
        errors: "ok: 0, write errors",
        context: "the comment of a command",
        tls: "",
        limits: &["compressed messages: ids only, the command is unknown"],
    },
    recognise,
    parser: || Box::<MongoDb>::default(),
};

/// Bytes of a message from which it can't be of another protocol: flags, kind, length and type of the
/// first element, or what legacy operations have there.
const SURE: usize = HEADER + 4 + 1 + 4 + 1;

fn recognise(head: &Head<'_>) -> Recognition {
    let reads = |side: Side| {
        let is_wanted = head.may_be_from(side);
        let front = is_wanted.then(|| Message::read(head.bytes, side, true));
        match front {
            Some(Front::Message(message)) => Some(message),
            _ => None,
        }
    };
    let (client, server) = (reads(Side::Client), reads(Side::Server));
    let (message, side) = match (client, server) {
        // An answer to the request 0 and a request look alike but for what they say.
        (Some(message), Some(answer)) if is_answer(&answer) => (message, Side::Server),
        (Some(message), _) => (message, Side::Client),
        (None, Some(message)) => (message, Side::Server),
        (None, None) => return Recognition::No,
    };
    let is_strange = message.opcode == Opcode::Reply || message.opcode == Opcode::Compressed;
    if head.bytes.len() >= SURE && !(is_strange && head.bytes.len() < HEADER + 24) {
        return Recognition::Yes(side);
    }
    if is_strange { Recognition::No } else { Recognition::Maybe(side) }
}

/// Whether a message that could be of both sides is an answer.
fn is_answer(message: &Message<'_>) -> bool {
    if message.opcode != Opcode::Msg || message.answers != 0 {
        return true;
    }
    let command = Command::read(message);
    matches!(command.name.as_str(), "ok" | "cursor") || Reply::read(message).is_greeting()
}

/// The stream of a request with this id. Zero would say that there is only one.
fn stream(id: u32) -> u64 {
    u64::from(id) + 1
}

#[derive(Default)]
struct MongoDb {
    /// Id of the last answer that announced another one. One at most: the server sends nothing else
    /// before the stream of answers ends.
    exhaust: Option<u32>,
}

impl MongoDb {
    fn request(message: &Message<'_>) -> Option<Draft> {
        if message.opcode == Opcode::Compressed {
            let mut draft = Draft::request("mongodb");
            draft.attributes.push(("db.system.name".into(), "mongodb".into()));
            draft.unknown = vec!["db.operation.name", "db.collection.name", "db.namespace"];
            return Some(draft);
        }
        let command = Command::read(message);
        if command.is_greeting() {
            return None;
        }
        let is_one_way = match message.opcode {
            Opcode::Msg => message.flags() & MORE_TO_COME != 0,
            opcode => !matches!(opcode, Opcode::Query | Opcode::GetMore),
        };
        let draft = if is_one_way { Draft::one_way("") } else { Draft::request("") };
        let mut draft = command.describe(draft);
        draft.form = Form::Fields;
        Some(draft)
    }

    fn answer(&mut self, message: &Message<'_>) -> Option<Draft> {
        let is_more = self.exhaust.is_some_and(|id| id == message.answers);
        self.exhaust = (message.flags() & MORE_TO_COME != 0).then_some(message.id);
        if message.opcode == Opcode::Compressed {
            return Some(Draft::response(SpanStatus::Unset));
        }
        let reply = Reply::read(message);
        if reply.is_greeting() {
            return None;
        }
        let mut draft = reply.describe();
        draft.form = Form::Fields;
        if is_more {
            let push = Draft::one_way("exhaust reply");
            draft = Draft { role: push.role, name: push.name, ..draft };
            draft.attributes.prepend(vec![("db.system.name".into(), "mongodb".into())]);
        }
        Some(draft)
    }
}

impl Parser for MongoDb {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let message = match Message::read(input.bytes, input.from, input.is_last) {
            Front::Message(message) => message,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        let len = u64::from(message.len);
        let plain = uncompressed(&message).unwrap_or(message);
        let (draft, id) = match input.from {
            Side::Client => (Self::request(&plain), message.id),
            Side::Server => (self.answer(&plain), message.answers),
        };
        let Some(mut draft) = draft else { return Verdict::Skip(len) };
        draft.stream = stream(id);
        draft.truncated = message.is_cut;
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        matches!(Message::read(bytes, from, true), Front::Message(_))
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        if from == Side::Server {
            self.exhaust = None;
        }
        None
    }
}

/// A message that compressor 0 left as it was.
fn uncompressed<'a>(message: &Message<'a>) -> Option<Message<'a>> {
    if message.opcode != Opcode::Compressed || message.body.get(8) != Some(&0) {
        return None;
    }
    let body = &message.body[9..];
    let opcode = bson::number(message.body, 0).filter(|code| *code == 2013).map(|_| Opcode::Msg)?;
    Some(Message { opcode, body, room: message.room - 9, ..*message })
}

#[cfg(test)]
mod tests;
