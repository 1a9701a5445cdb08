//! Hellos that are spread over records, and bytes that only look like TLS.

use deeptrace_model::Transport;

use super::{PROTOCOL, recognise};
use crate::{Head, Input, Recognition, Side, Verdict};

/// A hello for `shop.example`, without its record.
fn hello() -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    let name = b"shop.example";
    let extension = [&[0, 0, 0, 17, 0, 15, 0, 0, 12][..], name].concat();
    body.extend((extension.len() as u16).to_be_bytes());
    body.extend(extension);
    [&[1, 0, 0, body.len() as u8][..], &body].concat()
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &(body.len() as u16).to_be_bytes()[..], body].concat()
}

fn says(bytes: &[u8], from: Option<Side>) -> Recognition {
    let (call_len, transport) = (bytes.len(), Transport::Tcp);
    recognise(&Head { bytes, call_len, transport, from, server_port: None })
}

#[test]
fn a_hello_in_two_records_is_one() {
    let hello = hello();
    let bytes = [record(22, &hello[..50]), record(22, &hello[50..])].concat();
    for len in 0..=bytes.len() {
        let mut parser = (PROTOCOL.parser)();
        let input = Input { bytes: &bytes[..len], from: Side::Client, is_last: false };
        match parser.parse(input) {
            Verdict::More => assert!(len < bytes.len()),
            Verdict::Done { len, draft } => {
                assert_eq!(len, bytes.len() as u64);
                let server = draft.attributes.iter().find(|it| it.0 == "server.address");
                assert_eq!(server.and_then(|it| it.1.as_text()), Some("shop.example"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_length_that_no_hello_has_is_not_waited_for() {
    let mut hello = hello();
    hello[1] = 9;
    let mut parser = (PROTOCOL.parser)();
    let bytes = record(22, &hello);
    let input = Input { bytes: &bytes, from: Side::Client, is_last: false };
    assert!(matches!(parser.parse(input), Verdict::Skip(_)));
    assert_eq!(says(&bytes, None), Recognition::No);
}

#[test]
fn chains_are_known_and_what_only_begins_like_one_is_not() {
    let data = record(23, &[9; 40]);
    assert_eq!(says(&data, Some(Side::Server)), Recognition::Yes(Side::Server));
    let two = [data.clone(), data.clone()].concat();
    assert_eq!(says(&two, None), Recognition::Yes(Side::Client));
    // Cut where the next record would begin wrongly, a byte too many, too short to be sealed.
    assert_eq!(says(&[&data[..], b"GET /"].concat(), None), Recognition::No);
    assert_eq!(says(&[&data[..], &[23]].concat(), None), Recognition::No);
    assert_eq!(says(&record(23, b"abc"), None), Recognition::No);
    assert_eq!(says(&data[..5], None), Recognition::No);
    // A side that is known says no other hello than its own.
    assert_eq!(says(&record(22, &hello()), Some(Side::Server)), Recognition::No);
}
