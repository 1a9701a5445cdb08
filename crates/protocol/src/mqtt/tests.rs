use super::*;
use deeptrace_model::MessageRole;

fn head(bytes: &[u8], from: Option<Side>) -> Recognition {
    recognise(&Head {
        bytes,
        call_len: bytes.len(),
        transport: Transport::Tcp,
        from,
        server_port: None,
    })
}

fn give(parser: &mut Mqtt, from: Side, bytes: &[u8]) -> Verdict {
    parser.parse(Input { bytes, from, is_last: false })
}

fn draft(verdict: Verdict) -> Draft {
    match verdict {
        Verdict::Done { draft, .. } => *draft,
        other => panic!("{other:?}"),
    }
}

#[test]
fn recognises_what_only_one_end_sends() {
    let publish = b"\x30\x05\x00\x01ahi";
    assert_eq!(
        head(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", None),
        Recognition::Yes(Side::Client)
    );
    assert_eq!(head(b"\x20\x02\x00\x00", None), Recognition::Maybe(Side::Server));
    assert_eq!(head(b"\xc0\x00", None), Recognition::Maybe(Side::Client));
    assert_eq!(head(publish, None), Recognition::No);
    assert_eq!(head(publish, Some(Side::Server)), Recognition::Maybe(Side::Server));
    // A topic that is a filter; text; a length that does not fit.
    assert_eq!(head(b"\x30\x05\x00\x01#hi", Some(Side::Client)), Recognition::No);
    assert_eq!(head(b"2024-01-31", Some(Side::Client)), Recognition::No);
    assert_eq!(head(b"\xc0\x00\x01", Some(Side::Client)), Recognition::No);
}

#[test]
fn pairs_by_identifier_and_direction() {
    let mut parser = Mqtt::default();
    let to = |parser: &mut Mqtt, from, bytes: &[u8]| draft(give(parser, from, bytes));
    let asked = to(&mut parser, Side::Client, b"\x32\x07\x00\x01a\x00\x05hi");
    assert_eq!((asked.role, asked.stream), (MessageRole::Request, 5));
    let asked = to(&mut parser, Side::Server, b"\x34\x07\x00\x01b\x00\x05hi");
    assert_eq!((asked.role, asked.stream), (MessageRole::Request, FROM_SERVER | 5));
    assert!(to(&mut parser, Side::Client, b"\x50\x02\x00\x05").interim);
    assert!(matches!(give(&mut parser, Side::Server, b"\x62\x02\x00\x05"), Verdict::Skip(4)));
    assert!(!to(&mut parser, Side::Server, b"\x40\x02\x00\x05").interim);
    assert!(!to(&mut parser, Side::Client, b"\x70\x02\x00\x05").interim);
}

#[test]
fn passwords_are_not_kept() {
    let connect = b"\x10\x17\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02me\x00\x02us\x00\x03pwd";
    let mut parser = Mqtt::default();
    let draft = draft(give(&mut parser, Side::Client, connect));
    let from = draft.redact[0].start;
    assert_eq!(&connect[from - 2..from], b"me");
}

#[test]
fn topics_that_were_named_before_the_agent_came_are_unknown() {
    let mut parser = Mqtt { level: Some(5), ..Mqtt::default() };
    let alias = b"\x30\x08\x00\x00\x03\x23\x00\x01hi";
    let named = b"\x30\x09\x00\x01a\x03\x23\x00\x01hi";
    let told = |draft: &Draft| draft.attributes.get("messaging.destination.name").cloned();
    let unknown = draft(give(&mut parser, Side::Client, alias));
    assert_eq!(unknown.unknown, ["messaging.destination.name"]);
    assert_eq!(told(&draft(give(&mut parser, Side::Client, named))), Some("a".into()));
    assert_eq!(told(&draft(give(&mut parser, Side::Client, alias))), Some("a".into()));
    let _ = parser.lost(Side::Client);
    assert_eq!(told(&draft(give(&mut parser, Side::Client, alias))), None);
}
