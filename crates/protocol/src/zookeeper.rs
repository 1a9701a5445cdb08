//! ZooKeeper's client protocol (`zookeeper.jute` and `ZooDefs` of the server's sources): packets of a
//! length and a record, which begins with the request's number (`xid`) and its operation code.
//!
//! The stream is the `xid`, which the reply repeats. Watches that fire are one-way from the server.
//! The opening of a session, pings, `auth` and the setting of watches after a reconnect are left out:
//! the first and third carry secrets. `exists` on a node that is not there is answered, not failed. A
//! transaction's reply tells its error in its results. Administrators' words of four letters (`ruok`)
//! are no packets and not read. Replies alone, which any protocol with lengths could send, are not
//! believed: a connection that was opened before is known by a request, a ping or a watch.

mod packet;
mod reply;
mod request;

use std::collections::VecDeque;

use deeptrace_model::Transport;

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use packet::{AUTH, Body, Front, Kind, PING, Packet, SET_WATCHES, WATCH_EVENT};
use reply::Asked;

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "zookeeper",
    title: "ZooKeeper (client protocol)",
    transports: &[Transport::Tcp],
    ports: &[2181],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("xid"),
        errors: "an error code, but no node for exists",
        context: "",
        tls: "",
        limits: &["replies alone do not tell the protocol"],
    },
    recognise,
    parser: || Box::<ZooKeeper>::default(),
};

/// Requests that are remembered because their reply is read in their light.
const ASKED_MAX: usize = 1024;

fn recognise(head: &Head<'_>) -> Recognition {
    let reads = |side: Side| {
        let is_wanted = head.may_be_from(side);
        match is_wanted.then(|| Packet::read(head.bytes, side, true)) {
            Some(Front::Packet(packet)) => Some(packet),
            _ => None,
        }
    };
    let fits = |packet: &Packet<'_>| packet.len <= head.call_len as u64;
    if let Some(packet) = reads(Side::Client) {
        return match believe(&packet, head) {
            Some(true) if fits(&packet) => Recognition::Yes(Side::Client),
            Some(_) => Recognition::Maybe(Side::Client),
            None => Recognition::No,
        };
    }
    match reads(Side::Server).filter(fits).map(|packet| packet.kind) {
        Some(Kind::Connect) if head.bytes.len() >= packet::PREFIX + 20 => {
            Recognition::Yes(Side::Server)
        }
        Some(Kind::Reply { xid: PING | WATCH_EVENT, .. }) => Recognition::Yes(Side::Server),
        _ => Recognition::No,
    }
}

/// Whether a client's packet is believed, and whether that is sure.
fn believe(packet: &Packet<'_>, head: &Head<'_>) -> Option<bool> {
    let code = match packet.kind {
        // Its password begins after 28 bytes.
        Kind::Connect => return Some(head.bytes.len() >= packet::PREFIX + 28),
        Kind::Request { xid: PING | AUTH | SET_WATCHES, .. } => return Some(true),
        Kind::Request { code, .. } => code,
        Kind::Reply { .. } => return None,
    };
    let (_, body) = packet::operation(code)?;
    match body {
        // Before the path is there, this may be anybody's numbers.
        Body::Path => (packet.body.get(4) == Some(&b'/')).then_some(true),
        // Of each operation: its code, whether it is the end, and no error.
        Body::Transaction => {
            let is_first =
                packet::int(packet.body, 0).is_some_and(|c| packet::operation(c).is_some());
            (is_first && packet.body.get(4..9) == Some(&[0, 0xff, 0xff, 0xff, 0xff]))
                .then_some(true)
        }
        // Such numbers have many.
        Body::Secret | Body::Other => (packet.len == 12 && head.call_len == 12).then_some(false),
    }
}

#[derive(Default)]
struct ZooKeeper {
    /// Newest last.
    asked: VecDeque<(i32, Asked)>,
}

impl ZooKeeper {
    fn request(&mut self, packet: &Packet<'_>, xid: i32, code: i32) -> Option<Draft> {
        if matches!(xid, PING | AUTH | SET_WATCHES) {
            return None;
        }
        let asked = match packet::operation(code) {
            Some(("exists", _)) => Some(Asked::Exists),
            Some((_, Body::Transaction)) => Some(Asked::Transaction),
            Some((_, Body::Secret)) => Some(Asked::Secret),
            _ => None,
        };
        if let Some(asked) = asked {
            if self.asked.len() >= ASKED_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back((xid, asked));
        }
        Some(request::read(packet, code))
    }

    fn reply(&mut self, packet: &Packet<'_>, xid: i32, error: i32) -> Option<Draft> {
        match xid {
            WATCH_EVENT => return Some(reply::event(packet)),
            PING | AUTH | SET_WATCHES => return None,
            _ => {}
        }
        let at = self.asked.iter().position(|asked| asked.0 == xid);
        let asked = at.and_then(|at| self.asked.remove(at)).map(|asked| asked.1);
        Some(reply::read(packet, error, asked))
    }
}

impl Parser for ZooKeeper {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let packet = match Packet::read(input.bytes, input.from, input.is_last) {
            Front::Packet(packet) => packet,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        let len = packet.len;
        let (draft, xid) = match packet.kind {
            Kind::Connect => (None, 0),
            Kind::Request { xid, code } => (self.request(&packet, xid, code), xid),
            Kind::Reply { xid, error } => (self.reply(&packet, xid, error), xid),
        };
        let Some(mut draft) = draft else { return Verdict::Skip(len) };
        draft.stream = u64::from(xid.cast_unsigned());
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        matches!(Packet::read(bytes, from, true), Front::Packet(_))
    }

    fn lost(&mut self, _: Side) -> Option<Draft> {
        None
    }
}

#[cfg(test)]
mod tests;
