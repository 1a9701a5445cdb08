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

mod amqp;
mod asked;
mod brpc;
mod cassandra;
mod clickhouse;
mod connection;
mod counters;
mod dns;
mod dubbo;
mod due;
mod fastcgi;
mod grpc;
mod half;
mod handler;
mod http;
mod http2;
mod kafka;
mod ldap;
mod memcached;
mod messaging;
mod metadata;
mod mongodb;
mod mqtt;
mod mssql;
mod mysql;
mod nats;
mod open_message;
mod openwire;
mod parser;
mod payloads;
mod postgresql;
mod protocols;
mod pulsar;
mod reader;
mod recognition;
mod redactor;
mod redis;
mod remote_call;
mod reorder;
mod rocketmq;
mod rows;
mod shared_names;
mod smtp;
mod sofarpc;
mod someip;
mod sql;
mod stomp;
mod tars;
mod template;
mod thrift;
mod tls;
mod trace_context;
mod web;
mod websocket;
mod zmtp;
mod zookeeper;

pub use deeptrace_redact::{Form, Rules};
pub use handler::{HANDLERS_MAX, Handler, HandlerError};
pub use metadata::ProtocolMetadata;
pub use parser::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};
pub use protocols::{Options, Output, Protocols};
pub use shared_names::SharedNames;
pub use template::path_template;
pub use trace_context::TraceHeaders;

/// All protocols, in the order in which they are asked: the sure ones first.
pub const TABLE: &[Protocol] = &[
    // A request or status line leaves no doubt.
    http::PROTOCOL,
    // Nor does a preface, or a frame with header fields.
    http2::PROTOCOL,
    grpc::PROTOCOL,
    // Hellos, and chains of records.
    tls::PROTOCOL,
    // A header of its own, or frames with an end byte or a performative.
    amqp::PROTOCOL,
    // A magic number, or a version with a kind and a name.
    thrift::PROTOCOL,
    dubbo::PROTOCOL,
    brpc::PROTOCOL,
    sofarpc::PROTOCOL,
    tars::PROTOCOL,
    someip::PROTOCOL,
    // A greeting with a signature.
    zmtp::PROTOCOL,
    // The first record of a request leaves no doubt.
    fastcgi::PROTOCOL,
    // What connects names the protocol; the rest is only guessed.
    mqtt::PROTOCOL,
    nats::PROTOCOL,
    stomp::PROTOCOL,
    pulsar::PROTOCOL,
    openwire::PROTOCOL,
    // Length, api key, version and client id at the front of each request.
    kafka::PROTOCOL,
    // Lengths that fit a header which names its fields.
    rocketmq::PROTOCOL,
    // A header with a known code, and a document that is well-formed.
    mongodb::PROTOCOL,
    // A header with a version, and a body that is what it announces.
    cassandra::PROTOCOL,
    // A hello, a query with who asks, block info.
    clickhouse::PROTOCOL,
    // A known operation on a path, or a session's opening.
    zookeeper::PROTOCOL,
    // Lengths within lengths, and an operation of one side.
    ldap::PROTOCOL,
    // Lengths that fit to the byte.
    postgresql::PROTOCOL,
    // Headers before a request, options of a login, tokens up to the last.
    mssql::PROTOCOL,
    // Greetings that name it, and commands with an address.
    smtp::PROTOCOL,
    // Frames of text, masked; others are only guessed.
    websocket::PROTOCOL,
    // Statements and column definitions in packets that fit; a greeting.
    mysql::PROTOCOL,
    // A command that is known by its name; answers are only guessed.
    redis::PROTOCOL,
    memcached::PROTOCOL,
    dns::PROTOCOL,
];

/// Protocols that travel inside another: the first one's messages come from connections of the second.
pub const CARRIED: &[(&str, &str)] = &[("grpc", "http2")];
