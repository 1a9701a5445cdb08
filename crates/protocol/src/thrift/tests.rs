//! Heads that are refused, fields in every encoding, and the bounds of a walk.

use deeptrace_model::Transport;

use super::PROTOCOL;
use super::head::{self, Encoding, Head as Message, Kind, Miss};
use super::walk::{Walk, Walker};
use crate::{Head, Input, Recognition, Side, Verdict};

fn walker(encoding: Encoding, kind: Kind) -> Walker {
    Walker::new(&Message { encoding, kind, name: b"call", sequence: 0 })
}

fn says(bytes: &[u8]) -> Recognition {
    let (call_len, transport) = (bytes.len(), Transport::Tcp);
    let head = Head { bytes, call_len, transport, from: None, server_port: None };
    (PROTOCOL.recognise)(&head)
}

#[test]
fn what_is_no_message() {
    for bytes in [
        // Another version, another kind, a name that is none, an empty name, a long name.
        &b"\x80\x02\0\x01\0\0\0\x04call\0\0\0\0\0"[..],
        b"\x80\x01\0\x05\0\0\0\x04call\0\0\0\0\0",
        b"\x80\x01\0\x01\0\0\0\x04ca\x01l\0\0\0\0\0",
        b"\x80\x01\0\x01\0\0\0\0\0\0\0\0\0",
        b"\x80\x01\0\x01\0\x01\0\0call",
        // A frame with no room for its message, and an empty one.
        b"\0\0\0\x08\x80\x01\0\x01\0\0\0\x04call\0\0\0\0\0",
        b"\0\0\0\0",
        b"\x82\x22\0\x04call\0",
        b"\x82\x21\xff\xff\xff\xff\xff\x7f\x04call\0",
    ] {
        assert_eq!(head::read(bytes).err(), Some(Miss::NotMine), "{bytes:?}");
        assert_eq!(says(bytes), Recognition::No, "{bytes:?}");
    }
    assert_eq!(head::read(b"\x80\x01\0\x01\0\0\0\x04cal").err(), Some(Miss::More));
}

#[test]
fn how_sure_it_is() {
    let strict = b"\x80\x01\0\x02\0\0\0\x04call\0\0\0\0\0";
    assert_eq!(says(strict), Recognition::Yes(Side::Server));
    assert_eq!(says(b"\x82\x21\0\x04call\0"), Recognition::Yes(Side::Client));
    // Fields that go on, and fields that can't be.
    assert_eq!(says(b"\x82\x21\0\x04call\x18\x05ab"), Recognition::Maybe(Side::Client));
    assert_eq!(says(b"\x82\x21\0\x04call\x1f\x05ab"), Recognition::No);
    assert_eq!(says(b"\0\0\0\x04call\x01\0\0\0\0\0"), Recognition::Maybe(Side::Client));
    assert_eq!(says(b"\0\0\0\x04call\x01\0\0\0\0\x77"), Recognition::No);
}

#[test]
fn fields_of_every_type_are_passed_over() {
    let binary = b"\x02\0\x01\x01\x03\0\x02\x05\x04\0\x0312345678\x06\0\x0412\x08\0\x051234\
        \x0a\0\x0612345678\x0b\0\x07\0\0\0\x02ab\x0c\0\x08\x02\0\x01\0\0\
        \x0d\0\x09\x08\x0b\0\0\0\x01\0\0\0\x01\0\0\0\0\x0e\0\x0a\x08\0\0\0\x02\0\0\0\0\0\0\0\0\
        \x0f\0\x0b\x0f\0\0\0\x01\x02\0\0\0\x03abc\x10\0\x0c1234567812345678\x0f\0\x0d\0\0\0\0\0\0";
    let whole = Walk::End(binary.len() as u64);
    assert_eq!(walker(Encoding::Strict, Kind::Call).walk(binary, false), whole);
    // Both truths, numbers, a list of truths, an empty and a full map, a structure, a far field.
    let compact = b"\x11\x12\x13\x05\x14\x80\x01\x15\x02\x16\x04\x1712345678\x18\x02ab\
        \x19\x21\x01\x02\x1b\0\x1b\x01\x58\x02\x01a\x1c\x11\0\x0a\xc8\x01\x15\x02\x1d1234567812345678\0";
    let whole = Walk::End(compact.len() as u64);
    assert_eq!(walker(Encoding::Compact, Kind::Call).walk(compact, false), whole);
    // Byte by byte it ends at the same place.
    for (encoding, bytes) in [(Encoding::Strict, &binary[..]), (Encoding::Compact, &compact[..])] {
        let (mut walker, mut at) = (walker(encoding, Kind::Call), 0);
        let mut end = 1;
        while at < bytes.len() {
            match walker.walk(&bytes[at..end], false) {
                Walk::More => end += 1,
                Walk::Part(len) | Walk::End(len) => {
                    at += usize::try_from(len).expect("short");
                    end = at + 1;
                }
                Walk::NotMine => panic!("at {at}"),
            }
        }
        assert_eq!(at, bytes.len());
    }
}

#[test]
fn a_walk_is_bounded() {
    let deep = b"\x0c\0\x01".repeat(100);
    assert_eq!(walker(Encoding::Strict, Kind::Call).walk(&deep, false), Walk::NotMine);
    let wide = b"\x0f\0\x01\x0b\x7f\xff\xff\xff";
    assert_eq!(walker(Encoding::Strict, Kind::Call).walk(wide, false), Walk::NotMine);
    // Many numbers are passed over at once, whether they are there or not.
    let long = b"\x0f\0\x01\x0a\0\x01\0\0";
    assert_eq!(walker(Encoding::Strict, Kind::Call).walk(long, false), Walk::Part(8 + 8 * 65536));
}

#[test]
fn an_exception_of_the_application_tells_why() {
    let mut exception = walker(Encoding::Strict, Kind::Exception);
    exception.walk(b"\x0b\0\x01\0\0\0\x04why?\x08\0\x02\0\0\0\x06\0", false);
    assert_eq!(exception.facts.text.as_deref(), Some("why?"));
    assert_eq!(exception.facts.code, Some(6));
    // The text of a result is nobody's business.
    let mut reply = walker(Encoding::Strict, Kind::Reply);
    reply.walk(b"\x0c\0\0\x0b\0\x01\0\0\0\x03own\0\0", false);
    assert_eq!((reply.facts.first, reply.facts.text), (Some(0), None));
}

#[test]
fn answers_of_another_method_are_stray() {
    let mut parser = (PROTOCOL.parser)();
    let mut parse = |from, bytes: &[u8]| {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match parser.parse(Input { bytes: rest, from, is_last: false }) {
                Verdict::Part { len, .. } => at += usize::try_from(len).expect("short"),
                verdict => return verdict,
            }
        }
    };
    parse(Side::Client, b"\x80\x01\0\x01\0\0\0\x04call\0\0\0\0\0");
    let verdict = parse(Side::Server, b"\x80\x01\0\x02\0\0\0\x05other\0\0\0\0\0");
    assert!(matches!(verdict, Verdict::Stray(1)), "{verdict:?}");
}
