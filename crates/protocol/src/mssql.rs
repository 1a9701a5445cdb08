//! Microsoft SQL Server's tabular data stream, TDS 7.0 to 8.0 ([MS-TDS]), with sessions side by side on
//! one connection (MARS, [MC-SMP]).
//!
//! A message is one or more packets, the last of which says so. One request is one message of the
//! client, its response one of the server: requests are answered one after the other, in each
//! session. A login is a request of which no bytes are kept; what comes before it (`PRELOGIN`) is
//! nobody's work. Of a response the first bytes are walked token by token; of one that is longer,
//! the end is read backwards from its last token, so that an error behind many rows is seen.
//!
//! TLS begins inside packets. What follows it is no longer ours, unless both sides agreed to hide
//! only the login.

mod collect;
mod lane;
mod packet;
mod request;
mod response;
mod rpc;
mod session;
mod token;
mod types;

use std::collections::BTreeMap;

use deeptrace_model::Transport;

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use lane::Lane;
use packet::{Front, Packet, Smp};
use session::Session;

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "mssql",
    title: "Microsoft SQL Server (TDS 7.0 to 8.0)",
    transports: &[Transport::Tcp],
    ports: &[1433],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::Mixed("in order, in each session of MARS"),
        errors: "ERROR",
        context: "comments of SQL (sqlcommenter)",
        tls: "PRELOGIN",
        limits: &[
            "TLS inside packets is not read, its plaintext neither",
            "texts of statements prepared before the attach are unknown",
        ],
    },
    recognise,
    parser: || Box::<MsSql>::default(),
};

/// Sessions of a connection that are followed.
const LANES_MAX: usize = 256;

fn recognise(head: &Head<'_>) -> Recognition {
    head.judge(request::recognise, response::recognise)
}

#[derive(Default)]
struct MsSql {
    session: Session,
    lane: Lane,
    /// Sessions by their numbers.
    lanes: BTreeMap<u16, Lane>,
}

impl MsSql {
    /// A packet of a session: another one inside, or something about the session.
    fn smp(&mut self, smp: &Smp, input: &Input<'_>) -> Verdict {
        if smp.is_fin() {
            self.lanes.remove(&smp.id);
        }
        if !self.lanes.contains_key(&smp.id) && self.lanes.len() >= LANES_MAX {
            self.lanes.pop_first();
        }
        if smp.is_syn() {
            self.lanes.insert(smp.id, Lane::new(smp.id, true));
        }
        if !smp.has_data() {
            return Verdict::Skip(smp.len);
        }
        let lane = self.lanes.entry(smp.id).or_insert_with(|| Lane::new(smp.id, false));
        let inside = Input { bytes: &input.bytes[Smp::HEADER..], ..*input };
        match Packet::read(inside.bytes) {
            Front::Packet(packet) if packet.len + Smp::HEADER as u64 == smp.len => {
                lane.parse(&packet, Smp::HEADER, &inside, &mut self.session)
            }
            Front::More if !input.is_last => Verdict::More,
            _ => Verdict::NotMine,
        }
    }

    fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.lane).chain(self.lanes.values_mut())
    }
}

impl Parser for MsSql {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        match Smp::read(input.bytes) {
            Front::Packet(smp) => return self.smp(&smp, &input),
            Front::More => return Verdict::More,
            Front::NotMine => {}
        }
        if let Some(verdict) = self.session.hidden(&input, &mut self.lane) {
            return verdict;
        }
        match Packet::read(input.bytes) {
            Front::Packet(packet) => self.lane.parse(&packet, 0, &input, &mut self.session),
            Front::More => Verdict::More,
            Front::NotMine => Verdict::NotMine,
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        let (lane, bytes) = match Smp::read(bytes) {
            Front::Packet(smp) if !smp.has_data() => return true,
            Front::Packet(smp) => (self.lanes.get(&smp.id), &bytes[Smp::HEADER..]),
            _ => (Some(&self.lane), bytes),
        };
        match from {
            Side::Client => request::is_start(bytes),
            Side::Server => lane.is_some_and(|lane| lane.may_be_answered(bytes)),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let drafts: Vec<Draft> = self.lanes().filter_map(|lane| lane.lost(from)).collect();
        drafts.into_iter().next()
    }

    fn quiet(&mut self) {
        self.lanes().for_each(Lane::quiet);
    }
}

#[cfg(test)]
mod tests;
