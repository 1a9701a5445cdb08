//! TLS 1.0 to 1.3, only its hand-shake: RFC 8446 (§4.1 hellos, §5 records, §6 alerts), RFC 5246,
//! RFC 6066 §3 (server name), RFC 7301 (application protocol).
//!
//! A hand-shake is one request, the client's hello, and one response. Up to TLS 1.2 the response
//! lasts until the server's `Finished`; TLS 1.3 hides what follows the server's hello, so there it
//! ends with that. A fatal alert before is an error. Everything else is passed over by the lengths
//! of records and never looked at. In the middle of a connection there is no span, but a chain of
//! records is known for what it is, and nothing else takes the connection.
//!
//! Bias: versions before TLS 1.3 that negotiate again do so under encryption, which is not seen.

mod hello;
mod name;
mod record;

use deeptrace_model::{SpanStatus, Transport};

use self::hello::{ClientHello, ServerHello};
use self::record::{Front, Kind, Record, handshake};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "tls",
    title: "TLS 1.0 to 1.3, the hand-shake (RFC 8446, RFC 5246)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[443, 8443],
    copy: CopyPolicy::Head,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "a fatal alert before the end",
        context: "",
        tls: "",
        limits: &[
            "only the hand-shake is told, not what follows",
            "a connection found in its middle is known for what it is and has no span",
        ],
    },
    recognise,
    parser: || Box::<Tls>::default(),
};

/// A fatal alert's level (RFC 5246 §7.2).
const FATAL: u8 = 2;

/// How far the server's answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    /// Its hello is awaited.
    #[default]
    Due,
    /// The hello came, of a version that shows what follows.
    Open,
    /// What is next is `Finished`.
    Finishing,
    /// It is over, or was not seen.
    Over,
}

#[derive(Default)]
struct Tls {
    /// The client's hello was read, or is lost.
    asked: bool,
    /// It is lost: nothing answers it.
    is_astray: bool,
    /// So much came after it that a hello can only be a second one, after a retry.
    is_late: bool,
    answer: Answer,
    /// What the open response says so far.
    response: Option<Box<Draft>>,
    /// The client gave up with this alert.
    refused: Option<u8>,
}

fn recognise(head: &Head<'_>) -> Recognition {
    let (side, is_hello) = match hello::side(head.bytes) {
        Some(side) => (side, true),
        None => (head.from.unwrap_or(Side::Client), false),
    };
    if !head.may_be_from(side) {
        return Recognition::No;
    }
    if is_hello || record::is_chain(head.bytes, head.call_len) {
        Recognition::Yes(side)
    } else {
        Recognition::No
    }
}

impl Parser for Tls {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let record = match Record::read(input.bytes) {
            Front::Is(record) => record,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        match input.from {
            Side::Client => self.client(&record, &input),
            Side::Server => self.server(&record, &input),
        }
    }

    fn is_start(&self, _from: Side, bytes: &[u8]) -> bool {
        hello::side(bytes).is_some() || record::may_be_chain(bytes)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => {
                self.is_astray |= !self.asked;
                self.asked = true;
                None
            }
            Side::Server => {
                self.answer = Answer::Over;
                let mut draft = *self.response.take()?;
                if let Some(alert) = self.refused {
                    fail(&mut draft, alert);
                } else {
                    draft.status = SpanStatus::Unset;
                }
                Some(draft)
            }
        }
    }
}

impl Tls {
    fn client(&mut self, record: &Record<'_>, input: &Input<'_>) -> Verdict {
        if record.kind == Kind::Alert && self.answer != Answer::Over {
            match record.alert(input.is_last) {
                Some(Some((FATAL, alert))) => self.refused = Some(alert),
                Some(_) => {}
                None => return Verdict::More,
            }
        }
        // Clients that say hello again pretend to change the cipher before (RFC 8446 §D.4).
        self.is_late |= record.kind == Kind::ChangeCipher || self.response.is_some();
        let is_known = self.asked && (!self.is_astray || self.is_late);
        if record.kind != Kind::Handshake || is_known {
            return Verdict::Skip(record.len);
        }
        let (message, len, is_cut) = match handshake(input.bytes, input.is_last) {
            Front::Is(whole) => whole,
            Front::More => return Verdict::More,
            // Encrypted, after a loss.
            Front::NotMine => return Verdict::Skip(record.len),
        };
        let Some(hello) = ClientHello::read(&message, is_cut) else {
            return Verdict::Skip(record.len);
        };
        self.asked = true;
        if std::mem::take(&mut self.is_astray) {
            self.answer = Answer::Due;
        }
        let mut draft = hello.draft();
        draft.truncated = is_cut;
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn server(&mut self, record: &Record<'_>, input: &Input<'_>) -> Verdict {
        if self.answer == Answer::Over {
            return Verdict::Skip(record.len);
        }
        match (record.kind, self.answer) {
            (Kind::Alert, Answer::Due | Answer::Open) => self.alert(record, input.is_last),
            (Kind::Handshake, Answer::Due) => self.hello(record, input),
            (Kind::Handshake, Answer::Finishing) => {
                if let Some(draft) = &mut self.response {
                    draft.attributes.push(("tls.established".into(), true.into()));
                }
                self.finish(record.len)
            }
            (Kind::ChangeCipher, Answer::Open) => {
                self.answer = Answer::Finishing;
                self.part(record.len)
            }
            (Kind::Data, _) => {
                // Only after a hand-shake that was not seen.
                self.answer = Answer::Over;
                self.response = None;
                Verdict::Skip(record.len)
            }
            _ => self.part(record.len),
        }
    }

    /// The server gives up, or warns.
    fn alert(&mut self, record: &Record<'_>, is_last: bool) -> Verdict {
        let alert = match record.alert(is_last) {
            Some(Some((FATAL, alert))) => alert,
            Some(_) => return self.part(record.len),
            None => return Verdict::More,
        };
        let draft = self.response.take();
        let mut draft = draft.unwrap_or_else(|| Box::new(Draft::response(SpanStatus::Error)));
        // If the client gave up first, the server's alert only says that it heard.
        fail(&mut draft, self.refused.unwrap_or(alert));
        self.response = Some(draft);
        self.finish(record.len)
    }

    fn hello(&mut self, record: &Record<'_>, input: &Input<'_>) -> Verdict {
        let (message, len, is_cut) = match handshake(input.bytes, input.is_last) {
            Front::Is(whole) => whole,
            Front::More => return Verdict::More,
            Front::NotMine => return self.part(record.len),
        };
        let Some(hello) = ServerHello::read(&message, is_cut) else {
            return self.part(record.len);
        };
        if hello.is_retry {
            // RFC 8446 §4.1.4: the client says hello again; the answer to both is one.
            self.response.get_or_insert_with(|| Box::new(Draft::response(SpanStatus::Unset)));
            return self.part(len);
        }
        let mut draft = hello.draft();
        draft.truncated = is_cut;
        self.response = Some(Box::new(draft));
        if hello.is_hidden() {
            return self.finish(len);
        }
        self.answer = Answer::Open;
        self.part(len)
    }

    /// Bytes of the hand-shake, of which perhaps no message is open.
    fn part(&self, len: u64) -> Verdict {
        match self.response {
            Some(_) if !self.is_astray => Verdict::Part { len, stream: 0 },
            _ => Verdict::Skip(len),
        }
    }

    fn finish(&mut self, len: u64) -> Verdict {
        self.answer = Answer::Over;
        match self.response.take() {
            Some(_) if self.is_astray => Verdict::Stray(len),
            Some(draft) => Verdict::Done { len, draft },
            None => Verdict::Skip(len),
        }
    }
}

/// The hand-shake failed with this alert (RFC 8446 §6.2).
fn fail(draft: &mut Draft, alert: u8) {
    let name = name::alert(alert);
    draft.status = SpanStatus::Error;
    draft.status_message = Some(name.to_string());
    draft.attributes.push(("error.type".into(), name.into()));
    draft.attributes.push(("tls.established".into(), false.into()));
}

#[cfg(test)]
mod tests;
