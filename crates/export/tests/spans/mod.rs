//! Spans that the tests of all formats write.

use std::borrow::Cow;
use std::sync::Arc;

use deeptrace_export::{Framing, format};
use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
    Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, TraceId, TraceSpan, UnitId, Value,
    WallTime,
};

fn touch(event: u64) -> Touch {
    let (pid, tid) = (Pid(10), Tid(11));
    Touch { event: EventId(event), time: BootTime(event), pid, tid, unit: UnitId(11) }
}

/// The root of a trace, with everything that a span may have.
pub fn root() -> TraceSpan {
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
    TraceSpan { span: Arc::new(span), parent: None, link: None }
}

/// Its child in the same process, which got no answer.
pub fn child() -> TraceSpan {
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
        ..Span::clone(&root)
    };
    TraceSpan { span: Arc::new(span), parent: link.parent, link: Some(link) }
}

/// They in the format of that name.
pub fn export(name: &str, framing: Framing, spans: &[TraceSpan]) -> Vec<u8> {
    let mut exporter = (format(name).unwrap().make)(framing);
    let mut out = Vec::new();
    if !spans.is_empty() {
        exporter.spans(TraceId(0xabc), spans, &mut out).unwrap();
    }
    exporter.end(&mut out).unwrap();
    out
}
