//! Spans that SDKs report: taken in each encoding, refused with a time to come back, made one with what
//! was seen, and shown as Jaeger shows them. The routes of a real server over a real store, without a
//! network.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parts;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use deeptrace_http::Token;
use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Pid, ProcessKey, Span, SpanId,
    SpanKind, SpanStatus, Tid, Touch, UnitId, WallTime,
};
use deeptrace_server::api::routes;
use deeptrace_server::clock;
use deeptrace_server::pipeline::{Ingest, Writer};
use deeptrace_store::{Batch, Mode, Options};
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use parts::{Fussy, Made, Parts};
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic_types::StatusExt;
use tower::ServiceExt;

struct Server {
    routes: Router,
    grpc: Router,
    ingest: Ingest,
    writer: Option<Writer>,
    _stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(spans_per_second: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Before the store, which fills the folder.
        let (token, _) = Token::open(folder.path()).unwrap();
        let options = Options::new(folder.path());
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        let parts = Parts::new(store, token, folder.path().to_owned());
        let parts = Parts { reported_per_second: spans_per_second, ..parts };
        let Made { api, writer, stop } = parts.make();
        let (otlp, ingest) = (api.otlp.clone(), api.ingest.clone());
        Self {
            routes: routes(api, Arc::new(Fussy)),
            grpc: otlp.routes(),
            ingest,
            writer: Some(writer),
            _stop: stop,
            _folder: folder,
        }
    }

    async fn ask(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }

    async fn report(
        &self,
        kind: &str,
        packing: &str,
        body: Vec<u8>,
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let request = Request::post("/v1/traces").header("content-type", kind);
        let request = request.header("content-encoding", packing);
        self.ask(request.body(Body::from(body)).unwrap()).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let (status, _, body) = self.ask(Request::get(path).body(Body::empty()).unwrap()).await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Asks until the answer is `right`: what comes in is written a little later.
    async fn wait(&self, path: &str, right: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let (_, answer) = self.get(path).await;
            if right(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{path}: {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.writer.take().unwrap().finish();
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A server's span with a child, an event and a link, which began `offset` after `base`.
fn report(base: u64) -> Value {
    let at = |millis: u64| (base + millis * 1_000_000).to_string();
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "shop"), text("team", "red")]},
        "scopeSpans": [{
            "scope": {"name": "flask", "version": "1.2"},
            "spans": [
                {
                    "traceId": TRACE, "spanId": "00f067aa0ba902b7", "name": "home", "kind": 2,
                    "startTimeUnixNano": at(1), "endTimeUnixNano": at(9),
                    "attributes": [
                        text("http.method", "GET"),
                        {"key": "net.peer.port", "value": {"intValue": "4711"}},
                    ],
                    "events": [{"timeUnixNano": at(2), "name": "cache miss",
                        "attributes": [text("cache.key", "k")]}],
                    "status": {"code": 1}
                },
                {
                    "traceId": TRACE, "spanId": "00f067aa0ba902b8", "name": "render", "kind": 1,
                    "parentSpanId": "00f067aa0ba902b7",
                    "startTimeUnixNano": at(3), "endTimeUnixNano": at(5),
                    "links": [{"traceId": "0af7651916cd43dd8448eb211c80319d",
                        "spanId": "00f067aa0ba902b9"}],
                    "status": {"code": 2, "message": "no template"}
                },
                {"traceId": TRACE, "spanId": "00", "name": "broken"}
            ]
        }]
    }]})
}

/// What we saw of the first of them.
fn seen(base: u64) -> Span {
    let touch =
        Touch { event: EventId(1), time: BootTime(1), pid: Pid(7), tid: Tid(8), unit: UnitId(8) };
    Span {
        id: SpanId(0xabc),
        kind: SpanKind::Server,
        name: "GET /".into(),
        service: "python".into(),
        protocol: "http".into(),
        start: WallTime(base),
        end: WallTime(base + 10_000_000),
        status: SpanStatus::Ok,
        status_message: None,
        attributes: vec![
            ("http.request.method".into(), "GET".into()),
            ("network.peer.port".into(), 4711.into()),
        ]
        .into(),
        request_size: 100,
        response_size: 200,
        request_payload: Default::default(),
        response_payload: Default::default(),
        process: ProcessKey { pid: Pid(7), started: BootTime(1) },
        connection: ConnectionId(3),
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
        trace_context: None,
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A minute ago: what is older than the retention is removed within a second.
fn base() -> u64 {
    clock::now().0 - 60_000_000_000
}

#[tokio::test]
async fn a_report_is_taken_in_each_encoding_and_what_is_not_valid_is_told() {
    let server = Server::start(1_000);
    let text = report(base()).to_string().into_bytes();
    let request: ExportTraceServiceRequest = serde_json::from_slice(&text).unwrap();
    let binary = request.encode_to_vec();
    for (kind, packing, body) in [
        ("application/json", "identity", text.clone()),
        ("application/json; charset=utf-8", "gzip", gzip(&text)),
    ] {
        let (status, _, body) = server.report(kind, packing, body).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["partialSuccess"]["rejectedSpans"], "1");
    }
    for (packing, body) in [("identity", binary.clone()), ("gzip", gzip(&binary))] {
        let (status, _, body) = server.report("application/x-protobuf", packing, body).await;
        let partial = ExportTraceServiceResponse::decode(&body[..]).unwrap().partial_success;
        assert_eq!((status.as_u16(), partial.unwrap().rejected_spans), (200, 1));
    }
    let mut client = TraceServiceClient::new(server.grpc.clone())
        .send_compressed(tonic::codec::CompressionEncoding::Gzip);
    let partial = client.export(request).await.unwrap().into_inner().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("span_id"), "{}", partial.error_message);

    let path = format!("/traces/{TRACE}");
    let trace = server.wait(&path, |it| it["spans"].is_array()).await;
    assert_eq!(trace["spans"].as_array().unwrap().len(), 2, "five times the same is once");
    let (home, render) = (&trace["spans"][0], &trace["spans"][1]);
    assert_eq!((&home["span_id"], &home["service"]), (&json!("00f067aa0ba902b7"), &json!("shop")));
    assert_eq!((&home["protocol"], &home["status"]), (&json!("otlp"), &json!("ok")));
    assert_eq!(home["attributes"]["team"], "red");
    assert_eq!(render["parent_span_id"], "00f067aa0ba902b7");
    assert_eq!(render["link"]["method"], "trace-context");
    assert_eq!(render["links"][0]["span_id"], "00f067aa0ba902b9");
    assert_eq!(
        (&render["status"], &render["status_message"]),
        (&json!("error"), &json!("no template"))
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_as_the_protocol_says() {
    let server = Server::start(1_000);
    let bomb = gzip(&vec![b' '; 17 << 20]);
    let cases = [
        ("text/plain", "", b"{}".to_vec(), 415),
        ("application/json", "zstd", b"{}".to_vec(), 415),
        ("application/json", "", b"{".to_vec(), 400),
        ("application/json", "gzip", b"{}".to_vec(), 400),
        ("application/json", "gzip", bomb, 400),
        ("application/x-protobuf", "", b"\xff\xff".to_vec(), 400),
        ("application/json", "", vec![b' '; 17 << 20], 413),
        ("application/json", "", b"{\"resourceSpans\":[]}".to_vec(), 200),
    ];
    for (kind, packing, body, expected) in cases {
        let (status, _, body) = server.report(kind, packing, body).await;
        assert_eq!(status, expected, "{kind} {packing} {}", String::from_utf8_lossy(&body));
        if expected == 400 && kind == "application/x-protobuf" {
            let status = tonic_types::pb::Status::decode(&body[..]).unwrap();
            assert!(status.message.contains("cannot be read"), "{}", status.message);
        }
    }
}

#[tokio::test]
async fn too_much_is_refused_with_the_time_after_which_to_come_back() {
    let server = Server::start(1);
    let text = report(base()).to_string().into_bytes();
    let (status, ..) = server.report("application/json", "", text.clone()).await;
    assert_eq!(status, 200);
    let (status, headers, body) = server.report("application/json", "", text.clone()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, 429, "{body}");
    assert_eq!(headers["retry-after"], "2");
    assert_eq!((&body["code"], &body["error"]["code"]), (&json!(8), &json!("TOO_MANY_REQUESTS")));
    let request: ExportTraceServiceRequest = serde_json::from_slice(&text).unwrap();
    let refused = TraceServiceClient::new(server.grpc.clone()).export(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    let (_, status) = server.get("/status").await;
    assert_eq!(status["counters"]["otlp_refused_spans_total"], 4);
    assert_eq!(status["counters"]["otlp_spans_total"], 2);
}

#[tokio::test]
async fn what_was_seen_of_the_start_of_a_trace_is_found_by_the_callers_port() {
    let (server, base) = (Server::start(1_000), base());
    let mut other = seen(base);
    other.id = SpanId(0xdef);
    other.exchange.request = 9;
    other.attributes.set("network.peer.port".into(), 4712.into());
    let spans = vec![seen(base), other];
    server.ingest.send(Batch { spans, ..Batch::default() });
    server.report("application/json", "", report(base).to_string().into_bytes()).await;
    let observed = |it: &Value| it["spans"][0]["attributes"]["deeptrace.observed.span_id"].clone();
    let path = "/traces/0000000000000abc";
    let trace = server.wait(path, |it| observed(it) == "0000000000000abc").await;
    let home = &trace["spans"][0];
    assert_eq!((&trace["trace_id"], &home["name"]), (&json!(TRACE), &json!("home")));
    assert_eq!(home["attributes"]["deeptrace.observed.duration_ns"], 10_000_000);
    assert_eq!((&home["protocol"], &home["response_size"]), (&json!("http"), &json!(200)));
    assert_eq!(trace["spans"].as_array().unwrap().len(), 2);
    let (_, raw) = server.get(&format!("{path}?view=raw")).await;
    let ids: Vec<&Value> =
        raw["spans"].as_array().unwrap().iter().map(|it| &it["span_id"]).collect();
    assert_eq!(ids, ["0000000000000abc", "00f067aa0ba902b7", "00f067aa0ba902b8"]);
}

#[tokio::test]
async fn jaegers_questions_are_answered_in_its_shape() {
    let (server, base) = (Server::start(1_000), base());
    server.report("application/json", "", report(base).to_string().into_bytes()).await;
    server.wait("/api/services", |it| it["data"] == json!(["shop"])).await;
    let list = |data: Value| {
        let total = data.as_array().unwrap().len();
        json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null})
    };
    let operation = |name: &str, kind: &str| json!({"name": name, "spanKind": kind});
    let all = json!([operation("home", "server"), operation("render", "internal")]);
    let cases = [
        ("/api/services/shop/operations", list(json!(["home", "render"]))),
        ("/api/operations?service=shop", list(all.clone())),
        (
            "/api/operations?service=shop&spanKind=server",
            list(json!([operation("home", "server")])),
        ),
        ("/api/v3/services", json!({"services": ["shop"]})),
        ("/api/v3/operations?service=shop", json!({"operations": all})),
    ];
    for (path, expected) in cases {
        assert_eq!(server.get(path).await, (StatusCode::OK, expected), "{path}");
    }
    let micros = base / 1000;
    let (_, answer) = server.get(&format!("/api/traces/{TRACE}")).await;
    let (home, render) = (&answer["data"][0]["spans"][0], &answer["data"][0]["spans"][1]);
    assert_eq!(
        home["logs"],
        json!([{"timestamp": micros + 2_000, "fields": [
        {"key": "event", "type": "string", "value": "cache miss"},
        {"key": "cache.key", "type": "string", "value": "k"}]}])
    );
    assert_eq!(
        render["references"],
        json!([
        {"refType": "CHILD_OF", "traceID": TRACE, "spanID": "00f067aa0ba902b7"},
        {"refType": "FOLLOWS_FROM", "traceID": "0af7651916cd43dd8448eb211c80319d",
            "spanID": "00f067aa0ba902b9"}])
    );
    let tags: Vec<(&str, &Value)> = (render["tags"].as_array().unwrap().iter())
        .map(|tag| (tag["key"].as_str().unwrap(), &tag["value"]))
        .collect();
    for expected in [
        ("span.kind", json!("internal")),
        ("otel.scope.name", json!("flask")),
        ("error", json!(true)),
        ("otel.status_code", json!("ERROR")),
        ("otel.status_description", json!("no template")),
    ] {
        assert!(tags.contains(&(expected.0, &expected.1)), "{expected:?} in {tags:?}");
    }
    let process = &answer["data"][0]["processes"]["p1"];
    assert_eq!(process["serviceName"], "shop");
    assert_eq!(process["tags"], json!([{"key": "team", "type": "string", "value": "red"}]));

    let count = |(_, answer): (StatusCode, Value)| answer["data"].as_array().map(Vec::len);
    for (query, expected) in [
        ("service=shop", Some(1)),
        ("service=shop&operation=render", Some(1)),
        ("service=shop&operation=other", Some(0)),
        ("service=shop&tags=%7B%22http.method%22%3A%22GET%22%7D", Some(1)),
        ("service=shop&operation=render&tags=%7B%22http.method%22%3A%22GET%22%7D", Some(0)),
        ("service=shop&tags=%7B%22error%22%3A%22true%22%7D", Some(1)),
        ("service=shop&operation=home&tag=error:true", Some(0)),
        ("service=shop&minDuration=8ms", Some(1)),
        ("service=shop&minDuration=9ms", Some(0)),
        ("service=shop&lookback=1s", Some(0)),
        (&format!("traceID={TRACE}&traceID=1"), Some(1)),
        ("operation=render", None),
    ] {
        let answer = server.get(&format!("/api/traces?{query}")).await;
        assert_eq!(count(answer.clone()), expected, "{query}: {answer:?}");
    }
    let (status, missing) = server.get("/api/traces/1234").await;
    assert_eq!((status.as_u16(), &missing["errors"][0]["code"]), (404, &json!(404)));
    let (status, wrong) = server.get("/api/traces/xyz").await;
    assert_eq!((status.as_u16(), &wrong["data"]), (400, &Value::Null));
    let (_, v3) = server.get(&format!("/api/v3/traces/{TRACE}")).await;
    let spans = &v3["result"]["resourceSpans"][0]["scopeSpans"][0];
    assert_eq!(
        (&spans["scope"]["name"], &spans["spans"][0]["name"]),
        (&json!("flask"), &json!("home"))
    );
    assert_eq!(server.get("/api/v3/traces/1234").await.1["error"]["httpCode"], 404);
}
