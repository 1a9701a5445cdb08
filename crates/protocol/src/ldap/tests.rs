//! What no session shows: recognition by little, and bytes that are nearly a message.

use super::*;

fn head(bytes: &[u8], from: Option<Side>) -> Recognition {
    let call_len = bytes.len();
    recognise(&Head { bytes, call_len, transport: Transport::Tcp, from, server_port: None })
}

/// A simple bind of nobody.
const BIND: &[u8] = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0";

#[test]
fn both_sides_are_told_by_their_operations() {
    assert_eq!(head(BIND, None), Recognition::Yes(Side::Client));
    assert_eq!(head(BIND, Some(Side::Server)), Recognition::No);
    assert_eq!(head(&BIND[..7], None), Recognition::Maybe(Side::Client));
    assert_eq!(head(&BIND[..4], None), Recognition::No);
    let bound = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0";
    assert_eq!(head(bound, None), Recognition::Yes(Side::Server));
}

#[test]
fn what_the_specification_does_not_allow_is_not_ours() {
    // Tags, lengths, the version; SNMP has a text where the operation is.
    for (at, byte) in [(0, 0x31), (1, 0x80), (2, 4), (3, 5), (5, 0x04), (6, 9), (9, 1)] {
        let mut bytes = BIND.to_vec();
        bytes[at] = byte;
        assert_eq!(head(&bytes, None), Recognition::No, "{at}");
    }
}

#[test]
fn an_answer_with_a_password_is_left_out() {
    let mut ldap = Ldap::default();
    let mut parse = |id: u8, bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[4] = id;
        let input = Input { bytes: &bytes, from: Side::Server, is_last: false };
        match ldap.parse(input) {
            Verdict::Done { draft, .. } => Some(draft.redact.len()),
            Verdict::Part { .. } => None,
            other => panic!("{other:?}"),
        }
    };
    let (plain, secret) = (
        b"\x30\x13\x02\x01\x02\x64\x0e\x04\0\x30\x0acn: abcdef",
        b"\x30\x13\x02\x01\x02\x64\x0e\x04\0\x30\x0auserPwd:xx",
    );
    let done = b"\x30\x0c\x02\x01\x02\x65\x07\x0a\x01\0\x04\0\x04\0";
    assert_eq!((parse(1, plain), parse(2, secret), parse(1, plain)), (None, None, None));
    assert_eq!((parse(1, done), parse(2, done), parse(3, done)), (Some(0), Some(1), Some(0)));
    for id in 0..=SEARCHES_MAX {
        parse(id as u8 + 1, plain);
    }
    assert_eq!((parse(1, done), parse(2, done)), (Some(1), Some(0)), "the oldest is forgotten");
}
