//! Bytes of socket calls into messages: recognition, reassembly, one file per protocol.
//!
//! [`Protocols`] is the stage: it puts calls in order (`reorder.rs`), finds out what a connection
//! speaks (`recognition.rs`), lets the protocol's [`Parser`] cut messages out of each direction
//! (`half.rs`), stamps them with the calls that moved their bytes, and tells capture how much to
//! copy. It does no I/O and reads no clock.
//!
//! # Adding a protocol
//!
//! One file (or a folder of the same name beside it) and two lines in this one:
//!
//! 1. `src/NAME.rs` with `pub const PROTOCOL: Protocol` and a type that implements [`Parser`];
//! 2. `mod NAME;` below, in alphabetical order;
//! 3. `NAME::PROTOCOL,` in [`TABLE`]: rows that can be sure ([`Recognition::Yes`]) before rows
//!    that guess.
//!
//! Then record what real servers say into `corpus/protocol/NAME/*.stream` (the format is described
//! in `tests/table/session/mod.rs`), run the tests with `UPDATE_EXPECT=1`, and read what was
//! written beside it. Every test, the fuzz target (`fuzz/`) and the bench loop over the table.
#![forbid(unsafe_code)]

mod connection;
mod connections;
mod counters;
mod dns;
mod due;
mod half;
mod http;
mod memcached;
mod mysql;
mod open_message;
mod parser;
mod payloads;
mod postgresql;
mod protocols;
mod recognition;
mod redis;
mod reorder;
mod sql;
mod template;
mod trace_context;

pub use parser::{CopyPolicy, Draft, Head, Input, Parser, Protocol, Recognition, Side, Verdict};
pub use protocols::{Options, Output, Protocols};
pub use template::path_template;
pub use trace_context::TraceHeaders;

/// All protocols, in the order in which they are asked: the sure ones first.
pub const TABLE: &[Protocol] = &[
    // A request or status line leaves no doubt.
    http::PROTOCOL,
    // Lengths that fit to the byte.
    postgresql::PROTOCOL,
    // Statements and column definitions in packets that fit; a greeting.
    mysql::PROTOCOL,
    // A command that is known by its name; answers are only guessed.
    redis::PROTOCOL,
    memcached::PROTOCOL,
    dns::PROTOCOL,
];
