//! Headers that are cut, and bytes that only look like one.

use super::header::{Front, Header};
use super::json;
use super::{PROTOCOL, property};
use crate::{Recognition, Side};

fn frame(header: &[u8], body: &[u8]) -> Vec<u8> {
    let total = (4 + header.len() + body.len()) as u32;
    let len = header.len() as u32;
    [&total.to_be_bytes()[..], &len.to_be_bytes(), header, body].concat()
}

const SEND: &[u8] =
    br#"{"code":310,"extFields":{"Signature":"hush","b":"orders"},"flag":0,"opaque":7}"#;

#[test]
fn a_cut_header_tells_nothing_before_its_number_is_there() {
    let bytes = frame(SEND, b"body");
    for len in 0..bytes.len() {
        match Header::read(&bytes[..len], true) {
            Front::Header(header) => {
                assert!(len >= bytes.len() - 6, "{len}");
                assert_eq!((header.opaque, header.field("b").as_deref()), (7, Some("orders")));
            }
            Front::More => assert!(len < bytes.len() - 4, "{len}"),
            Front::NotMine => panic!("{len}"),
        }
        let waits = matches!(Header::read(&bytes[..len], false), Front::More);
        assert_eq!(waits, len < bytes.len() - 4, "{len}");
    }
}

#[test]
fn signatures_are_hidden_where_they_lie() {
    let bytes = frame(SEND, b"");
    let Front::Header(header) = Header::read(&bytes, false) else { panic!("no header") };
    let hidden: Vec<&[u8]> = header.secrets().into_iter().map(|range| &bytes[range]).collect();
    assert_eq!(hidden, [b"hush"]);
}

#[test]
fn a_signature_that_is_cut_is_hidden_too() {
    // As clients in Go order it.
    let go = br#"{"code":310,"opaque":7,"flag":0,"extFields":{"Signature":"hushhush"}}"#;
    let bytes = frame(go, b"");
    for cut in 5..12 {
        let bytes = &bytes[..bytes.len() - cut];
        let Front::Header(header) = Header::read(bytes, true) else { panic!("no header") };
        let kept: Vec<u8> = (0..bytes.len())
            .filter(|at| !header.secrets().iter().any(|range| range.contains(at)))
            .map(|at| bytes[at])
            .collect();
        assert!(!kept.windows(2).any(|part| part == b"hu"), "{cut}");
    }
}

#[test]
fn only_headers_are_believed() {
    let says = |bytes: &[u8]| PROTOCOL.says(bytes, None);
    assert_eq!(says(&frame(SEND, b"x")), Recognition::Yes(Side::Client));
    let answer = br#"{"code":0,"flag":1,"opaque":7,"version":399}"#;
    assert_eq!(says(&frame(answer, b"")), Recognition::Yes(Side::Server));
    assert_eq!(says(&frame(br#"{"id":310,"method":"something"}"#, b"x")), Recognition::No);
    assert_eq!(says(&frame(&[0; 40], b"x")), Recognition::No);
}

#[test]
fn escapes_are_read() {
    assert_eq!(&*json::unescape(br#"a\u0001b\n\"\u"#), b"a\x01b\n\"\xef\xbf\xbd");
    assert_eq!(property("A\u{1}1\u{2}TAGS\u{1}x\u{2}", "TAGS").as_deref(), Some("x"));
}
