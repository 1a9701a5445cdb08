//! ZMTP 3.0 and 3.1, ZeroMQ's protocol: RFC 23/ZMTP and RFC 37/ZMTP (greeting, framing, commands and
//! metadata), RFC 28/REQREP for who answers whom.
//!
//! A message is all frames up to the one without `MORE`. Which end asks shows in the types of the
//! sockets, told by `READY` or `INITIATE`, whoever connected: `REQ` asks, `REP` answers, both in
//! order, so that one known end tells the other's part. All other messages are one-way, also those
//! whose types were told before the agent came. What a `SUB` says are subscriptions, which are
//! passed over, as are all commands but `ERROR`; so no credentials of `PLAIN` are kept, and `CURVE`
//! shows nothing.

mod frame;

use deeptrace_model::{SpanStatus, Text, Transport, Value};

use self::frame::{Frame, Front};
use crate::due::{Answers, Due};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "zmtp",
    title: "ZeroMQ (ZMTP 3.x)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[5555, 5556],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "the command ERROR",
        context: "",
        tls: "",
        limits: &[
            "only REQ and REP are paired; other patterns are one-way",
            "nothing is seen under CURVE",
        ],
    },
    recognise,
    parser: || Box::<Zmtp>::default(),
};

/// Bytes of a topic that are told.
const TOPIC_MAX: usize = 64;

/// Bytes of a command that are looked at.
const COMMAND_MAX: usize = 1024;

/// The part of an end in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Asks,
    Answers,
    Tells,
}

#[derive(Default)]
struct Zmtp {
    halves: [HalfState; 2],
    due: Due<()>,
}

#[derive(Default)]
struct HalfState {
    /// The greeting is over, or was not seen.
    is_greeted: bool,
    /// Type of the socket that sends.
    socket: Option<&'static str>,
    /// The message that is being read.
    message: Option<Message>,
}

#[derive(Clone, Debug, Default)]
struct Message {
    frames: u32,
    size: u64,
    topic: Option<String>,
    is_stray: bool,
}

fn recognise(head: &Head<'_>) -> Recognition {
    // Either end may speak first.
    let side = head.from.unwrap_or(Side::Client);
    if frame::is_greeting(head.bytes) {
        Recognition::Yes(side)
    } else if frame::is_telling(head.bytes, head.call_len) {
        Recognition::Maybe(side)
    } else {
        Recognition::No
    }
}

impl Parser for Zmtp {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let half = &mut self.halves[input.from as usize];
        if !half.is_greeted || (half.message.is_none() && input.bytes.first() == Some(&0xff)) {
            return match frame::greeting(input.bytes) {
                Front::Is(len) => {
                    half.is_greeted = true;
                    Verdict::Skip(len)
                }
                Front::More => Verdict::More,
                Front::NotMine => Verdict::NotMine,
            };
        }
        let frame = match Frame::read(input.bytes) {
            Front::Is(frame) => frame,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        if frame.is_command { self.command(&frame, &input) } else { self.message(&frame, &input) }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        if frame::is_greeting(bytes) {
            return true;
        }
        let has_delimiter = self.part(from) != Part::Tells;
        frame::is_start(bytes, has_delimiter)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let half = &mut self.halves[from as usize];
        half.is_greeted = true;
        let message = half.message.take();
        let part = self.part(from);
        let draft = message.filter(|message| !message.is_stray).map(|message| {
            let mut draft = self.draft(from, part, &message);
            if part == Part::Answers {
                let _ = self.due.answer();
                draft.skips = self.due.skips();
            }
            draft
        });
        match part {
            Part::Asks => self.due.lost(Side::Client),
            Part::Answers => self.due.lost(Side::Server),
            Part::Tells => {
                self.due.lost(Side::Client);
                self.due.lost(Side::Server);
            }
        }
        draft
    }

    fn quiet(&mut self) {
        self.due.quiet();
    }
}

impl Zmtp {
    /// What the end that sends does, as its type or the other's tells.
    fn part(&self, from: Side) -> Part {
        let own = self.halves[from as usize].socket;
        let other = self.halves[from.opposite() as usize].socket;
        match (own, other) {
            (Some("REQ"), _) | (_, Some("REP")) => Part::Asks,
            (Some("REP"), _) | (_, Some("REQ")) => Part::Answers,
            _ => Part::Tells,
        }
    }

    fn command(&mut self, frame: &Frame<'_>, input: &Input<'_>) -> Verdict {
        if !frame.has(COMMAND_MAX) && !input.is_last {
            return Verdict::More;
        }
        let Some(command) = frame.command() else { return Verdict::NotMine };
        let half = &mut self.halves[input.from as usize];
        match command.name {
            b"READY" | b"INITIATE" => half.socket = command.socket_type().or(half.socket),
            b"ERROR" => {
                let mut draft = Draft::one_way("ERROR");
                draft.status = SpanStatus::Error;
                draft.attributes.push(("messaging.system".into(), "zeromq".into()));
                draft.attributes.push(("error.type".into(), "ERROR".into()));
                draft.status_message = Some(command.reason()).filter(|text| !text.is_empty());
                return Verdict::Done { len: frame.len, draft: Box::new(draft) };
            }
            _ => {}
        }
        Verdict::Skip(frame.len)
    }

    fn message(&mut self, frame: &Frame<'_>, input: &Input<'_>) -> Verdict {
        let (from, len) = (input.from, frame.len);
        let part = self.part(from);
        let own = self.halves[from as usize].socket;
        if matches!(own, Some("SUB" | "XSUB")) {
            return Verdict::Skip(len);
        }
        let is_first = self.halves[from as usize].message.is_none();
        let has_topic = is_first && frame.is_more && matches!(own, Some("PUB" | "XPUB"));
        if has_topic && !frame.has(TOPIC_MAX) && !input.is_last {
            return Verdict::More;
        }
        let is_stray = part == Part::Answers && self.due.is_stray();
        let half = &mut self.halves[from as usize];
        let message =
            half.message.get_or_insert_with(|| Message { is_stray, ..Message::default() });
        message.frames = message.frames.saturating_add(1);
        message.size = message.size.saturating_add(frame.body_len);
        if has_topic {
            message.topic = frame.text(TOPIC_MAX);
        }
        let is_stray = message.is_stray;
        if frame.is_more {
            return if is_stray { Verdict::Skip(len) } else { Verdict::Part { len, stream: 0 } };
        }
        let Some(message) = half.message.take() else { return Verdict::NotMine };
        let mut draft = self.draft(from, part, &message);
        match part {
            Part::Asks => self.due.ask(()),
            Part::Answers if is_stray => {
                self.due.heard();
                return Verdict::Stray(len);
            }
            Part::Answers => {
                if matches!(self.due.answer(), Answers::Stray) {
                    return Verdict::Stray(len);
                }
                draft.skips = self.due.skips();
            }
            Part::Tells => {}
        }
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn draft(&self, from: Side, part: Part, message: &Message) -> Draft {
        let (mut draft, operation) = match part {
            Part::Asks => (Draft::request("request"), "request"),
            Part::Answers => (Draft::response(SpanStatus::Unset), ""),
            Part::Tells => (Draft::one_way("send"), "send"),
        };
        let size = i64::try_from(message.size).unwrap_or(i64::MAX);
        if part == Part::Answers {
            draft.attributes.push(("deeptrace.zmq.response.size".into(), Value::Int(size)));
            return draft;
        }
        let mut push = |key: &'static str, value: Value| draft.attributes.push((key.into(), value));
        push("messaging.system", "zeromq".into());
        push("messaging.operation.name", operation.into());
        push("messaging.operation.type", "send".into());
        push("messaging.message.body.size", Value::Int(size));
        let socket = self.halves[from as usize].socket;
        if let Some(socket) = socket {
            push("deeptrace.zmq.socket.type", Text::new_static(socket).into());
        }
        if let Some(topic) = &message.topic {
            push("messaging.destination.name", topic.clone().into());
        }
        if socket.is_none() {
            draft.unknown.push("deeptrace.zmq.socket.type");
        }
        draft
    }
}

#[cfg(test)]
mod tests;
