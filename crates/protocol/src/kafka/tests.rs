//! What the recorded sessions do not show: old versions, old authentication, limits, other protocols.

use deeptrace_model::{MessageRole, SpanStatus, Transport, Value};

use super::{ASKED_MAX, Kafka, PROTOCOL};
use crate::{Draft, Head, Input, Parser, Recognition, Side, Verdict};

/// A request frame with the client id `me`.
fn request(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((body.len() + 12) as i32).to_be_bytes().to_vec();
    bytes.extend([key.to_be_bytes(), version.to_be_bytes()].concat());
    bytes.extend(correlation.to_be_bytes());
    bytes.extend(b"\0\x02me");
    bytes.extend(body);
    bytes
}

fn response(correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((body.len() + 4) as i32).to_be_bytes().to_vec();
    bytes.extend(correlation.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn parse(parser: &mut Kafka, from: Side, bytes: &[u8]) -> Verdict {
    parser.parse(Input { bytes, from, is_last: false })
}

fn done(verdict: Verdict) -> Draft {
    match verdict {
        Verdict::Done { draft, .. } => *draft,
        other => panic!("{other:?}"),
    }
}

fn text(draft: &Draft, key: &str) -> Option<String> {
    draft.attributes.get(key).and_then(Value::as_text).map(str::to_owned)
}

fn head(bytes: &[u8]) -> Head<'_> {
    let transport = Transport::Tcp;
    Head { bytes, call_len: bytes.len(), transport, from: None, server_port: None }
}

/// `Produce` version 2 with one message of magic 1 for partition 3 of `old`.
fn produce_v2(acks: u8) -> Vec<u8> {
    let mut body = vec![0, acks, 0, 0, 5, 220, 0, 0, 0, 1, 0, 3];
    body.extend(b"old\0\0\0\x01\0\0\0\x03\0\0\0\x24");
    body.extend(b"\0\0\0\0\0\0\0\0\0\0\0\x18crc!\x01\0timestmp\xff\xff\xff\xff\0\0\0\x02hi");
    body
}

#[test]
fn old_message_sets_are_counted() {
    let mut kafka = Kafka::default();
    let draft = done(parse(&mut kafka, Side::Client, &request(0, 2, 9, &produce_v2(1))));
    assert_eq!((draft.name.as_str(), draft.stream), ("send old", 9));
    assert_eq!(text(&draft, "messaging.destination.partition.id").as_deref(), Some("3"));
    let count = draft.attributes.get("messaging.batch.message_count").and_then(Value::as_int);
    assert_eq!(count, Some(1));
    let answer = b"\0\0\0\x01\0\x03old\0\0\0\x01\0\0\0\x03\0\x06\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0";
    let draft = done(parse(&mut kafka, Side::Server, &response(9, answer)));
    assert_eq!(draft.status, SpanStatus::Error);
    assert_eq!(text(&draft, "error.type").as_deref(), Some("NOT_LEADER_OR_FOLLOWER"));
}

#[test]
fn what_asks_for_no_acknowledgement_is_not_waited_for() {
    let mut kafka = Kafka::default();
    let draft = done(parse(&mut kafka, Side::Client, &request(0, 2, 1, &produce_v2(0))));
    assert_eq!(draft.role, MessageRole::OneWay);
    assert!(matches!(parse(&mut kafka, Side::Server, &response(1, b"")), Verdict::Stray(8)));
}

#[test]
fn answers_are_in_order_and_strangers_stray() {
    let mut kafka = Kafka::default();
    for id in 1..=3 {
        let _ = done(parse(&mut kafka, Side::Client, &request(12, 0, id, b"\0\x01g")));
    }
    let draft = done(parse(&mut kafka, Side::Server, &response(2, b"\0\x1b")));
    assert_eq!((draft.stream, draft.status), (2, SpanStatus::Error));
    // That of 1 is lost: it can't come after that of 2.
    for id in [1, 2, 7] {
        let verdict = parse(&mut kafka, Side::Server, &response(id, b"\0\0"));
        assert!(matches!(verdict, Verdict::Stray(10)), "{id}");
    }
    assert!(kafka.is_start(Side::Server, &response(3, b"\0\0")));
    assert!(!kafka.is_start(Side::Server, &response(4, b"\0\0")));
}

#[test]
fn tokens_of_the_old_authentication_are_skipped() {
    let mut kafka = Kafka::default();
    let handshake = request(17, 0, 1, b"\0\x05PLAIN");
    assert_eq!(done(parse(&mut kafka, Side::Client, &handshake)).name, "SaslHandshake");
    let _ = done(parse(&mut kafka, Side::Server, &response(1, b"\0\0\0\0\0\x01\0\x05PLAIN")));
    let token = b"\0\0\0\x0c\0joe\0sesame1";
    assert!(matches!(parse(&mut kafka, Side::Client, token), Verdict::Skip(16)));
    assert!(matches!(parse(&mut kafka, Side::Server, b"\0\0\0\0"), Verdict::Skip(4)));
    assert!(matches!(parse(&mut kafka, Side::Client, b"\0\0\0\x02ok"), Verdict::Skip(6)));
    let next = request(3, 0, 2, b"\0\0\0\0");
    assert!(matches!(parse(&mut kafka, Side::Client, &next[..9]), Verdict::More));
    assert_eq!(done(parse(&mut kafka, Side::Client, &next)).name, "Metadata");
    assert!(matches!(parse(&mut kafka, Side::Client, token), Verdict::NotMine));
}

#[test]
fn secrets_are_redacted() {
    let mut kafka = Kafka::default();
    let bytes = request(36, 0, 5, b"\0\0\0\x05\0a\0pw");
    assert_eq!(
        done(parse(&mut kafka, Side::Client, &bytes)).redact.first(),
        Some(&(16..usize::MAX))
    );
    let answer = response(5, b"\0\0\xff\xff\0\0\0\x01x");
    assert_eq!(
        done(parse(&mut kafka, Side::Server, &answer)).redact.first(),
        Some(&(8..usize::MAX))
    );
}

#[test]
fn the_oldest_of_too_many_is_forgotten() {
    let mut kafka = Kafka::default();
    for id in 0..ASKED_MAX as i32 + 5 {
        let _ = done(parse(&mut kafka, Side::Client, &request(18, 0, id, b"")));
    }
    assert_eq!(kafka.asked.len(), ASKED_MAX);
    assert!(matches!(parse(&mut kafka, Side::Server, &response(4, b"")), Verdict::Stray(_)));
    assert_eq!(done(parse(&mut kafka, Side::Server, &response(5, b"\0\0"))).stream, 5);
}

#[test]
fn others_with_lengths_in_front_are_not_taken() {
    let frames: &[&[u8]] = &[
        // ZooKeeper: a connection, an `exists` and a ping.
        b"\0\0\0\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x0e\0\0\0\x01\0\0\0\x03\0\0\0\x01/\0",
        b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b",
        // PostgreSQL's start, Thrift framed, HTTP/2's and gRPC's frames, MySQL.
        b"\0\0\0\x12\0\x03\0\0user\0a\0\0",
        b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0",
        b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff",
        b"\x09\0\0\0\x03SELECT 1",
    ];
    for frame in frames {
        assert_eq!((PROTOCOL.recognise)(&head(frame)), Recognition::No, "{frame:?}");
    }
    let ours = request(3, 0, 2, b"\0\0\0\0");
    assert_eq!((PROTOCOL.recognise)(&head(&ours)), Recognition::Yes(Side::Client));
}
