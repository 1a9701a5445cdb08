//! STOMP 1.0, 1.1 and 1.2 (<https://stomp.github.io/stomp-specification-1.2.html>).
//!
//! A frame with the header `receipt` is a request, and the `RECEIPT` (or `ERROR`) that names it
//! answers; so is `CONNECT`, which `CONNECTED` or `ERROR` answers. `SEND`, acknowledgements and
//! transactions without a receipt are one-way, as are `MESSAGE` and an `ERROR` that answers nothing;
//! subscriptions without one are passed over, as are heart-beats. A hash of the receipt tells
//! exchanges apart.
//!
//! Bias: an `ERROR` without a receipt answers a `CONNECT` that waits, and nothing else.

mod frame;
mod header;
#[cfg(test)]
mod tests;

use deeptrace_model::{SpanStatus, Transport, hash_bytes};

use self::frame::{Fit, Frame, Front, Verb};
use crate::asked::{Asked, Named};
use crate::messaging::{Operation, body_size, fail};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "stomp",
    title: "STOMP (1.0, 1.1, 1.2)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[61613],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("receipt"),
        errors: "ERROR",
        context: "headers",
        tls: "",
        limits: &["frames without a receipt are one-way"],
    },
    recognise,
    parser: || Box::<Stomp>::default(),
};

/// `Draft::stream` of the frame that connects; no hash is this.
const CONNECTION: u64 = 1;

fn recognise(head: &Head<'_>) -> Recognition {
    for side in [Side::Client, Side::Server] {
        if !head.may_be_from(side) {
            continue;
        }
        match frame::judge(head.bytes, side) {
            Fit::Sure => return Recognition::Yes(side),
            Fit::Perhaps => return Recognition::Maybe(side),
            Fit::No => {}
        }
    }
    Recognition::No
}

/// What is given out when a frame ends.
#[derive(Debug)]
enum Outcome {
    Give(Box<Draft>),
    /// It answers something that is not known.
    Stray,
    Skip,
}

#[derive(Default)]
struct Stomp {
    asked: Asked<()>,
    /// For each direction: what the frame is that has a body without a length, up to a zero byte.
    open: [Option<Outcome>; 2],
}

impl Parser for Stomp {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        if let Some(outcome) = self.open[input.from as usize].take() {
            return match memchr::memchr(0, input.bytes) {
                Some(end) => conclude(outcome, end as u64 + 1),
                None => self.go_on(outcome, input.bytes.len() as u64, input.from),
            };
        }
        let pause = input.bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        if pause > 0 {
            return Verdict::Skip(pause as u64);
        }
        let frame = match frame::read(input.bytes, input.from) {
            Front::Frame(frame) => frame,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        let end = frame.body_len.map(|body_len| frame.len + body_len);
        if end.and_then(|end| input.bytes.get(end)).is_some_and(|byte| *byte != 0) {
            return Verdict::NotMine;
        }
        let outcome = self.frame(&frame);
        match end {
            Some(end) => conclude(outcome, end as u64 + 1),
            None => self.go_on(outcome, frame.len as u64, input.from),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        frame::judge(bytes, from) != Fit::No
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => self.asked.lost_requests(),
            Side::Server => self.asked.lost_answers(),
        }
        match self.open[from as usize].take() {
            Some(Outcome::Give(draft)) => Some(*draft),
            _ => None,
        }
    }
}

fn conclude(outcome: Outcome, len: u64) -> Verdict {
    match outcome {
        Outcome::Give(draft) => Verdict::Done { len, draft },
        Outcome::Stray => Verdict::Stray(len),
        Outcome::Skip => Verdict::Skip(len),
    }
}

impl Stomp {
    /// `len` bytes belong to a frame whose end is not there.
    fn go_on(&mut self, outcome: Outcome, len: u64, from: Side) -> Verdict {
        let verdict = match &outcome {
            Outcome::Give(draft) => Verdict::Part { len, stream: draft.stream },
            _ => Verdict::Skip(len),
        };
        self.open[from as usize] = Some(outcome);
        verdict
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Outcome {
        match frame.verb {
            Verb::Connect => {
                self.asked.ask(CONNECTION, ());
                let mut draft = Draft::request("");
                draft.stream = CONNECTION;
                operation("connect", "").describe(&mut draft, b"");
                draft.redact = frame.headers.secrets();
                Outcome::Give(Box::new(draft))
            }
            Verb::Connected => self.answer(Draft::response(SpanStatus::Ok), CONNECTION),
            Verb::Receipt => match frame.headers.get("receipt-id") {
                Some(receipt) => self.answer(Draft::response(SpanStatus::Ok), stream(receipt)),
                None => Outcome::Stray,
            },
            Verb::Error => self.error(frame),
            _ => self.told(frame),
        }
    }

    /// A frame that is answered if it has a receipt.
    fn told(&mut self, frame: &Frame<'_>) -> Outcome {
        let receipt = frame.headers.get("receipt").filter(|_| frame.verb != Verb::Message);
        let (name, kind) = frame.verb.operation();
        let mut draft = match receipt {
            Some(receipt) => {
                let mut draft = Draft::request("");
                draft.stream = stream(receipt);
                self.asked.ask(draft.stream, ());
                draft
            }
            None if kind.is_empty() => return Outcome::Skip,
            None => Draft::one_way(""),
        };
        let destination = frame.headers.text("destination").unwrap_or_default();
        operation(name, kind).describe(&mut draft, &destination);
        if let Some(id) = frame.headers.text("message-id") {
            let id = String::from_utf8_lossy(&id).into_owned();
            draft.attributes.push(("messaging.message.id".into(), id.into()));
        }
        if let Some(body_len) = frame.body_len.filter(|_| kind != "settle") {
            body_size(&mut draft, body_len as u64);
        }
        draft.trace_context = frame.headers.trace();
        Outcome::Give(Box::new(draft))
    }

    fn error(&mut self, frame: &Frame<'_>) -> Outcome {
        let message = frame.headers.text("message").unwrap_or_default();
        let message = String::from_utf8_lossy(&message);
        let named = frame.headers.get("receipt-id").map(stream);
        let waits = named.unwrap_or(CONNECTION);
        if self.asked.get(waits).is_some() {
            let mut draft = Draft::response(SpanStatus::Error);
            fail(&mut draft, "ERROR", &message);
            return self.answer(draft, waits);
        }
        let mut draft = Draft::one_way("");
        operation("error", "").describe(&mut draft, b"");
        fail(&mut draft, "ERROR", &message);
        Outcome::Give(Box::new(draft))
    }

    fn answer(&mut self, mut draft: Draft, number: u64) -> Outcome {
        draft.stream = number;
        match self.asked.answer(number) {
            Named::To { skips, .. } => draft.skips = skips,
            Named::Early => {}
            Named::Stray => return Outcome::Stray,
        }
        Outcome::Give(Box::new(draft))
    }
}

fn operation(name: &'static str, kind: &'static str) -> Operation {
    Operation { system: "stomp", name, kind, separator: '/' }
}

/// `Draft::stream` of the frame that asks for `receipt`.
fn stream(receipt: &[u8]) -> u64 {
    hash_bytes(receipt) | 2
}
