//! Packets by hand: what is one, and who sends it.

use deeptrace_model::MessageRole;

use super::PROTOCOL;
use crate::{Draft, Input, Recognition, Side, Verdict};

fn frame(fields: &[u8]) -> Vec<u8> {
    [&(fields.len() as u32 + 4).to_be_bytes(), fields].concat()
}

fn parse(bytes: &[u8], from: Side) -> Option<Draft> {
    match (PROTOCOL.parser)().parse(Input { bytes, from, is_last: true }) {
        Verdict::Done { len, draft } => {
            assert_eq!(len, bytes.len() as u64);
            Some(*draft)
        }
        _ => None,
    }
}

const REQUEST: &[u8] =
    b"\x10\x01\x2c\x3c\x40\x07\x56\x05A.b.C\x66\x03add\x7d\0\x0c\x8c\x98\x0c\xa8\x0c";

#[test]
fn requests_and_responses() {
    let request = frame(REQUEST);
    assert_eq!(PROTOCOL.says(&request, None), Recognition::Yes(Side::Client));
    let draft = parse(&request, Side::Client).expect("a request");
    assert_eq!((draft.stream, draft.name.as_str()), (7, "A.b.C/add"));
    let response = frame(b"\x10\x01\x2c\x30\x07\x4c\x50\xfd\x6d\0\x0c\x78\x0c\x86\x03why");
    assert_eq!(PROTOCOL.says(&response, None), Recognition::Yes(Side::Server));
    let draft = parse(&response, Side::Server).expect("a response");
    assert_eq!((draft.stream, draft.status_message.as_deref()), (7, Some("why")));
    assert!(parse(&response, Side::Client).is_none());
    let push = frame(b"\x10\x01\x2c\x3c\x4c\x5c\x6d\0\x0c\x78\x0c\x86\0");
    assert_eq!(parse(&push, Side::Server).map(|draft| draft.role), Some(MessageRole::OneWay));
}

#[test]
fn only_the_side_tells_requests_from_responses_of_tup() {
    let mut fields = REQUEST.to_vec();
    fields[1] = 3;
    let packet = frame(&fields);
    assert_eq!(PROTOCOL.says(&packet, None), Recognition::No);
    assert_eq!(PROTOCOL.says(&packet, Some(Side::Server)), Recognition::Yes(Side::Server));
    let role = |from| parse(&packet, from).map(|draft| draft.role);
    assert_eq!(role(Side::Client), Some(MessageRole::Request));
    assert_eq!(role(Side::Server), Some(MessageRole::Response));
}

#[test]
fn what_is_no_packet() {
    // Version, order of fields, a name that is none, a packet shorter than its fields.
    for (at, byte) in [(5, 4), (6, 0x3c), (13, b'\x01'), (12, 0x40), (12, 0)] {
        let mut packet = frame(REQUEST);
        packet[at] = byte;
        assert_eq!(PROTOCOL.says(&packet, None), Recognition::No, "{at}");
        assert!(parse(&packet, Side::Client).is_none(), "{at}");
    }
}
