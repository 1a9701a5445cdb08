//! What the recorded sessions do not show: limits, damage, other protocols, secrets.

use deeptrace_model::{MessageRole, SpanStatus, Value};

use super::{Amqp, PROTOCOL};
use crate::{Draft, Input, Parser, Recognition, Side, Verdict};

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&[kind], &channel.to_be_bytes()[..], &len, payload, &[0xce]].concat()
}

fn method(channel: u16, class: u8, method: u8, arguments: &[u8]) -> Vec<u8> {
    frame(1, channel, &[&[0, class, 0, method], arguments].concat())
}

/// A frame of AMQP 1.0 with a performative whose fields are short.
fn performative(code: u8, fields: &[u8], message: &[u8]) -> Vec<u8> {
    let front = [0, 0x53, code, 0xc0, fields.len() as u8 + 1, 0];
    let len = (8 + front.len() + fields.len() + message.len()) as u32;
    [&len.to_be_bytes()[..], &[2, 0, 0, 0], &front, fields, message].concat()
}

fn parse(parser: &mut Amqp, from: Side, bytes: &[u8]) -> Verdict {
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

#[test]
fn frames_tell_who_sends_them() {
    let publish = method(1, 60, 40, b"\0\0\x01x\x01k\0");
    assert_eq!(PROTOCOL.says(&publish, None), Recognition::Yes(Side::Client));
    let deliver = method(1, 60, 60, b"\x01t\0\0\0\0\0\0\0\x01\0\x01x\x01k");
    assert_eq!(PROTOCOL.says(&deliver, None), Recognition::Yes(Side::Server));
    assert_eq!(PROTOCOL.says(&deliver, Some(Side::Client)), Recognition::No);
    let ack = method(1, 60, 80, b"\0\0\0\0\0\0\0\x01\0");
    assert_eq!(PROTOCOL.says(&ack, None), Recognition::Maybe(Side::Client));
    assert_eq!(PROTOCOL.says(&frame(3, 1, b"body"), None), Recognition::No);
    let flow = performative(0x13, b"\x40", b"");
    assert_eq!(PROTOCOL.says(&flow, None), Recognition::Maybe(Side::Client));
    assert_eq!(PROTOCOL.says(&flow, Some(Side::Server)), Recognition::Yes(Side::Server));
}

#[test]
fn others_are_not_taken() {
    let frames: &[&[u8]] = &[
        b"AMQX\0\0\x09\x01",
        // HTTP/2's settings, Kafka, Thrift framed, MQTT, ZooKeeper's ping, MySQL, TLS.
        b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff",
        b"\0\0\0\x14\0\x03\0\x0d\0\0\0\x02\0\x05admin\0\x01\0\0\0",
        b"\0\0\0\x11\x80\x01\0\x01\0\0\0\x04ping\0\0\0\0\0",
        b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0",
        b"\0\0\0\x08\xff\xff\xff\xfe\0\0\0\x0b",
        b"\x01\0\0\0\x0e",
        b"\x16\x03\x01\0\x05\x01\0\0\x01\x03",
    ];
    for bytes in frames {
        assert_eq!(PROTOCOL.says(bytes, None), Recognition::No, "{bytes:?}");
    }
}

#[test]
fn what_is_encrypted_is_left_to_others() {
    let mut amqp = Amqp::default();
    assert!(matches!(parse(&mut amqp, Side::Client, b"AMQP\x02\x01\0\0"), Verdict::Skip(8)));
    assert!(matches!(parse(&mut amqp, Side::Client, b"\x16\x03\x01"), Verdict::Switch));
}

#[test]
fn credentials_are_redacted() {
    let mut amqp = Amqp::default();
    let start = done(parse(&mut amqp, Side::Client, &method(0, 10, 11, b"\0\0\0\0\x05PLAIN")));
    assert_eq!(start.redact.first(), Some(&(11..usize::MAX)));
    let secret = method(0, 10, 70, b"\0\0\0\x05token\0");
    assert_eq!(done(parse(&mut amqp, Side::Client, &secret)).redact.len(), 1);
}

#[test]
fn nothing_comes_between_the_frames_of_a_message() {
    let mut amqp = Amqp::default();
    let publish = method(1, 60, 40, b"\0\0\x01x\x01k\0");
    assert!(matches!(parse(&mut amqp, Side::Client, &publish), Verdict::Part { stream: 1, .. }));
    assert!(matches!(parse(&mut amqp, Side::Client, &publish), Verdict::NotMine));
    // Forgotten: its bodies belong to nothing.
    assert!(amqp.lost(Side::Client).is_some());
    assert!(matches!(parse(&mut amqp, Side::Client, &frame(3, 1, b"abc")), Verdict::Skip(11)));
}

#[test]
fn an_answer_to_something_else_means_that_answers_are_lost() {
    let mut amqp = Amqp::default();
    let _ = done(parse(&mut amqp, Side::Client, &method(1, 50, 10, b"\0\0\x01q\0\0\0\0\0")));
    let _ = done(parse(&mut amqp, Side::Client, &method(1, 50, 30, b"\0\0\x01q\0")));
    let purged = done(parse(&mut amqp, Side::Server, &method(1, 50, 31, b"\0\0\0\0")));
    assert!(purged.skips);
    let declared = method(1, 50, 11, b"\x01q\0\0\0\0\0\0\0\0");
    let verdict = parse(&mut amqp, Side::Server, &declared);
    assert!(matches!(verdict, Verdict::Done { .. } | Verdict::Stray(_)));
}

#[test]
fn channels_and_consumers_are_bounded() {
    let mut amqp = Amqp::default();
    for channel in 1..=u16::MAX {
        let publish = method(channel, 60, 40, b"\0\0\x01x\x01k\0");
        let verdict = parse(&mut amqp, Side::Client, &publish);
        assert_eq!(matches!(verdict, Verdict::Skip(_)), channel > 2048);
    }
    let mut amqp = Amqp::default();
    for number in 0..1000u16 {
        let tag = [&[0, 0, 1, b'q', 2], &number.to_be_bytes()[..], &[8, 0, 0, 0, 0]].concat();
        let consume = done(parse(&mut amqp, Side::Client, &method(1, 60, 20, &tag)));
        assert_eq!(consume.role, MessageRole::OneWay);
    }
    let deliver = |tag: u16| {
        let tag = tag.to_be_bytes();
        let rest = b"\0\0\0\0\0\0\0\x01\0\x01x\x01k";
        method(1, 60, 60, &[&[2], &tag[..], rest].concat())
    };
    for (tag, name) in [(999, "x:k:q"), (3, "x:k")] {
        let _ = parse(&mut amqp, Side::Server, &deliver(tag));
        let empty = frame(2, 1, b"\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0");
        let draft = done(parse(&mut amqp, Side::Server, &empty));
        assert_eq!(text(&draft, "messaging.destination.name").as_deref(), Some(name));
    }
}

#[test]
fn a_message_of_several_transfers_is_one() {
    let mut amqp = Amqp::default();
    let open = performative(0x10, b"\xa1\x08RabbitMQ", b"");
    assert!(matches!(parse(&mut amqp, Side::Server, &open), Verdict::Skip(_)));
    // Name, handle 3, sender, modes, no source, a target without an address.
    let attach = performative(0x12, b"\xa1\x01l\x52\x03\x42\x40\x40\x40\x00\x53\x29\x45", b"");
    let _ = parse(&mut amqp, Side::Client, &attach);
    let message = b"\0\x53\x73\xc0\x08\x03\x40\x40\xa1\x03box\0\x53\x75\xa0\x02hi";
    let first = performative(0x14, b"\x52\x03\x43\xa0\x01t\x43\x42\x41", message);
    assert!(matches!(parse(&mut amqp, Side::Client, &first), Verdict::Part { stream: 4, .. }));
    let last = performative(0x14, b"\x52\x03\x43\xa0\x01t\x43\x42\x42", b"more");
    let draft = done(parse(&mut amqp, Side::Client, &last));
    assert_eq!((draft.name.as_str(), draft.stream), ("send box", 4));
    assert_eq!(text(&draft, "messaging.system").as_deref(), Some("rabbitmq"));
    // The rest of a message whose front is lost is no message.
    assert!(matches!(parse(&mut amqp, Side::Client, &last), Verdict::Skip(_)));
}

#[test]
fn refusals_are_told_with_their_condition() {
    let mut amqp = Amqp::default();
    let error = b"\0\x53\x1d\xc0\x12\x02\xa3\x0eamqp:not-found\x40";
    let rejected = [&b"\x41\x43\x43\x41\0\x53\x25\xc0\x18\x01"[..], error].concat();
    let draft = done(parse(&mut amqp, Side::Server, &performative(0x15, &rejected, b"")));
    assert_eq!((draft.status, draft.name.as_str()), (SpanStatus::Error, "reject"));
    assert_eq!(text(&draft, "error.type").as_deref(), Some("amqp:not-found"));
    let detach = [&b"\x43\x41"[..], error].concat();
    let draft = done(parse(&mut amqp, Side::Server, &performative(0x16, &detach, b"")));
    assert_eq!(draft.name, "detach");
    let plain = performative(0x16, b"\x43\x41", b"");
    assert!(matches!(parse(&mut amqp, Side::Server, &plain), Verdict::Skip(_)));
    let accepted = performative(0x15, b"\x41\x43\x43\x41\0\x53\x24\x45", b"");
    assert!(matches!(parse(&mut amqp, Side::Server, &accepted), Verdict::Skip(_)));
    assert_eq!(done(parse(&mut amqp, Side::Client, &accepted)).name, "accept");
}
