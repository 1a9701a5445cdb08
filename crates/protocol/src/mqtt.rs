//! MQTT 3.1, 3.1.1 and 5.0 (OASIS standards; sections below are those of MQTT 5.0).
//!
//! A publication of quality of service 0 is one-way; others, in either direction, are requests that
//! the receiver answers: `PUBACK`, or `PUBREC` and at last `PUBCOMP` (§4.3; `PUBREL` between them is
//! passed over). Packet identifiers pair them (§2.2.1), each direction having its own. Pings, orderly
//! disconnections and extended authentication are passed over.
//!
//! Bias: who publishes could be either end, so a connection whose ends are not known is recognised by
//! packets that only one of them sends. The version is told when connecting: found later, properties
//! of version 5 are only believed where they fit to the byte and name something.

mod connect;
mod packet;
mod properties;
mod publish;
mod reason;
mod subscribe;
#[cfg(test)]
mod tests;

use deeptrace_model::Transport;

use self::packet::{Front, Kind, Packet};
use self::publish::Aliases;
use crate::asked::{Asked, Named};
use crate::messaging::{Operation, done};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "mqtt",
    title: "MQTT (3.1, 3.1.1, 5.0)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[1883],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("packet id"),
        errors: "a reason code of failure (5.0), a refused connection",
        context: "user properties (5.0)",
        tls: "",
        limits: &[
            "publications of quality 0 are one-way",
            "topic aliases that were made before the attach are unknown",
        ],
    },
    recognise,
    parser: || Box::<Mqtt>::default(),
};

/// `Draft::stream` of the packet that connects: no packet has this identifier.
const CONNECTION: u64 = 0x1_0000;

/// Added to `Draft::stream` where the server publishes: each end has identifiers of its own.
const FROM_SERVER: u64 = 0x2_0000;

/// `Draft::stream` of a request that `asker` sends with the identifier `number`.
fn stream(asker: Side, number: u16) -> u64 {
    let base = if asker == Side::Server { FROM_SERVER } else { 0 };
    base | u64::from(number)
}

fn recognise(head: &Head<'_>) -> Recognition {
    if connect::is_connect(head.bytes) {
        return match head.from {
            Some(Side::Server) => Recognition::No,
            _ => Recognition::Yes(Side::Client),
        };
    }
    let fits = |side: &Side| {
        head.from.is_none_or(|from| from == *side)
            && packet::fits(head.bytes, head.call_len, *side, head.from.is_some())
    };
    match [Side::Client, Side::Server].into_iter().find(fits) {
        Some(side) => Recognition::Maybe(side),
        None => Recognition::No,
    }
}

/// An operation of this protocol.
fn operation(name: &'static str, kind: &'static str) -> Operation {
    Operation { system: "mqtt", name, kind, separator: '/' }
}

/// A version by its level in `CONNECT` (§3.1.2.2).
const VERSION_5: u8 = 5;

#[derive(Default)]
struct Mqtt {
    /// Level of the protocol, where it was seen.
    level: Option<u8>,
    /// For the direction of the requests: which packet answers each.
    asked: [Asked<Kind>; 2],
    /// For each direction: names that topics were given (§3.3.2.3.4).
    aliases: [Aliases; 2],
}

impl Parser for Mqtt {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let packet = match Packet::read(input.bytes, input.from) {
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
            Front::Packet(packet) => packet,
        };
        if !packet.is_enough() && !input.is_last {
            return Verdict::More;
        }
        let verdict = self.packet(&packet, input.from);
        match verdict {
            Some(verdict) => verdict,
            None if packet.is_whole() => Verdict::NotMine,
            None if input.is_last => Verdict::More,
            None if input.bytes.len() > packet::NEEDED_MAX => Verdict::NotMine,
            None => Verdict::More,
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        packet::fits(bytes, usize::MAX, from, true)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        self.asked[from as usize].lost_requests();
        self.asked[from.opposite() as usize].lost_answers();
        self.aliases[from as usize] = Aliases::unseen();
        None
    }
}

impl Mqtt {
    /// What a packet says; `None` if its bytes do not fit, or are not enough.
    fn packet(&mut self, packet: &Packet<'_>, from: Side) -> Option<Verdict> {
        let len = packet.len();
        let is_5 = self.level.map(|level| level == VERSION_5);
        match packet.kind {
            Kind::Connect => {
                let (level, mut draft) = connect::request(packet)?;
                self.level = Some(level);
                draft.stream = CONNECTION;
                self.asked[from as usize].ask(CONNECTION, Kind::Connack);
                Some(done(len, draft))
            }
            Kind::Publish => {
                let aliases = &mut self.aliases[from as usize];
                let draft = publish::draft(packet, is_5, from, aliases)?;
                match packet.quality() {
                    1 => self.asked[from as usize].ask(draft.stream, Kind::Puback),
                    2 => self.asked[from as usize].ask(draft.stream, Kind::Pubcomp),
                    _ => {}
                }
                Some(done(len, draft))
            }
            Kind::Subscribe | Kind::Unsubscribe => {
                let draft = subscribe::request(packet, is_5)?;
                let answer =
                    if packet.kind == Kind::Subscribe { Kind::Suback } else { Kind::Unsuback };
                self.asked[from as usize].ask(draft.stream, answer);
                Some(done(len, draft))
            }
            Kind::Connack | Kind::Puback | Kind::Pubrec | Kind::Pubcomp => {
                let draft = reason::response(packet, is_5, from)?;
                Some(self.answer(packet, draft, from))
            }
            Kind::Suback | Kind::Unsuback => {
                let draft = subscribe::response(packet, is_5)?;
                Some(self.answer(packet, draft, from))
            }
            Kind::Disconnect => Some(match reason::disconnection(packet) {
                Some(draft) => done(len, draft),
                None => Verdict::Skip(len),
            }),
            Kind::Pubrel | Kind::Pingreq | Kind::Pingresp | Kind::Auth => Some(Verdict::Skip(len)),
        }
    }

    /// An answer: to what?
    fn answer(&mut self, packet: &Packet<'_>, mut draft: Draft, from: Side) -> Verdict {
        let (len, number) = (packet.len(), draft.stream);
        let asked = &mut self.asked[from.opposite() as usize];
        let expected = asked.get(number).copied();
        let is_failed = draft.status == deeptrace_model::SpanStatus::Error;
        if packet.kind == Kind::Pubrec && !is_failed {
            // Half the way; with an error it is the end.
            draft.interim = true;
            return match expected {
                Some(Kind::Pubcomp) => done(len, draft),
                _ => Verdict::Skip(len),
            };
        }
        let fits = match expected {
            Some(Kind::Pubcomp) => matches!(packet.kind, Kind::Pubcomp | Kind::Pubrec),
            Some(kind) => kind == packet.kind,
            // It cannot be early: what it answers came before `PUBREL`. Some servers send it after
            // an error.
            None => packet.kind != Kind::Pubcomp,
        };
        if !fits {
            return Verdict::Stray(len);
        }
        match asked.answer(number) {
            Named::To { skips, .. } => draft.skips = skips,
            Named::Early => {}
            Named::Stray => return Verdict::Stray(len),
        }
        done(len, draft)
    }
}
