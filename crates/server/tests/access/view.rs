//! What callers see of spans: without payloads, and of some services only.

use std::time::{Duration, Instant};

use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
    Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, UnitId, WallTime,
};
use deeptrace_server::access::{HIDDEN, Role};
use deeptrace_server::clock;
use deeptrace_store::Batch;
use serde_json::{Value, json};

use crate::server::{Server, rules};

fn span(id: u64, kind: SpanKind, service: &str, exchange: u64, base: WallTime) -> Span {
    let touch =
        Touch { event: EventId(id), time: BootTime(id), pid: Pid(7), tid: Tid(1), unit: UnitId(1) };
    Span {
        id: SpanId(id),
        kind,
        name: format!("GET /{service}").into(),
        service: service.into(),
        protocol: "http".into(),
        start: WallTime(base.0 + id),
        end: WallTime(base.0 + 1_000_000 - id),
        status: SpanStatus::Ok,
        status_message: None,
        attributes: vec![("url.path".into(), format!("/{service}-path").into())].into(),
        request_size: 10,
        response_size: 20,
        request_payload: b"asked-secretly"[..].into(),
        response_payload: b"answered-secretly"[..].into(),
        process: ProcessKey { pid: Pid(7), started: BootTime(1) },
        connection: ConnectionId(id),
        exchange: Exchange {
            kind: ExchangeKind::Tcp,
            request: exchange,
            response: Some(exchange + 1),
            stream: 0,
            request_hash: 1,
            confidence: 1.0,
        },
        request: [touch, touch],
        response: Some([touch, touch]),
        trace_context: None,
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
    }
}

/// `front` calls `back`; and `other` is called by nobody.
fn batch() -> Batch {
    let base = WallTime(clock::now().0 - 60_000_000_000);
    let link = Link {
        child: SpanId(0x11),
        parent: Some(SpanId(0x10)),
        child_start: WallTime(base.0 + 0x11),
        method: Method::Thread,
        relation: Relation::Child,
        confidence: 0.9,
        algorithm: "auto".into(),
        candidates: 1,
        generation: 0,
        is_final: true,
    };
    Batch {
        spans: vec![
            span(0x10, SpanKind::Server, "front", 1_000, base),
            span(0x11, SpanKind::Client, "front", 2_000, base),
            span(0x12, SpanKind::Server, "back", 2_000, base),
            span(0x20, SpanKind::Server, "other", 3_000, base),
        ],
        links: vec![link],
        gaps: Vec::new(),
    }
}

fn filled() -> Server {
    let server = Server::start(rules());
    server.ingest().send(batch());
    let begun = Instant::now();
    loop {
        let answer = server.bear("GET", "/traces", server.admin.as_str(), "").json();
        if answer["traces"].as_array().unwrap().len() == 2 {
            return server;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn payloads_are_for_analysts() {
    let server = filled();
    for role in [Role::Viewer, Role::Analyst] {
        let token = server.token(role, &[]);
        for path in ["/traces/0000000000000010", "/spans/search"] {
            let answer = server.bear("GET", path, &token, "");
            assert_eq!(answer.status, 200);
            let sees = role == Role::Analyst;
            assert_eq!(answer.text.contains("asked-secretly"), sees, "{role} {path}");
            assert_eq!(answer.text.contains("request_payload"), sees, "{role} {path}");
            assert!(answer.text.contains("/front-path"), "{role} {path}");
        }
    }
}

#[test]
fn who_is_restricted_sees_only_these_services() {
    let server = filled();
    let token = server.token(Role::Analyst, &["back"]);
    let get = |path: &str| server.bear("GET", path, &token, "");

    let trace = get("/traces/0000000000000010").json();
    let spans = trace["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 3, "the tree keeps its shape");
    for (index, span) in spans.iter().enumerate() {
        let is_back = index == 2;
        assert_eq!(span["service"], json!(if is_back { "back" } else { "" }));
        assert_eq!(span["name"], json!(if is_back { "GET /back" } else { "" }));
        assert_eq!(span["attributes"][HIDDEN], if is_back { Value::Null } else { json!(true) });
        assert_eq!(span["request_size"], json!(if is_back { 10 } else { 0 }));
    }
    assert_eq!(spans[1]["parent_span_id"], spans[0]["span_id"]);
    assert_eq!(spans[2]["parent_span_id"], spans[1]["span_id"]);
    assert!(!trace.to_string().contains("front"), "{trace}");
    assert_eq!(get("/traces/0000000000000020").status, 404);

    let summary = &get("/traces").json()["traces"];
    assert_eq!(summary.as_array().unwrap().len(), 1);
    assert_eq!(summary[0]["services"], json!([{"name": "back", "span_count": 1}]));
    assert_eq!((&summary[0]["service"], &summary[0]["span_count"]), (&json!("back"), &json!(1)));
    assert_eq!(get("/traces?service=front").json()["traces"], json!([]));
    assert_eq!(get("/traces?operation=GET%20%2Ffront").json()["traces"], json!([]));

    let spans = get("/spans/search").json();
    assert_eq!(spans["spans"].as_array().unwrap().len(), 1, "{spans}");
    let services = get("/analytics/services").json();
    assert_eq!(services["services"].as_array().unwrap().len(), 1, "{services}");
    let operations = get("/analytics/operations").json();
    assert!(!operations.to_string().contains("front"), "{operations}");

    // Of several services no filter of the store can say it all.
    let token = server.token(Role::Analyst, &["back", "other"]);
    let traces = server.bear("GET", "/traces", &token, "").json();
    assert_eq!(traces["traces"].as_array().unwrap().len(), 2);
    assert!(!traces.to_string().contains("front"), "{traces}");
    let spans = server.bear("GET", "/spans/search", &token, "").json();
    assert_eq!(spans["spans"].as_array().unwrap().len(), 2);
}

#[test]
fn live_lists_show_the_same() {
    let server = Server::start(rules());
    let token = server.token(Role::Viewer, &["back"]);
    let listen = |path: &str| {
        let uri = format!("ws://{}{path}", server.address).parse().unwrap();
        let request = tungstenite::client::ClientRequestBuilder::new(uri)
            .with_header("authorization", format!("Bearer {token}"));
        let (socket, _) = tungstenite::connect(request).unwrap();
        if let tungstenite::stream::MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        socket
    };
    let (mut spans, mut traces) = (listen("/ws/spans"), listen("/ws/traces"));
    server.ingest().send(batch());
    let span = spans.read().unwrap().into_text().unwrap();
    assert!(span.contains("/back-path"), "{span}");
    assert!(!span.contains("secretly") && !span.contains("front"), "{span}");
    let trace: Value = serde_json::from_str(&traces.read().unwrap().into_text().unwrap()).unwrap();
    assert_eq!(trace["services"], json!([{"name": "back", "span_count": 1}]));
}
