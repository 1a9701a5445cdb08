use super::*;

fn give(parser: &mut Stomp, from: Side, bytes: &str) -> Verdict {
    parser.parse(Input { bytes: bytes.as_bytes(), from, is_last: false })
}

#[test]
fn a_body_without_a_length_ends_with_a_zero_byte() {
    let mut parser = Stomp::default();
    let head = "SEND\ndestination:/queue/a\n\n";
    let part = give(&mut parser, Side::Client, &format!("{head}one"));
    assert!(matches!(part, Verdict::Part { len, .. } if len == head.len() as u64), "{part:?}");
    assert!(matches!(give(&mut parser, Side::Client, "one"), Verdict::Part { len: 3, .. }));
    let end = give(&mut parser, Side::Client, "two\0\nSEND");
    assert!(matches!(end, Verdict::Done { len: 4, .. }), "{end:?}");
    assert!(matches!(give(&mut parser, Side::Client, "\nSEND"), Verdict::Skip(1)));
}

#[test]
fn a_body_with_a_length_may_hold_zero_bytes() {
    let mut parser = Stomp::default();
    let frame = "SEND\ndestination:/queue/a\ncontent-length:3\n\na\0b\0";
    let done = give(&mut parser, Side::Client, frame);
    assert!(matches!(done, Verdict::Done { len, .. } if len == frame.len() as u64), "{done:?}");
    let wrong = "SEND\ndestination:/queue/a\ncontent-length:2\n\na\0b\0";
    assert!(matches!(give(&mut parser, Side::Client, wrong), Verdict::NotMine));
}

#[test]
fn values_are_told_without_escapes() {
    let frame = "MESSAGE\ndestination:/queue/a\\cb\nmessage-id:ID\\chost\\\\1\\x\nsubscription:1\ncontent-length:0\n\n\0";
    let Verdict::Done { draft, .. } = give(&mut Stomp::default(), Side::Server, frame) else {
        panic!("no frame");
    };
    let told = |key: &str| draft.attributes.iter().find(|it| it.0 == key).map(|it| it.1.clone());
    assert_eq!(told("messaging.destination.name"), Some("/queue/a:b".into()));
    assert_eq!(told("messaging.message.id"), Some("ID:host\\1\\x".into()));
}

#[test]
fn is_not_taken_for_http_nor_memcached() {
    let judge = |bytes: &[u8]| [Side::Client, Side::Server].map(|side| frame::judge(bytes, side));
    assert_eq!(judge(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), [Fit::No; 2]);
    assert_eq!(judge(b"ERROR\r\n"), [Fit::No; 2]);
    assert_eq!(judge(b"CONNECT\r\nHost:a\r\n\r\n\0"), [Fit::No; 2]);
    assert_eq!(judge(b"CONNECT\naccept-version:1.2\n\n\0"), [Fit::Sure, Fit::No]);
    assert_eq!(judge(b"\nACK\nid:1\n\n\0"), [Fit::Perhaps, Fit::No]);
}

#[test]
fn what_may_be_a_secret_is_not_kept() {
    let frame = "CONNECT\nlogin:ann\npasscode:geheim\nx-token:abc\nhost:/\n\n\0";
    let mut parser = Stomp::default();
    let Verdict::Part { .. } = give(&mut parser, Side::Client, frame) else { panic!() };
    let draft = parser.lost(Side::Client).unwrap();
    let hidden: Vec<&str> = draft.redact.iter().map(|range| &frame[range.clone()]).collect();
    assert_eq!(hidden, ["geheim", "abc"]);
}
