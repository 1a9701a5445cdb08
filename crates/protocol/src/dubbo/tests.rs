//! Texts of the serialisations, exceptions, and headers that are refused.

use super::{PROTOCOL, body};
use crate::{Recognition, Side};

#[test]
fn a_header_leaves_no_doubt() {
    let request = b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\x01\0\0\0\x05";
    assert_eq!(PROTOCOL.says(request, None), Recognition::Yes(Side::Client));
    assert_eq!(PROTOCOL.says(request, Some(Side::Server)), Recognition::No);
    // A heartbeat doesn't tell who is who; no serialisation; a status that is none; too long.
    assert_eq!(PROTOCOL.says(b"\xda\xbb\xe2\0\0\0\0\0\0\0\0\x01\0\0\0\x05", None), Recognition::No);
    assert_eq!(PROTOCOL.says(b"\xda\xbb\xc0\0\0\0\0\0\0\0\0\x01\0\0\0\x05", None), Recognition::No);
    assert_eq!(
        PROTOCOL.says(b"\xda\xbb\x02\x15\0\0\0\0\0\0\0\x01\0\0\0\x05", None),
        Recognition::No
    );
    assert_eq!(
        PROTOCOL.says(b"\xda\xbb\xc2\0\0\0\0\0\0\0\0\x01\xff\0\0\x05", None),
        Recognition::No
    );
    assert_eq!(PROTOCOL.says(&request[..15], None), Recognition::No);
}

#[test]
fn texts_of_hessian() {
    let table: [(&[u8], Option<&str>); 7] = [
        (b"\x03abc", Some("abc")),
        (b"\x30\x03abc", Some("abc")),
        (b"S\0\x03abc", Some("abc")),
        (b"N", Some("")),
        ("\u{2}\u{e9}\u{4e16}".as_bytes(), Some("\u{e9}\u{4e16}")),
        (b"\x04abc", None),
        (b"S\xff\xffabc", None),
    ];
    for (bytes, text) in table {
        assert_eq!(body::text(2, bytes).as_deref(), text, "{bytes:?}");
    }
}

#[test]
fn exceptions_of_hessian() {
    let known = b"\x90C\x05a.b.C\x92\x0ddetailMessage\x05cause\x60\x03whyN";
    assert_eq!(body::thrown(2, known), Some(("a.b.C".into(), Some("why".into()))));
    let other = b"\x90C\x05a.b.C\x91\x04code\x60\x91";
    assert_eq!(body::thrown(2, other), Some(("a.b.C".into(), None)));
    assert_eq!(body::thrown(2, b"\x93M"), Some(("exception".into(), None)));
    assert_eq!(body::thrown(2, b"\x91\x03why"), None);
    assert_eq!(body::thrown(2, b""), None);
}

#[test]
fn texts_and_exceptions_of_jsonb() {
    let text =
        |object: &[u8]| body::text(23, &[&(object.len() as u32).to_be_bytes(), object].concat());
    assert_eq!(text(b"Labc").as_deref(), Some("abc"));
    assert_eq!(text(&[b"\x79\x38\x37", &[b'x'; 55][..]].concat()), Some("x".repeat(55)));
    assert_eq!(text(b"Mabc"), None);
    assert_eq!(text(b"\xa6"), None);
    let thrown = b"\0\0\0\x02\xbd\x03\0\0\0\xff\x92N";
    let known = [&thrown[..], b"a.b.C\0\xa6\x7fVdetailMessage\x01Lwhy"].concat();
    assert_eq!(body::thrown(23, &known), Some(("a.b.C".into(), Some("why".into()))));
    let other = [&thrown[..], b"a.b.C\0\xa6\x7fMcode"].concat();
    assert_eq!(body::thrown(23, &other), Some(("a.b.C".into(), None)));
    assert_eq!(body::thrown(23, b"\0\0\0\x02\xbd\x04\0\0\0\x04Lwhy"), None);
}
