//! Who asks, whoever connected; and greetings that are none.

use deeptrace_model::MessageRole;

use super::{PROTOCOL, Zmtp};
use crate::parser::drafts;
use crate::{Recognition, Side};

const C: Side = Side::Client;
const S: Side = Side::Server;

fn ready(socket: &str) -> Vec<u8> {
    let property = [b"\x0bSocket-Type\x00\x00\x00", &[socket.len() as u8][..], socket.as_bytes()];
    let body = [b"\x05READY", &property.concat()[..]].concat();
    [&[4, body.len() as u8], &body[..]].concat()
}

fn greeted(sockets: [&str; 2]) -> Zmtp {
    let mut parser = Zmtp::default();
    for (side, socket) in [C, S].into_iter().zip(sockets) {
        parser.halves[side as usize].is_greeted = true;
        assert!(drafts(&mut parser, side, &ready(socket)).is_empty());
    }
    parser
}

#[test]
fn the_types_of_the_sockets_tell_who_asks() {
    use MessageRole::{OneWay, Request, Response};
    let table = [
        (["REQ", "REP"], [Request, Response]),
        (["REP", "REQ"], [Response, Request]),
        (["REQ", "ROUTER"], [Request, Response]),
        (["DEALER", "REP"], [Request, Response]),
        (["DEALER", "ROUTER"], [OneWay, OneWay]),
        (["PUSH", "PULL"], [OneWay, OneWay]),
    ];
    for (sockets, roles) in table {
        let mut parser = greeted(sockets);
        for (side, role) in [C, S].into_iter().zip(roles) {
            let drafts = drafts(&mut parser, side, b"\x01\x00\x00\x02hi");
            assert_eq!(drafts[0].role, role, "{sockets:?} {side:?}");
        }
    }
}

#[test]
fn subscriptions_are_no_messages_and_topics_are_told() {
    let mut parser = greeted(["SUB", "PUB"]);
    assert!(drafts(&mut parser, C, b"\x00\x05\x01news").is_empty());
    let drafts = drafts(&mut parser, S, b"\x01\x04news\x00\x02hi");
    let topic = drafts[0].attributes.get("messaging.destination.name");
    assert_eq!(topic.and_then(|value| value.as_text()), Some("news"));
}

#[test]
fn a_greeting_is_known_by_ten_bytes() {
    let says = |bytes: &[u8]| PROTOCOL.says(bytes, None);
    assert_eq!(says(b"\xff\0\0\0\0\0\0\0\x01\x7f"), Recognition::Yes(C));
    assert_eq!(says(b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00NULL\0\0"), Recognition::Yes(C));
    // ZMTP 2.0, and another protocol.
    assert_eq!(says(b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05"), Recognition::No);
    assert_eq!(says(b"\xff\xff\0\0\0\0\0\0\x01\x7f"), Recognition::No);
    assert_eq!(says(b"\x01\x00\x00\x05hello"), Recognition::Maybe(C));
    assert_eq!(says(b"\x01\x00\x00\x01\x00"), Recognition::No);
    // DNS over TCP begins like a frame.
    assert_eq!(says(b"\x00\x02hi"), Recognition::No);
}
