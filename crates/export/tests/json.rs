//! The Span JSON, byte for byte.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::borrow::Cow;

use deeptrace_export::{Framing, SpanJson, TABLE, format, read};
use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
    Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, TraceId, TraceSpan, UnitId, Value,
    WallTime,
};
use expect_test::expect;

fn touch(event: u64) -> Touch {
    let (pid, tid) = (Pid(10), Tid(11));
    Touch { event: EventId(event), time: BootTime(event), pid, tid, unit: UnitId(11) }
}

fn root() -> TraceSpan {
    let span = Span {
        id: SpanId(0xa1),
        kind: SpanKind::Server,
        name: "GET /users/{id}".into(),
        service: "users".into(),
        protocol: "http".into(),
        start: WallTime(1_700_000_000_000_000_001),
        end: WallTime(1_700_000_000_002_000_001),
        status: SpanStatus::Ok,
        status_message: None,
        attributes: vec![
            ("url.path".into(), "/users/7".into()),
            ("http.response.status_code".into(), 200.into()),
            ("some.flag".into(), true.into()),
            ("some.ratio".into(), Value::Float(0.25)),
            ("some.list".into(), Value::Texts(vec!["a".into(), "b\"".into()])),
        ]
        .into(),
        request_size: 78,
        response_size: 112,
        request_payload: b"GET /users/7 HTTP/1.1\r\n"[..].into(),
        response_payload: vec![0x80, 0, 0xff].into(),
        process: ProcessKey { pid: Pid(10), started: BootTime(5) },
        connection: ConnectionId(3),
        exchange: Exchange {
            kind: ExchangeKind::Tcp,
            request: 1,
            response: Some(2),
            stream: 0,
            request_hash: 9,
            confidence: 1.0,
        },
        request: [touch(1), touch(1)],
        response: Some([touch(2), touch(3)]),
        trace_context: None,
        unknown: vec![Cow::Borrowed("rpc.method")],
        truncated: true,
        lost_events: 2,
    };
    TraceSpan { span, parent: None, link: None }
}

fn child() -> TraceSpan {
    let root = root().span;
    let link = Link {
        child: SpanId(0xb2),
        parent: Some(root.id),
        child_start: WallTime(1_700_000_000_001_000_000),
        method: Method::Thread,
        relation: Relation::Child,
        confidence: 0.9,
        algorithm: "auto".into(),
        candidates: 2,
        generation: 0,
        is_final: true,
    };
    let span = Span {
        id: link.child,
        kind: SpanKind::Client,
        name: "GET".into(),
        protocol: "redis".into(),
        start: link.child_start,
        status: SpanStatus::Unset,
        status_message: Some("connection reset".into()),
        attributes: Default::default(),
        response_payload: Default::default(),
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
        ..root
    };
    TraceSpan { span, parent: link.parent, link: Some(link) }
}

fn export(framing: Framing, spans: &[TraceSpan]) -> String {
    let mut exporter = (format("json").unwrap().make)(framing);
    let mut out = Vec::new();
    spans.iter().for_each(|span| exporter.span(TraceId(0xabc), span, &mut out).unwrap());
    exporter.end(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_are_as_promised() {
    expect![[r#"
        {"trace_id":"00000000000000000000000000000abc","span_id":"00000000000000a1","parent_span_id":null,"kind":"server","name":"GET /users/{id}","service":"users","start_time_unix_nano":1700000000000000001,"end_time_unix_nano":1700000000002000001,"duration_ns":2000000,"status":"ok","status_message":null,"protocol":"http","attributes":{"url.path":"/users/7","http.response.status_code":200,"some.flag":true,"some.ratio":0.25,"some.list":["a","b\""],"thread.id":11,"deeptrace.time_to_first_byte_ns":1},"request_size":78,"response_size":112,"link":null,"links":[],"request_payload":"GET /users/7 HTTP/1.1\r\n","response_payload":{"base64":"gAD/"},"unknown":["rpc.method"],"truncated":true,"lost_events":2}
        {"trace_id":"00000000000000000000000000000abc","span_id":"00000000000000b2","parent_span_id":"00000000000000a1","kind":"client","name":"GET","service":"users","start_time_unix_nano":1700000000001000000,"end_time_unix_nano":1700000000002000001,"duration_ns":1000001,"status":"unset","status_message":"connection reset","protocol":"redis","attributes":{"thread.id":11,"deeptrace.time_to_first_byte_ns":1},"request_size":78,"response_size":112,"link":{"method":"thread","relation":"child","confidence":0.9,"algorithm":"auto"},"links":[],"request_payload":"GET /users/7 HTTP/1.1\r\n","response_payload":"","unknown":[],"truncated":false,"lost_events":0}
    "#]].assert_eq(&export(Framing::Lines, &[root(), child()]));
}

#[test]
fn an_array_is_valid_with_any_number_of_spans() {
    for spans in [vec![], vec![root()], vec![root(), child()]] {
        let text = export(Framing::Document, &spans);
        let values: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(values.len(), spans.len());
        assert!(text.ends_with("]\n"), "{text}");
    }
}

#[test]
fn what_was_written_is_read() {
    let spans = [root(), child()];
    let expected: Vec<SpanJson<'_>> =
        spans.iter().map(|span| SpanJson::new(TraceId(0xabc), span)).collect();
    for framing in [Framing::Document, Framing::Lines] {
        let mut read = read(&export(framing, &spans)).unwrap();
        // A confidence is rounded on its way out.
        for span in read.iter_mut().filter_map(|span| span.link.as_mut()) {
            span.confidence = f64::from(span.confidence as f32);
        }
        assert_eq!(read, expected);
    }
    assert!(read("[{}]").is_err());
    assert!(read("{\"trace_id\": 1}").is_err());
}

#[test]
fn names_of_formats_are_unique() {
    let mut names: Vec<_> = TABLE.iter().map(|format| format.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}
