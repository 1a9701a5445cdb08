//! OpenWire, the protocol of ActiveMQ
//! (<https://activemq.apache.org/components/classic/documentation/openwire-version-2-specification>),
//! in its loose and tight encodings.
//!
//! A command that requires a response is a request, which a `Response` answers by its correlation id;
//! each end counts its commands. Messages and acknowledgements that require none are one-way, as are
//! dispatches; other commands without one are passed over. Of a command only its head is read, and its
//! destination, which comes second at the latest.
//!
//! Destinations may be told once and then by a number: found later, they are unknown. Tight encoding
//! shows in each command: it begins with a length, which is never zero, where loose encoding has the
//! upper byte of a number. Assumed: frames have their size before them, numbers of commands are below
//! 2^24 until loose encoding was seen, and an end names less than 16383 things, after which it would
//! use their numbers again.

mod command;
mod error;
mod marshal;
#[cfg(test)]
mod tests;

use deeptrace_model::{SpanStatus, Transport};

use self::command::{Command, Front, Role};
use self::marshal::{Destination, Destinations};
use crate::asked::{Asked, Named};
use crate::messaging::{Operation, done};
use crate::trace_context::TraceHeaders;
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "openwire",
    title: "OpenWire (ActiveMQ)",
    transports: &[Transport::Tcp],
    ports: &[61616],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("command id"),
        errors: "an ExceptionResponse",
        context: "properties of messages",
        tls: "",
        limits: &["destinations that were told before the attach are unknown"],
    },
    recognise,
    parser: || Box::<OpenWire>::default(),
};

fn recognise(head: &Head<'_>) -> Recognition {
    if command::is_hello(head.bytes) {
        // Both ends say this first.
        return head.from.map_or(Recognition::No, Recognition::Yes);
    }
    let fits = |side: &Side| {
        head.from.is_none_or(|from| from == *side) && command::is_certain(head.bytes, *side)
    };
    let side = [Side::Client, Side::Server].into_iter().find(fits);
    side.map_or(Recognition::No, Recognition::Maybe)
}

#[derive(Default)]
struct OpenWire {
    /// For the direction of the requests.
    asked: [Asked<()>; 2],
    /// For each direction.
    destinations: [Destinations; 2],
    /// Loose encoding was seen.
    is_loose: bool,
    /// Whether things are told once and then by a number, where it is known.
    caches: Option<bool>,
}

impl Parser for OpenWire {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        match Command::read(input.bytes, input.from, self.is_loose, input.is_last) {
            Front::More => Verdict::More,
            Front::NotMine => Verdict::NotMine,
            Front::Skip(len) => Verdict::Skip(len),
            Front::Command(command) => {
                self.is_loose |= !command.is_tight;
                self.command(&command, input.from)
            }
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        command::is_hello(bytes) || command::is_certain(bytes, from)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        self.asked[from as usize].lost_requests();
        self.asked[from.opposite() as usize].lost_answers();
        self.destinations[from as usize] = Destinations::default();
        None
    }
}

impl OpenWire {
    fn command(&mut self, command: &Command<'_>, from: Side) -> Verdict {
        let destinations = &mut self.destinations[from as usize];
        let destination = destinations.read(command, &mut self.caches);
        let (name, kind) = match command.role {
            Role::Response => return self.answer(command, from),
            Role::Failure => return done(command.len, error::unasked(command)),
            Role::Other => return Verdict::Skip(command.len),
            Role::Asks(name) if command.is_answered => (name, ""),
            Role::Asks(_) => return Verdict::Skip(command.len),
            Role::Message => ("send", "send"),
            Role::Dispatch => ("deliver", "receive"),
            Role::Ack => ("ack", "settle"),
        };
        let mut draft = match command.is_answered {
            true => {
                let mut draft = Draft::request("");
                draft.stream = stream(from, command.id);
                self.asked[from as usize].ask(draft.stream, ());
                draft
            }
            false => Draft::one_way(""),
        };
        let (known, is_unknown): (&[u8], bool) = match &destination {
            Destination::Name(name) => (name, false),
            Destination::Number => (&[], true),
            Destination::None => (&[], !kind.is_empty()),
        };
        let operation = Operation { system: "activemq", name, kind, separator: '.' };
        operation.describe(&mut draft, known);
        if is_unknown {
            draft.unknown.push("messaging.destination.name");
        }
        if matches!(command.role, Role::Message | Role::Dispatch) {
            draft.trace_context = trace_context(command.fields);
        }
        if command.is_secret() {
            draft.redact.push(command.head_len..usize::MAX);
        }
        done(command.len, draft)
    }

    fn answer(&mut self, command: &Command<'_>, from: Side) -> Verdict {
        let Some((id, mut fields)) = marshal::integer(command.fields) else {
            return Verdict::NotMine;
        };
        let mut draft = Draft::response(SpanStatus::Ok);
        draft.stream = stream(from.opposite(), id);
        if command.is_exception() {
            error::exception(&mut draft, command, &mut fields);
        }
        match self.asked[from.opposite() as usize].answer(draft.stream) {
            Named::To { skips, .. } => draft.skips = skips,
            Named::Early => {}
            Named::Stray => return Verdict::Stray(command.len),
        }
        done(command.len, draft)
    }
}

/// `Draft::stream` of the command `id` that `asker` sent; never zero.
fn stream(asker: Side, id: u32) -> u64 {
    (u64::from(id) + 1) * 2 + asker as u64
}

/// The property `traceparent` among those of a message (a name behind its length, the type of text,
/// a value behind its length).
fn trace_context(fields: &[u8]) -> Option<deeptrace_model::TraceContext> {
    const MARK: &[u8] = b"\x00\x0btraceparent\x09\x00\x37";
    let at = memchr::memmem::find(fields, MARK)? + MARK.len();
    let mut trace = TraceHeaders::default();
    trace.header(b"traceparent", fields.get(at..at + 0x37)?);
    trace.context()
}
