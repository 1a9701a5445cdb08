//! What no session shows: recognition by little, bytes that are nearly an envelope, and secrets.

use super::*;

fn head(bytes: &[u8], from: Option<Side>) -> Recognition {
    let call_len = bytes.len();
    recognise(&Head { bytes, call_len, transport: Transport::Tcp, from, server_port: None })
}

const QUERY: &[u8] = b"\x04\0\0\0\x07\0\0\0\x0f\0\0\0\x08SELECT 1\0\x01\0";

#[test]
fn a_header_alone_is_tried_and_a_body_is_sure() {
    assert_eq!(head(QUERY, None), Recognition::Yes(Side::Client));
    assert_eq!(head(&QUERY[..9], None), Recognition::Maybe(Side::Client));
    assert_eq!(head(&QUERY[..8], None), Recognition::No);
    assert_eq!(head(QUERY, Some(Side::Server)), Recognition::No);
    let ready = b"\x85\0\0\0\x02\0\0\0\0";
    assert_eq!(head(ready, None), Recognition::Maybe(Side::Server));
    let error = b"\x84\0\0\x01\0\0\0\0\x08\0\0\x22\0\0\x02no";
    assert_eq!(head(error, None), Recognition::Yes(Side::Server));
}

#[test]
fn what_the_specification_does_not_allow_is_not_ours() {
    // Version, flags, stream, operation, length, length of the text, text.
    for (at, byte) in [(0, 2), (1, 0x40), (2, 0x80), (4, 4), (5, 0x7f), (12, 0x7f), (14, 1)] {
        let mut bytes = QUERY.to_vec();
        bytes[at] = byte;
        assert_eq!(head(&bytes, None), Recognition::No, "{at}");
    }
}

#[test]
fn a_password_is_not_kept() {
    let text = b"ALTER ROLE ann WITH SUPERUSER = true AND password = 'hunter2'";
    let length = (text.len() + 7) as u8;
    let header = [4, 0, 0, 1, 7, 0, 0, 0, length, 0, 0, 0, text.len() as u8];
    let bytes = [&header[..], text, b"\0\x01\0"].concat();
    let input = Input { bytes: &bytes, from: Side::Client, is_last: false };
    let Verdict::Done { draft, .. } = Cassandra::default().parse(input) else { panic!() };
    let mut left = bytes.clone();
    deeptrace_redact::overwrite(&mut left, &draft.redact);
    assert!(left.ends_with(b"AND password***************"), "{}", left.escape_ascii());
    let text = draft.attributes.get("db.query.text").and_then(|value| value.as_text());
    assert_eq!(text, Some("ALTER ROLE ann WITH SUPERUSER = true AND password = ?"));
}
