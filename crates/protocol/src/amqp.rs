//! AMQP 0-9-1 (with RabbitMQ's extensions) and AMQP 1.0 (OASIS, October 2012), which share a port and
//! little else. The header that opens a connection tells which it is, else the frames do.
//!
//! Messages are one-way: what is published or transferred makes a producer's span where it is sent and
//! a consumer's where it is received. A confirm may stand for any number of messages, so it is not
//! paired with them; that a message was refused is told apart. In 0-9-1 the methods that ask are answered
//! in their order on each channel; a close answers what it complains of. In 1.0 all but transfers,
//! outcomes and errors is taken for the upkeep of links.
//!
//! Assumed: 0-9-1 is RabbitMQ's (`messaging.system`), as OpenTelemetry has no other name for it.

mod classic;
mod content;
mod frame;
mod method;
mod one;
mod sections;
mod told;
mod value;

use deeptrace_model::Transport;

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "amqp",
    title: "AMQP 0-9-1 (RabbitMQ) and 1.0",
    transports: &[Transport::Tcp],
    ports: &[5672],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::Mixed("in order on each channel; messages are one-way"),
        errors: "a close with a code; a message that is returned or refused",
        context: "headers of messages (0-9-1), application properties (1.0)",
        tls: "the protocol header of AMQP 1.0",
        limits: &[
            "confirms are not paired with what was published: one may stand for many",
            "of 1.0 only transfers, outcomes and errors are told",
        ],
    },
    recognise,
    parser: || Box::<Amqp>::default(),
};

/// Bytes of a frame that are read.
const WINDOW: usize = 16 * 1024;
/// Bytes of names that are told.
const TEXT_MAX: usize = 256;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Classic,
    One,
    /// What follows is not ours.
    Tls,
}

impl Version {
    /// By the header that opens a connection (0-9-1 §2.3.1, 1.0 part 2 §2.2).
    fn of_header(header: &[u8]) -> Option<Self> {
        match header.strip_prefix(b"AMQP")? {
            [0, 0, 9, 1] | [1, 1, 0, 9] | [1, 1, 8, 0] => Some(Self::Classic),
            [0 | 3, 1, 0, 0] => Some(Self::One),
            [2, 1, 0, 0] => Some(Self::Tls),
            _ => None,
        }
    }
}

fn recognise(head: &Head<'_>) -> Recognition {
    match head.bytes.first() {
        Some(b'A') => match head.bytes.get(..8).and_then(Version::of_header) {
            // In 1.0 both sides send it, the client first.
            Some(_) => Recognition::Yes(head.from.unwrap_or(Side::Client)),
            None => Recognition::No,
        },
        Some(0) => one::recognise(head),
        _ => classic::recognise(head),
    }
}

#[derive(Default)]
struct Amqp {
    version: Option<Version>,
    classic: classic::Classic,
    one: one::One,
}

impl Parser for Amqp {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let version = match input.bytes.first() {
            _ if self.version == Some(Version::Tls) => return Verdict::Switch,
            None => return Verdict::More,
            Some(b'A') => return self.header(input.bytes),
            Some(0) => Version::One,
            Some(_) => Version::Classic,
        };
        if self.version.is_some_and(|known| known != version) {
            return Verdict::NotMine;
        }
        match version {
            Version::One => self.one.parse(&input),
            _ => self.classic.parse(&input),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match bytes.first() {
            Some(b'A') => bytes.get(..8).and_then(Version::of_header).is_some(),
            Some(0) => self.version != Some(Version::Classic) && one::is_start(bytes),
            _ => self.version != Some(Version::One) && classic::is_start(from, bytes),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let (classic, one) = (self.classic.lost(from), self.one.lost(from));
        classic.or(one)
    }

    fn quiet(&mut self) {
        self.classic.quiet();
    }
}

impl Amqp {
    fn header(&mut self, bytes: &[u8]) -> Verdict {
        let Some(header) = bytes.get(..8) else {
            return if b"AMQP".starts_with(&bytes[..bytes.len().min(4)]) {
                Verdict::More
            } else {
                Verdict::NotMine
            };
        };
        match Version::of_header(header) {
            Some(version) => {
                self.version = Some(version);
                Verdict::Skip(8)
            }
            None => Verdict::NotMine,
        }
    }
}

/// Bytes as bounded text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]).into_owned()
}

/// Whether a name was made by a machine for one use, and so is kept out of names of spans.
fn is_temporary(name: &str) -> bool {
    const NAME_MAX: usize = 64;
    name.starts_with("amq.") || name.len() > NAME_MAX
}

fn attribute(draft: &mut Draft, key: &'static str, value: &'static str) {
    draft.attributes.push((key.into(), value.into()));
}

#[cfg(test)]
mod tests;
