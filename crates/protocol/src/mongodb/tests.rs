//! What no session shows: recognition by little, and bytes that are nearly a message.

use super::*;

fn head(bytes: &[u8], from: Option<Side>) -> Recognition {
    let call_len = bytes.len();
    recognise(&Head { bytes, call_len, transport: Transport::Tcp, from, server_port: None })
}

/// `{ping: 1, $db: "a"}` with this id, in answer to that one.
fn ping(id: u8, answers: u8, flags: u8) -> Vec<u8> {
    let mut bytes = b"\x2f\0\0\0\0\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1a\0\0\0\
        \x10ping\0\x01\0\0\0\x02$db\0\x02\0\0\0a\0\0"
        .to_vec();
    (bytes[4], bytes[8], bytes[16]) = (id, answers, flags);
    bytes
}

#[test]
fn a_header_alone_is_tried_and_a_body_is_sure() {
    let bytes = ping(1, 0, 0);
    assert_eq!(head(&bytes, None), Recognition::Yes(Side::Client));
    assert_eq!(head(&bytes[..16], None), Recognition::Maybe(Side::Client));
    assert_eq!(head(&bytes[..15], None), Recognition::No);
    assert_eq!(head(&ping(1, 9, 0), None), Recognition::Yes(Side::Server));
    assert_eq!(head(&ping(1, 9, 0), Some(Side::Client)), Recognition::No);
}

#[test]
fn what_the_specification_does_not_allow_is_not_ours() {
    let refuse = |at: usize, byte: u8| {
        let mut bytes = ping(1, 0, 0);
        bytes[at] = byte;
        assert_eq!(head(&bytes, None), Recognition::No, "{at}");
    };
    // Length, operation code, a reserved flag, kind of a section, its length, type of an element.
    for (at, byte) in [(3, 0x7f), (12, 0xde), (16, 4), (20, 7), (21, 0x50), (25, 0x42)] {
        refuse(at, byte);
    }
}

#[test]
fn any_prefix_waits_or_is_whole() {
    let bytes = ping(1, 0, 0);
    for end in 1..bytes.len() {
        let input = Input { bytes: &bytes[..end], from: Side::Client, is_last: false };
        assert!(matches!(MongoDb::default().parse(input), Verdict::More), "{end}");
    }
    let input = Input { bytes: &bytes[..35], from: Side::Client, is_last: true };
    let Verdict::Done { len, draft } = MongoDb::default().parse(input) else { panic!() };
    assert_eq!((len, draft.name.as_str(), draft.truncated), (47, "ping", true));
}
