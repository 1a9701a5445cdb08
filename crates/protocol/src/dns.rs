//! DNS over UDP and TCP (RFC 1035, EDNS of RFC 6891). The stream is the transaction's id and, above
//! it, a hash of the question, which the answer repeats: ids of several askers on one socket are
//! the same by chance, and an asker that is not answered uses its own again.
//!
//! The answer's code is told as `dns.response_code`. NXDOMAIN is an answer like any other and no
//! error: resolvers ask for names that do not exist all day, by their search list. What says that
//! the question could not be answered (SERVFAIL, REFUSED, …) is. Of a zone transfer, which is
//! answered by many messages, the first counts as the response. Multicast DNS, LLMNR and NetBIOS
//! names look alike, follow other rules, and are not claimed.

mod message;
mod name;

use std::collections::VecDeque;

use deeptrace_model::{SpanStatus, Text, Transport, Value, hash_bytes};

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use message::{Message, opcode_name, type_name};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "dns",
    title: "DNS (RFC 1035) over UDP and TCP",
    transports: &[Transport::Udp, Transport::Tcp],
    ports: &[53],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("transaction id and question"),
        errors: "SERVFAIL, REFUSED and the like; NXDOMAIN is an answer",
        context: "",
        tls: "",
        limits: &["multicast DNS is left out", "of a zone transfer the first message counts"],
    },
    recognise,
    parser: || Box::<Dns>::default(),
};

/// Bytes of a message over TCP that are looked at.
const WINDOW: usize = 4096;
/// Questions that are remembered for answers that do not repeat them.
const ASKED_MAX: usize = 256;
/// mDNS, LLMNR, NetBIOS name service.
const FOREIGN_PORTS: [u16; 3] = [5353, 5355, 137];

fn recognise(head: &Head<'_>) -> Recognition {
    if head.server_port.is_some_and(|port| FOREIGN_PORTS.contains(&port)) {
        return Recognition::No;
    }
    let is_stream = head.transport.is_stream();
    let found = if is_stream { framed(head) } else { Message::read(head.bytes, head.call_len) };
    let Some(message) = found.filter(Message::is_believable) else { return Recognition::No };
    let side = if message.is_response { Side::Server } else { Side::Client };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    // Multicast DNS on a socket whose port is not known: no id, and nobody is asked to recurse.
    if message.id == 0 && !message.wants_recursion {
        return Recognition::No;
    }
    if message.is_whole { Recognition::Yes(side) } else { Recognition::Maybe(side) }
}

/// The first message of a call over TCP, whose length must fit the call: the last of a call may go
/// on in the next one.
fn framed<'a>(head: &Head<'a>) -> Option<Message<'a>> {
    let (length, bytes) = head.bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let fits = length + 2 == head.call_len || head.call_len > length + 2 + message::HEADER;
    let bytes = &bytes[..bytes.len().min(length)];
    fits.then(|| Message::read(bytes, length)).flatten()
}

#[derive(Default)]
struct Dns {
    /// The zone transfer of which the first message was given as the response.
    transfer: Option<u16>,
    /// Whether messages have a length before them; known with the first.
    is_stream: bool,
    /// Streams of what was asked last.
    asked: VecDeque<u64>,
}

impl Dns {
    fn stream(&mut self, message: &Message<'_>) -> u64 {
        let id = u64::from(message.id);
        let Some((name, code)) = &message.question else {
            let asked = self.asked.iter().rev().find(|stream| *stream & 0xffff == id);
            return asked.copied().unwrap_or(id);
        };
        let question = [name.as_bytes(), &code.to_be_bytes()].concat();
        let stream = (hash_bytes(&question) & 0xffff) << 16 | id;
        if !message.is_response {
            if self.asked.len() >= ASKED_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back(stream);
        }
        stream
    }

    /// Where the message begins, how long it is, and what is there of it.
    fn frame<'a>(&mut self, input: &Input<'a>) -> Result<(u64, usize, &'a [u8]), Verdict> {
        let whole = input.bytes.len();
        // A datagram is all there is; on a stream that is so at its end, and where a call was cut.
        let is_datagram = input.is_last && !self.is_stream;
        if is_datagram && Message::read(input.bytes, whole).is_some_and(|m| m.is_believable()) {
            return Ok((whole as u64, whole, input.bytes));
        }
        let Some((length, bytes)) = input.bytes.split_first_chunk() else {
            return Err(Verdict::More);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length < message::HEADER {
            return Err(Verdict::NotMine);
        }
        let wanted = length.min(WINDOW);
        if bytes.len() < wanted && !input.is_last {
            return Err(Verdict::More);
        }
        Ok((length as u64 + 2, length, &bytes[..bytes.len().min(wanted)]))
    }
}

impl Parser for Dns {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let (len, length, bytes) = match self.frame(&input) {
            Ok(frame) => frame,
            Err(verdict) => return verdict,
        };
        let Some(message) = Message::read(bytes, length) else { return Verdict::NotMine };
        self.is_stream |= len != length as u64;
        if message.is_response != (input.from == Side::Server) {
            return Verdict::NotMine;
        }
        if message.is_response && self.transfer == Some(message.id) {
            return Verdict::Skip(len);
        }
        if !message.is_response {
            self.transfer = self.transfer.filter(|id| *id != message.id);
        } else if matches!(message.question, Some((_, message::AXFR | message::IXFR))) {
            self.transfer = Some(message.id);
        }
        let mut draft = draft(&message);
        draft.stream = self.stream(&message);
        draft.truncated = bytes.len() < length.min(WINDOW);
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        let Some((length, rest)) = bytes.split_first_chunk() else { return false };
        let length = usize::from(u16::from_be_bytes(*length));
        let message = Message::read(&rest[..rest.len().min(length)], length);
        message.is_some_and(|m| m.is_believable() && m.is_response == (from == Side::Server))
    }

    fn lost(&mut self, _: Side) -> Option<Draft> {
        None
    }
}

fn draft(message: &Message<'_>) -> Draft {
    let mut draft = if message.is_response {
        response(message)
    } else {
        let word = match (message.opcode, message.question.as_ref()) {
            (0, Some((_, code))) => type_name(*code),
            (opcode, _) => opcode_name(opcode),
        };
        Draft::request(word.map_or(Text::new_static("DNS"), |word| format!("DNS {word}").into()))
    };
    if let Some((name, code)) = &message.question {
        let mut question = vec![("dns.question.name".into(), Value::from(name.clone()))];
        let word = type_name(*code).map_or_else(|| format!("TYPE{code}"), str::to_owned);
        question.push(("dns.question.type".into(), word.into()));
        draft.attributes.prepend(question);
    }
    draft
}

fn response(message: &Message<'_>) -> Draft {
    // RFC 1035 §4.1.1, RFC 2136, RFC 6891; 3, 6, 7 and 8 are answers.
    let (word, is_error) = match message.code {
        0 => ("NOERROR", false),
        1 => ("FORMERR", true),
        2 => ("SERVFAIL", true),
        3 => ("NXDOMAIN", false),
        4 => ("NOTIMP", true),
        5 => ("REFUSED", true),
        6 => ("YXDOMAIN", false),
        7 => ("YXRRSET", false),
        8 => ("NXRRSET", false),
        9 => ("NOTAUTH", true),
        10 => ("NOTZONE", true),
        16 => ("BADVERS", true),
        _ => ("_OTHER", true),
    };
    let mut draft = Draft::response(if is_error { SpanStatus::Error } else { SpanStatus::Ok });
    draft.attributes.push(("dns.response_code".into(), word.into()));
    if !message.answers.is_empty() {
        draft.attributes.push(("dns.answers".into(), Value::Texts(message.answers.clone())));
    }
    if is_error {
        draft.attributes.push(("error.type".into(), word.into()));
    }
    draft
}

#[cfg(test)]
mod tests;
