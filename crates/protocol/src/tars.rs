//! Tars (`RequestF.tars` and the TARS protocol of its documents): a length of four bytes, then a
//! `RequestPacket` or `ResponsePacket` in the TLV coding of Tars (`tars/packet.rs`).
//!
//! The two differ in field 5: a servant's name, or a result. With version 2 and 3 (TUP) a response is
//! a `RequestPacket` too: then only the side tells, and its result is in its status map. A response
//! to request zero is a push of the server and one-way. `tars_ping` is a call like any other.

mod packet;

use deeptrace_model::{MessageRole, Text, Transport};

use crate::remote_call::{self, is_name};
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use packet::{Front, Packet};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "tars",
    title: "Tars (TARS and TUP packets)",
    transports: &[Transport::Tcp],
    ports: &[18993, 10000],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("request id"),
        errors: "a result other than zero",
        context: "context and status maps",
        tls: "",
        limits: &["parameters are not read"],
    },
    recognise,
    parser: || Box::new(Tars),
};

/// Bytes of a message that are looked at.
const WINDOW: usize = 8 * 1024;

/// Who sends a packet.
fn side(packet: &Packet<'_>, from: Option<Side>) -> Option<Side> {
    match packet.servant {
        None => Some(Side::Server),
        Some(_) if packet.is_tup() => from,
        Some(_) => Some(Side::Client),
    }
}

fn recognise(head: &Head<'_>) -> Recognition {
    let Front::Packet(packet) = Packet::read(head.bytes) else { return Recognition::No };
    let Some(side) = side(&packet, head.from) else { return Recognition::No };
    let whole = head.call_len as u64;
    // Another packet may follow, or the rest of this one.
    let fits = packet.len >= whole || packet.servant.is_some();
    if !head.may_be_from(side) || !fits {
        return Recognition::No;
    }
    if packet.servant.is_some() || packet.len == whole && packet.is_complete {
        Recognition::Yes(side)
    } else {
        Recognition::Maybe(side)
    }
}

/// Keeps nothing: ids and lengths are in every packet.
struct Tars;

impl Parser for Tars {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let there = &input.bytes[..input.bytes.len().min(WINDOW)];
        let packet = match Packet::read(there) {
            Front::Packet(packet) => packet,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        if side(&packet, Some(input.from)) != Some(input.from) {
            return Verdict::NotMine;
        }
        let most = usize::try_from(packet.len).map_or(WINDOW, |len| len.min(WINDOW));
        if there.len() < most && !input.is_last {
            return Verdict::More;
        }
        let mut draft = match (input.from, packet.servant) {
            (Side::Client, Some(servant)) => request(&packet, servant),
            _ => response(&packet),
        };
        draft.stream = u64::from(packet.id.cast_unsigned());
        draft.truncated = there.len() < most;
        Verdict::Done { len: packet.len, draft: Box::new(draft) }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match Packet::read(bytes) {
            Front::Packet(packet) => side(&packet, Some(from)) == Some(from),
            Front::More | Front::NotMine => false,
        }
    }

    fn lost(&mut self, _: Side) -> Option<Draft> {
        None
    }
}

fn request(packet: &Packet<'_>, servant: &[u8]) -> Draft {
    let function = packet.function.filter(|name| is_name(name)).unwrap_or_default();
    let [servant, function] = [servant, function].map(String::from_utf8_lossy);
    let mut draft = remote_call::request("tars", &servant, &function);
    draft.trace_context = packet.trace_context;
    if packet.is_one_way {
        draft.role = MessageRole::OneWay;
    }
    draft
}

fn response(packet: &Packet<'_>) -> Draft {
    if packet.id == 0 && packet.servant.is_none() {
        let mut draft = remote_call::request("tars", "", "");
        draft.role = MessageRole::OneWay;
        draft.name = Text::new_static("tars push");
        return draft;
    }
    let outcome = match packet.result {
        0 => Ok(()),
        code => {
            let kind = result_name(code).map_or_else(|| code.to_string().into(), Text::new_static);
            Err((kind, packet.reason.map(remote_call::message)))
        }
    };
    let mut draft = remote_call::response(outcome);
    remote_call::set_status_code(&mut draft, packet.result.to_string());
    draft
}

/// Results of the framework (`BaseF.tars`); others are the application's.
fn result_name(code: i64) -> Option<&'static str> {
    Some(match code {
        -1 => "TARSSERVERDECODEERR",
        -2 => "TARSSERVERENCODEERR",
        -3 => "TARSSERVERNOFUNCERR",
        -4 => "TARSSERVERNOSERVANTERR",
        -5 => "TARSSERVERRESETGRID",
        -6 => "TARSSERVERQUEUETIMEOUT",
        -7 => "TARSINVOKETIMEOUT",
        -8 => "TARSPROXYCONNECTERR",
        -9 => "TARSSERVEROVERLOAD",
        -10 => "TARSADAPTERNULL",
        -11 => "TARSINVOKEBYINVALIDESET",
        -12 => "TARSCLIENTDECODEERR",
        -13 => "TARSSENDREQUESTERR",
        -99 => "TARSSERVERUNKNOWNERR",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
