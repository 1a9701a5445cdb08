//! MySQL's and MariaDB's client/server protocol 4.1 (MySQL internals, "Client/Server Protocol";
//! MariaDB, "Client/Server Protocol").
//!
//! One request is one command, its response everything up to the last `OK`, `ERR` or `EOF` of it:
//! all result sets of several statements are one response. What logs in is a request too, of which
//! no bytes are kept. `COM_PING` is nobody's work and passed over, like what asks for no answer.
//!
//! What an answer is made of is told by itself, so that it can be read when capability flags were
//! sent before the agent came: `EOF` has five bytes and the `OK` in its place seven or more, column
//! definitions begin with their catalogue. Bias: commands before 4.1 are not looked for.
//!
//! With compression (zlib or zstd) only frames are read that are short enough to be sent as they
//! are: a longer query is unknown, and a response is known as far as its first frame.

mod client;
mod command;
mod compressed;
mod login;
mod packet;
mod parameters;
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
    name: "mysql",
    title: "MySQL and MariaDB (client/server protocol 4.1)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[3306, 4000, 6033],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "ERR",
        context: "comments of SQL (sqlcommenter), query attributes",
        tls: "the capability SSL",
        limits: &[
            "of compressed frames only what was too short to be compressed is read",
            "texts of statements prepared before the attach are unknown",
        ],
    },
    recognise,
    parser: || Box::<MySql>::default(),
};

fn recognise(head: &Head<'_>) -> Recognition {
    head.judge(client::recognise, server::recognise)
}

#[derive(Default)]
struct MySql {
    session: Session,
    client: Client,
    server: Server,
}

impl Parser for MySql {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        if self.session.is_encrypted {
            return Verdict::Switch;
        }
        match input.from {
            Side::Client => self.client.parse(&input, &mut self.session),
            Side::Server => self.server.parse(&input, &mut self.session),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match (from, self.session.is_compressed) {
            (_, true) => compressed::is_start(from, bytes),
            (Side::Client, _) => client::is_start(bytes),
            (Side::Server, _) => server::is_start(bytes),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => self.client.lost(&mut self.session),
            Side::Server => self.server.lost(&mut self.session),
        }
    }
}

#[cfg(test)]
mod tests;
