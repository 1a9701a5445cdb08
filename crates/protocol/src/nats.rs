//! NATS client protocol (<https://docs.nats.io/reference/reference-protocols/nats-protocol>), with
//! headers (ADR-4) and what JetStream makes of it.
//!
//! Publications are one-way, as are deliveries. A message that asks for a reply into an inbox is a
//! request, in either direction; the message to that inbox, in the other direction, is its response.
//! Inboxes are used once, so a hash of their subjects tells exchanges apart. A reply subject is an
//! inbox if it has the usual prefix, or the client was seen to subscribe to it.
//!
//! What JetStream delivers is one-way, and so are acknowledgements (one may settle many) and what
//! pulls messages (they come on subjects of their own). `+OK` of verbose clients, subscriptions,
//! pings, `INFO` and `CONNECT`, with its secrets, are passed over; `-ERR` is one-way.
//!
//! Bias: who only listens to requests is taken for one that does not answer them.

mod command;
mod header;
mod inbox;
#[cfg(test)]
mod tests;

use deeptrace_model::{SpanStatus, Transport};

use self::command::{Command, Front, Message};
use self::header::Headers;
use self::inbox::{Inboxes, stream};
use crate::asked::{Asked, Named};
use crate::messaging::{Operation, body_size, done, fail};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "nats",
    title: "NATS (client protocol, with JetStream)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[4222],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("reply inbox"),
        errors: "-ERR, no responders, an error of JetStream",
        context: "headers",
        tls: "",
        limits: &["who only listens to requests is taken for one that does not answer them"],
    },
    recognise,
    parser: || Box::<Nats>::default(),
};

/// Bytes of headers and payload that are waited for.
const WANTED_MAX: usize = 4 * 1024;

fn recognise(head: &Head<'_>) -> Recognition {
    let (guess, side) = match head.bytes {
        bytes if command::is_info(bytes) => (Recognition::Yes(Side::Server), Side::Server),
        bytes if command::is_connect(bytes) => (Recognition::Yes(Side::Client), Side::Client),
        bytes if command::carries_message(bytes, Side::Client) => {
            (Recognition::Maybe(Side::Client), Side::Client)
        }
        bytes if command::carries_message(bytes, Side::Server) => {
            (Recognition::Maybe(Side::Server), Side::Server)
        }
        _ => return Recognition::No,
    };
    if !head.may_be_from(side) { Recognition::No } else { guess }
}

#[derive(Default)]
struct Nats {
    /// For the direction of the requests.
    asked: [Asked<()>; 2],
    inboxes: Inboxes,
}

impl Parser for Nats {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let (command, len) = match command::read(input.bytes, input.from) {
            Front::Command(command, len) => (command, len),
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        let message = match command {
            Command::Other => return Verdict::Skip(len as u64),
            Command::Subscribe(subject) => {
                self.inboxes.subscribe(subject);
                return Verdict::Skip(len as u64);
            }
            Command::Error(text) => return done(len as u64, error(text)),
            Command::Message(message) => message,
        };
        let rest = &input.bytes[len..];
        let body = &rest[..rest.len().min(message.size)];
        if rest.len() < message.size.min(WANTED_MAX) && !input.is_last {
            return Verdict::More;
        }
        if rest
            .get(message.size..)
            .is_some_and(|end| !b"\r\n".starts_with(&end[..end.len().min(2)]))
        {
            return Verdict::NotMine;
        }
        let whole = (len + message.size + 2) as u64;
        let headers = Headers::read(&body[..body.len().min(message.head_len)]);
        let payload = body.get(message.head_len..).unwrap_or_default();
        self.message(&message, &headers, payload, input.from, whole)
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        matches!(command::read(bytes, from), Front::Command(..))
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        self.asked[from as usize].lost_requests();
        self.asked[from.opposite() as usize].lost_answers();
        None
    }
}

impl Nats {
    fn message(
        &mut self,
        message: &Message<'_>,
        headers: &Headers<'_>,
        payload: &[u8],
        from: Side,
        len: u64,
    ) -> Verdict {
        let is_inbox = self.inboxes.contains(message.subject);
        if is_inbox {
            let number = stream(from.opposite(), message.subject);
            let asked = &mut self.asked[from.opposite() as usize];
            // Replies may be given on another connection than the one on which they were asked for.
            if from == Side::Server || asked.get(number).is_some() {
                let skips = match asked.answer(number) {
                    Named::To { skips, .. } => skips,
                    Named::Early => false,
                    Named::Stray => return Verdict::Stray(len),
                };
                let mut draft = Draft::response(SpanStatus::Ok);
                (draft.stream, draft.skips) = (number, skips);
                header::judge(&mut draft, headers, payload);
                return done(len, draft);
            }
        }
        let asks = message.reply.filter(|reply| {
            self.inboxes.contains(reply) && !message.subject.starts_with(inbox::PULL)
        });
        let mut draft = match asks {
            Some(reply) => {
                let mut draft = Draft::request("");
                draft.stream = stream(from, reply);
                self.asked[from as usize].ask(draft.stream, ());
                draft
            }
            None => Draft::one_way(""),
        };
        describe(&mut draft, message, from, asks.is_some());
        if is_inbox {
            draft.name = format!("{} (temporary)", operation(from, false).name).into();
            draft.attributes.push(("messaging.destination.temporary".into(), true.into()));
        }
        body_size(&mut draft, message.size.saturating_sub(message.head_len) as u64);
        draft.trace_context = headers.trace.context();
        done(len, draft)
    }
}

/// What `from` does.
fn operation(from: Side, is_request: bool) -> Operation {
    let (name, kind) = match (from, is_request) {
        (Side::Client, true) => ("request", "send"),
        (Side::Client, false) => ("publish", "send"),
        (Side::Server, true) => ("request", "receive"),
        (Side::Server, false) => ("deliver", "receive"),
    };
    Operation { system: "nats", name, kind, separator: '.' }
}

fn describe(draft: &mut Draft, message: &Message<'_>, from: Side, is_request: bool) {
    match inbox::acknowledged(message.subject).filter(|_| from == Side::Client) {
        Some((stream, consumer)) => {
            let ack = Operation { system: "nats", name: "ack", kind: "settle", separator: '.' };
            ack.describe(draft, stream);
            let consumer = String::from_utf8_lossy(consumer).into_owned();
            draft.attributes.push(("messaging.consumer.group.name".into(), consumer.into()));
        }
        None => operation(from, is_request).describe(draft, message.subject),
    }
}

/// `-ERR 'Permissions Violation for Publish to "a"'`: the words up to what differs are the type.
fn error(text: &str) -> Draft {
    let mut draft = Draft::one_way("");
    Operation { system: "nats", name: "error", kind: "", separator: '.' }.describe(&mut draft, b"");
    let kind = text.split(['"', '\'', ':']).next().unwrap_or(text);
    let kind = kind.split(" for ").next().unwrap_or(kind).trim();
    fail(&mut draft, kind, text);
    draft
}
