//! ClickHouse's native protocol over TCP ("Native protocol" in its documentation; the server's
//! `Protocol.h`, `ProtocolDefines.h`).
//!
//! One request is a query with the blocks behind it up to an empty one; its response is everything up
//! to `EndOfStream` or `Exception`. Rows of an `INSERT` are sent after the response began and
//! belong to no message. A login (`Hello`) is a request too, of which no bytes are kept. `Ping` is
//! nobody's work and passed over.
//!
//! Packets have no lengths, and how they are written differs with the revision that both sides said
//! in their hellos. Where those were not seen, all revisions are candidates until the bytes of a
//! query and of its answer leave only some. After a loss only a query, or the first packet of an
//! answer, is a start: answers are given to nobody until both sides are in step again (`due.rs`).
//! Bias: packets in chunks (revision 54470, which must be asked for) are not understood.

mod block;
mod client;
mod column;
mod query;
mod response;
mod server;
mod session;

use deeptrace_model::Transport;

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use client::Client;
use server::Server;
use session::Session;

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "clickhouse",
    title: "ClickHouse (native protocol)",
    transports: &[Transport::Tcp],
    ports: &[9000],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "Exception",
        context: "the query's client info, comments of SQL (sqlcommenter)",
        tls: "",
        limits: &["packets in chunks (revision 54470, which must be asked for) are not understood"],
    },
    recognise,
    parser: || Box::<ClickHouse>::default(),
};

fn recognise(head: &Head<'_>) -> Recognition {
    head.judge(client::recognise, server::recognise)
}

/// Whether a side may have such a revision.
fn is_revision(revision: u64) -> bool {
    (54_032..60_000).contains(&revision)
}

#[derive(Default)]
struct ClickHouse {
    session: Session,
    client: Client,
    server: Server,
    /// The client asks on, so the open response is over.
    is_overtaken: bool,
}

impl Parser for ClickHouse {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        match input.from {
            Side::Client => {
                let asked = self.session.asked;
                let verdict = self.client.parse(&input, &mut self.session);
                self.is_overtaken |= self.session.asked != asked && self.server.is_known_open();
                verdict
            }
            Side::Server => self.server.parse(&input, &mut self.session),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match from {
            Side::Client => client::is_start(bytes, &self.session),
            Side::Server => server::is_start(bytes, &self.session),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => self.client.lost(&mut self.session),
            Side::Server => {
                let is_overtaken = std::mem::take(&mut self.is_overtaken);
                self.server.lost(&mut self.session, is_overtaken)
            }
        }
    }

    fn is_overtaken(&mut self, from: Side) -> bool {
        from == Side::Server && self.is_overtaken
    }

    fn quiet(&mut self) {
        self.session.due.quiet();
    }
}

#[cfg(test)]
mod tests;
