//! Apache Pulsar's binary protocol (`pulsar-binary-protocol` of its documentation, `PulsarApi.proto`).
//!
//! A frame has a length, a command in protocol buffers, and for messages their metadata and payload.
//! What has a request id is a request, which the answer names; `SEND` is one that `SEND_RECEIPT` or
//! `SEND_ERROR` answers by the ids of producer and sequence. Deliveries and acknowledgements that ask
//! for no answer are one-way. Connecting and authenticating, pings and flow control are passed over.
//!
//! Topics are told when producers and consumers are made: found later, they are unknown. Of a batch
//! the trace context of its first message is taken, unless it is compressed.
//!
//! Bias: fields must come in the order of their numbers, as all known clients and servers write them.

mod answer;
mod command;
mod fields;
mod frame;
mod metadata;
#[cfg(test)]
mod tests;
mod topics;

use deeptrace_model::{SpanStatus, Transport, Value, hash_bytes};

use self::command::{Command, Meaning};
use self::fields::Fields;
use self::frame::{Frame, Front};
use self::topics::Topics;
use crate::asked::{Asked, Named};
use crate::messaging::{Operation, body_size, done};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "pulsar",
    title: "Apache Pulsar (binary protocol)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[6650],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("request id; producer and sequence"),
        errors: "an error answer",
        context: "properties of messages",
        tls: "",
        limits: &[
            "topics of producers and consumers made before the attach are unknown",
            "of a compressed batch no properties are read",
        ],
    },
    recognise,
    parser: || Box::<Pulsar>::default(),
};

fn recognise(head: &Head<'_>) -> Recognition {
    let fits = |side: &Side| {
        head.from.is_none_or(|from| from == *side)
            && frame::fits(head.bytes, *side, head.from.is_some())
    };
    let Some(side) = [Side::Client, Side::Server].into_iter().find(fits) else {
        return Recognition::No;
    };
    let is_first = matches!(head.bytes.get(9), Some(&(command::CONNECT | command::CONNECTED)));
    if is_first { Recognition::Yes(side) } else { Recognition::Maybe(side) }
}

#[derive(Default)]
struct Pulsar {
    /// The client's requests.
    asked: Asked<()>,
    producers: Topics,
    consumers: Topics,
}

impl Parser for Pulsar {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        match Frame::read(input.bytes, input.from, input.is_last) {
            Front::More => Verdict::More,
            Front::NotMine => Verdict::NotMine,
            Front::Frame(frame) => self.frame(&frame, input.from).unwrap_or(Verdict::NotMine),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        frame::fits(bytes, from, true)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            // Ids of producers and consumers are given once: their topics are still right.
            Side::Client => self.asked.lost_requests(),
            Side::Server => self.asked.lost_answers(),
        }
        None
    }
}

impl Pulsar {
    /// `None` if a field that must be there is not.
    fn frame(&mut self, frame: &Frame<'_>, from: Side) -> Option<Verdict> {
        let (command, fields) = (frame.command, frame.fields);
        Some(match command.meaning {
            Meaning::Other => Verdict::Skip(frame.len),
            Meaning::Closes if from == Side::Server => Verdict::Skip(frame.len),
            Meaning::Closes => self.ask(frame, b"", fields.number(2)?),
            Meaning::Asks { id, topic } => {
                let topic = fields.bytes(topic).unwrap_or_default();
                match command.number {
                    command::PRODUCER => self.producers.name(fields.number(2)?, topic),
                    command::SUBSCRIBE => self.consumers.name(fields.number(4)?, topic),
                    _ => {}
                }
                self.ask(frame, topic, fields.number(id)?)
            }
            Meaning::Sends => self.send(frame)?,
            Meaning::Delivers => self.deliver(frame)?,
            Meaning::Acknowledges => self.acknowledge(frame)?,
            Meaning::Answers { id, error, message } => {
                let id = fields.number(id)?;
                let draft = answer::response(fields, error, message);
                if id == u64::MAX {
                    // The server does not know to what.
                    return Some(done(frame.len, answer::unasked(draft)));
                }
                self.answer(frame, request_stream(id), draft)
            }
            Meaning::Receipt => {
                let number = send_stream(fields)?;
                let mut draft = answer::response(fields, 0, 0);
                answer::message_id(&mut draft, fields.bytes(3));
                self.answer(frame, number, draft)
            }
            Meaning::Refusal => {
                let number = send_stream(fields)?;
                self.answer(frame, number, answer::response(fields, 3, 4))
            }
        })
    }

    fn ask(&mut self, frame: &Frame<'_>, topic: &[u8], id: u64) -> Verdict {
        let mut draft = Draft::request("");
        draft.stream = request_stream(id);
        self.asked.ask(draft.stream, ());
        describe(&mut draft, frame.command, topic);
        done(frame.len, draft)
    }

    fn send(&mut self, frame: &Frame<'_>) -> Option<Verdict> {
        let mut draft = Draft::request("");
        draft.stream = send_stream(frame.fields)?;
        self.asked.ask(draft.stream, ());
        tell_topic(&mut draft, frame, self.producers.get(frame.fields.number(1)?));
        tell_message(&mut draft, frame);
        if let Some(count) = frame.fields.number(3).filter(|count| *count > 1) {
            let count = Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
            draft.attributes.push(("messaging.batch.message_count".into(), count));
        }
        Some(done(frame.len, draft))
    }

    fn deliver(&self, frame: &Frame<'_>) -> Option<Verdict> {
        let mut draft = Draft::one_way("");
        tell_topic(&mut draft, frame, self.consumers.get(frame.fields.number(1)?));
        answer::message_id(&mut draft, frame.fields.bytes(2));
        tell_message(&mut draft, frame);
        Some(done(frame.len, draft))
    }

    fn acknowledge(&mut self, frame: &Frame<'_>) -> Option<Verdict> {
        let mut draft = match frame.fields.number(8) {
            Some(id) => {
                let mut draft = Draft::request("");
                draft.stream = request_stream(id);
                self.asked.ask(draft.stream, ());
                draft
            }
            None => Draft::one_way(""),
        };
        tell_topic(&mut draft, frame, self.consumers.get(frame.fields.number(1)?));
        answer::message_id(&mut draft, frame.fields.bytes(3));
        Some(done(frame.len, draft))
    }

    fn answer(&mut self, frame: &Frame<'_>, number: u64, mut draft: Draft) -> Verdict {
        draft.stream = number;
        let is_waiting =
            frame.command.number == command::PRODUCER_SUCCESS && frame.fields.number(6) == Some(0);
        if is_waiting && self.asked.get(number).is_some() {
            // The producer is in line for its turn; another answer follows.
            draft.interim = true;
            return done(frame.len, draft);
        }
        match self.asked.answer(number) {
            Named::To { skips, .. } => draft.skips = skips,
            Named::Early => {}
            Named::Stray => return Verdict::Stray(frame.len),
        }
        done(frame.len, draft)
    }
}

/// `Draft::stream` of what is asked with a request id: even, and never zero.
fn request_stream(id: u64) -> u64 {
    id.wrapping_add(1).wrapping_mul(2).max(2)
}

/// `Draft::stream` of a message that is sent: odd.
fn send_stream(fields: Fields<'_>) -> Option<u64> {
    let (producer, sequence) = (fields.number(1)?, fields.number(2)?);
    Some(hash_bytes(&[producer.to_be_bytes(), sequence.to_be_bytes()].concat()) | 1)
}

/// Gives name and attributes; a partition is told apart from its topic.
fn describe(draft: &mut Draft, command: &Command, topic: &[u8]) {
    let (name, kind) = (command.name, command.kind());
    let (base, partition) = topics::partition(topic);
    Operation { system: "pulsar", name, kind, separator: '/' }.describe(draft, base);
    if let Some(partition) = partition {
        let partition = String::from_utf8_lossy(partition).into_owned();
        draft.attributes.push(("messaging.destination.partition.id".into(), partition.into()));
    }
}

fn tell_topic(draft: &mut Draft, frame: &Frame<'_>, topic: Option<&[u8]>) {
    describe(draft, frame.command, topic.unwrap_or_default());
    if topic.is_none() {
        draft.unknown.push("messaging.destination.name");
    }
}

/// What metadata tell: trace context, and what is left for the payload.
fn tell_message(draft: &mut Draft, frame: &Frame<'_>) {
    if let Some(found) = metadata::read(frame.rest, frame.rest_len) {
        draft.trace_context = found.trace;
        body_size(draft, found.payload_len as u64);
    }
    draft.status = SpanStatus::Unset;
}
