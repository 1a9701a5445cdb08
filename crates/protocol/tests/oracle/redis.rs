//! RESP2 and RESP3 beside the crate `redis-protocol`.

use std::collections::HashMap;

use deeptrace_model::{Direction, Message, SpanStatus, Transport};
use deeptrace_protocol::Side;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use redis_protocol::resp2::types::{OwnedFrame as Frame2, Resp2Frame};
use redis_protocol::resp3::types::{OwnedFrame as Frame, Resp3Frame};
use redis_protocol::{resp2, resp3};

use crate::session::Session;
use crate::told::{Calls, config, each, ours, same, session, streams, theirs};

/// Sessions with something that the crate does not read, and why.
const OTHERS: &[(&str, &str)] = &[
    ("inline", "commands in lines of text: they are no frames"),
    ("monitor", "lines that the server writes come with commands in lines of text"),
];

/// Commands by their name, of answers whether they are errors.
fn says(message: &Message) -> String {
    // All these sessions are seen by the server.
    if message.direction == Direction::Received {
        return message.name.split(' ').next().unwrap_or_default().to_owned();
    }
    String::from(if message.status == SpanStatus::Error { "error" } else { "" })
}

fn command(bytes: &[u8]) -> Option<(usize, Option<String>)> {
    let (frame, len) = resp2::decode::decode(bytes).ok()??;
    let Frame2::Array(parts) = frame else { return None };
    let Some(Frame2::BulkString(name)) = parts.first() else { return None };
    Some((len, Some(String::from_utf8_lossy(name).to_uppercase())))
}

fn answer(bytes: &[u8]) -> Option<(usize, Option<String>)> {
    let (is_error, len) = match resp3::decode::complete::decode(bytes) {
        Ok(frame) => {
            let (frame, len) = frame?;
            (matches!(frame, Frame::SimpleError { .. } | Frame::BlobError { .. }), len)
        }
        // RESP2 has a null that RESP3 has not.
        Err(_) => {
            let (frame, len) = resp2::decode::decode(bytes).ok()??;
            (matches!(frame, Frame2::Error(_)), len)
        }
    };
    Some((len, Some(String::from(if is_error { "error" } else { "" }))))
}

fn check(name: &str, session: &Session) {
    let [client, server] = streams(session);
    let mut told = theirs(Side::Client, &client, command);
    told.extend(theirs(Side::Server, &server, answer));
    same(name, &ours(session, says), &told);
}

#[test]
fn the_corpus_is_read_alike() {
    each("redis", OTHERS, 10, check);
}

/// Commands that have one answer each, whatever it says.
const COMMANDS: &[&str] = &["GET", "set", "LPUSH", "HSET", "ZADD", "EVALSHA", "XADD", "MGET"];

fn commands() -> impl Strategy<Value = Vec<u8>> {
    let arguments = vec(vec(any::<u8>(), 0..40), 1..5);
    (select(COMMANDS), arguments).prop_map(|(name, arguments)| {
        let words = std::iter::once(name.as_bytes().to_vec()).chain(arguments);
        let frame = Frame2::Array(words.map(Frame2::BulkString).collect());
        let mut bytes = vec![0; frame.encode_len(false)];
        resp2::encode::encode(&mut bytes, &frame, false).unwrap();
        bytes
    })
}

fn attributes() -> impl Strategy<Value = Option<HashMap<Frame, Frame>>> {
    let key = "[a-z]{1,8}".prop_map(|text| blob(text.into_bytes()));
    let value = any::<i64>().prop_map(|data| Frame::Number { data, attributes: None });
    proptest::option::weighted(0.2, proptest::collection::hash_map(key, value, 1..3))
}

fn blob(data: Vec<u8>) -> Frame {
    Frame::BlobString { data, attributes: None }
}

fn frames() -> impl Strategy<Value = Frame> {
    let leaf = prop_oneof![
        (vec(any::<u8>(), 0..60), attributes())
            .prop_map(|(data, attributes)| Frame::BlobString { data, attributes }),
        "[ -~]{0,20}"
            .prop_map(|text| { Frame::SimpleString { data: text.into_bytes(), attributes: None } }),
        "ERR [ -~]{0,20}".prop_map(|data| Frame::SimpleError { data, attributes: None }),
        "ERR [ -~]{0,20}"
            .prop_map(|data| { Frame::BlobError { data: data.into_bytes(), attributes: None } }),
        (any::<i64>(), attributes())
            .prop_map(|(data, attributes)| Frame::Number { data, attributes }),
        any::<bool>().prop_map(|data| Frame::Boolean { data, attributes: None }),
        (-1e9..1e9).prop_map(|data| Frame::Double { data, attributes: None }),
        "[1-9][0-9]{20,30}"
            .prop_map(|text| { Frame::BigNumber { data: text.into_bytes(), attributes: None } }),
        Just(Frame::Null),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = vec(any::<u8>(), 0..8).prop_map(blob);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|data| Frame::Array { data, attributes: None }),
            proptest::collection::hash_map(key, inner, 0..4)
                .prop_map(|data| Frame::Map { data, attributes: None }),
        ]
    })
}

fn answers() -> impl Strategy<Value = Vec<u8>> {
    frames().prop_map(|frame| {
        let mut bytes = vec![0; frame.encode_len(false)];
        resp3::encode::complete::encode(&mut bytes, &frame, false).unwrap();
        bytes
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_commands_and_answers_are_read_alike(
        exchanges in vec((commands(), answers()), 1..8),
        is_pipelined: bool,
        cuts in vec(any::<u16>(), 0..24),
    ) {
        let mut calls: Calls = Vec::new();
        for (command, answer) in exchanges {
            calls.extend([(Side::Client, command), (Side::Server, answer)]);
        }
        if is_pipelined {
            calls.sort_by_key(|(from, _)| *from);
        }
        check("whole", &session(6379, Transport::Tcp, &calls, &[]));
        check("cut", &session(6379, Transport::Tcp, &calls, &cuts));
    }
}
