//! A tombstone covers what its target matches, knows no value, and its receipt cannot be changed.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use deeptrace_erase::{Key, Receipt, State, Statement, Target, Tombstone, VerifyError};
use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Pid, ProcessKey, Span, SpanId,
    SpanKind, SpanStatus, Tid, Touch, TraceContext, TraceId, UnitId, Value, WallTime,
};

const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

fn span(change: impl FnOnce(&mut Span)) -> Span {
    let touch =
        Touch { event: EventId(0), time: BootTime(0), pid: Pid(1), tid: Tid(1), unit: UnitId(1) };
    let mut span = Span {
        id: SpanId(7),
        kind: SpanKind::Server,
        name: "GET /users/{id}".into(),
        service: "users".into(),
        protocol: "http".into(),
        start: WallTime(NOW.0 - 1),
        end: WallTime(NOW.0 + 5),
        status: SpanStatus::Ok,
        status_message: None,
        attributes: vec![
            ("http.response.status_code".into(), 200.into()),
            ("enduser.id".into(), Value::from("anna@shop.example")),
            ("some.list".into(), Value::Texts(vec!["a".into(), "order-77".into()])),
        ]
        .into(),
        request_size: 0,
        response_size: 0,
        request_payload: b"GET /users/7?mail=bert%40shop.example HTTP/1.1"[..].into(),
        response_payload: br#"{"name":"Bert \"B\" Blank"}"#[..].into(),
        process: ProcessKey { pid: Pid(1), started: BootTime(0) },
        connection: ConnectionId(1),
        exchange: Exchange {
            kind: ExchangeKind::Tcp,
            request: 1,
            response: Some(2),
            stream: 0,
            request_hash: 3,
            confidence: 1.0,
        },
        request: [touch; 2],
        response: Some([touch; 2]),
        trace_context: Some(TraceContext { trace: TraceId(0xabc), parent: 1 }),
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
    };
    change(&mut span);
    span
}

fn tombstone(target: &Target) -> Tombstone {
    Tombstone::new(target, NOW, []).unwrap()
}

#[test]
fn a_tombstone_covers_what_its_target_matches() {
    for (target, matches) in [
        ("service=users", true),
        ("service=user", false),
        ("user=anna@shop.example", true),
        ("user=anna", false),
        ("enduser.id=anna@shop.example", true),
        ("user.id=anna@shop.example", false),
        ("http.response.status_code=200", true),
        ("http.response.status_code=20", false),
        ("some.list=order-77", true),
        ("payload=bert@shop.example", true),
        ("payload=anna@shop.example", false),
        ("payload=Bert \"B\" Blank", true),
        ("any=anna@shop", true),
        ("any=users", true),
        ("any=bert@shop.example", true),
        ("any=carl@shop.example", false),
        ("trace_id=00000000000000000000000000000ABC", true),
        ("trace_id=00000000000000000000000000000abd", false),
    ] {
        let parsed = Target::parse(target).unwrap();
        assert_eq!(parsed.matches(&span(|_| ())), matches, "{target}");
        let tombstone = tombstone(&parsed);
        let text = serde_json::to_string(&tombstone).unwrap();
        let read: Tombstone = serde_json::from_str(&text).unwrap();
        assert_eq!(read, tombstone);
        assert_eq!(read.covers(&span(|_| ())), matches, "{target}");
        // A short one may be in the hexadecimal digits of a salt or a hash by chance.
        assert!(parsed.value().len() < 4 || !text.contains(parsed.value()), "{text}");
        // What came after it is new.
        assert!(!read.covers(&span(|it| it.start = WallTime(NOW.0 + 1))));
    }
}

#[test]
fn a_tombstone_of_a_trace_covers_the_spans_that_it_had() {
    let root = SpanId(99);
    let target = Target::parse(&format!("trace_id={}", TraceId::from_root(root))).unwrap();
    let tombstone = Tombstone::new(&target, NOW, [SpanId(7), SpanId(8)]).unwrap();
    for (id, is_covered) in [(7, true), (8, true), (9, false), (99, true)] {
        let span = span(|it| (it.id, it.trace_context) = (SpanId(id), None));
        assert_eq!(tombstone.covers(&span), is_covered, "{id}");
    }
}

#[test]
fn what_names_documents_is_checked() {
    let text = serde_json::to_string(&tombstone(&Target::parse("user=anna").unwrap())).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["id"] = "../../etc/passwd".into();
    assert!(serde_json::from_value::<Tombstone>(value).is_err());
}

#[test]
fn a_receipt_shows_every_change() {
    let (key, text) = Key::make().unwrap();
    assert_eq!(Key::read(&text).unwrap().public(), key.public());
    assert!(Key::read("abc").is_err() && Key::read(&text[2..]).is_err());
    let tombstone = tombstone(&Target::parse("user=anna").unwrap()).in_state(State::Done);
    let receipt = key.sign(Statement {
        version: 1,
        deeptrace: "0.1.0".into(),
        tombstone,
        started_unix_nano: 1,
        ended_unix_nano: 2,
        spans: 10,
        links: 3,
        unreadable: 0,
        backend: "embedded".into(),
        backups: Vec::new(),
    });
    let text = serde_json::to_string_pretty(&receipt).unwrap();
    let read: Receipt = serde_json::from_str(&text).unwrap();
    assert_eq!(read.verify(Some(&key.public())), Ok(()));
    let (other, _) = Key::make().unwrap();
    assert_eq!(read.verify(Some(&other.public())), Err(VerifyError::Signer));
    for (from, to) in [
        ("\"spans\": 10", "\"spans\": 11"),
        ("\"field\": \"user\"", "\"field\": \"service\""),
        ("\"state\": \"done\"", "\"state\": \"open\""),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from} is not in it");
        let read: Receipt = serde_json::from_str(&changed).unwrap();
        assert_eq!(read.verify(None), Err(VerifyError::Signature), "{to}");
    }
}
