//! memcached's text, meta and binary protocols (`doc/protocol.txt` and `protocol-binary.txt` of the
//! server's sources). Answers come in the order of the requests, so a connection is one stream.
//!
//! A quiet get (binary `getq` …, meta commands with the flag `q`) is answered only on a hit. So
//! quiet gets and the next command that is always answered (`noop`, `mn`) are one request, as
//! clients use them, and its response is everything up to that command's answer. Quiet changes and
//! `noreply` ask for no answer and are one-way. A miss is no error; what the server calls an error
//! is. Assumed: meta commands with `q` are ended by `mn`, as the manual asks.

mod binary;
mod command;
mod request;
mod text;

use deeptrace_model::Transport;

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "memcached",
    title: "memcached (text, meta and binary protocols)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[11211],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::InOrder,
        errors: "ERROR, SERVER_ERROR, CLIENT_ERROR, a status of failure",
        context: "",
        tls: "",
        limits: &["quiet gets and what ends them are one span"],
    },
    recognise,
    parser: || Box::<Memcached>::default(),
};

fn recognise(head: &Head<'_>) -> Recognition {
    let guess = match head.bytes.first() {
        Some(0x80 | 0x81) => binary::recognise(head),
        _ => text::recognise(head),
    };
    match guess {
        Recognition::Yes(side) | Recognition::Maybe(side) if !head.may_be_from(side) => {
            Recognition::No
        }
        guess => guess,
    }
}

#[derive(Default)]
struct Memcached {
    text: text::Text,
    binary: binary::Binary,
}

impl Parser for Memcached {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        // No word of the text protocol begins with these.
        match input.bytes.first() {
            Some(0x80 | 0x81) => self.binary.parse(&input),
            Some(_) => self.text.parse(&input),
            None => Verdict::More,
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match bytes.first() {
            Some(0x80 | 0x81) => binary::is_start(from, bytes),
            _ => text::is_start(from, bytes),
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let (text, binary) = (self.text.lost(from), self.binary.lost(from));
        text.or(binary)
    }

    fn quiet(&mut self) {
        self.text.due.quiet();
        self.binary.due.quiet();
    }
}

#[cfg(test)]
mod tests;
