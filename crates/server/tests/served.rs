//! A real server on a real port over a real store, asked by clients that are not ours.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "served/live.rs"]
mod live;
mod parts;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deeptrace_http::{Guard, Limits, Listener, Token};
use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
    Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, UnitId, WallTime,
};
use deeptrace_server::api::routes;
use deeptrace_server::clock;
use deeptrace_server::pipeline::{Ingest, Writer};
use deeptrace_store::{Batch, Mode, Options};
use parts::{Fussy, Made, Parts};
use serde_json::{Value, json};
use tokio::sync::watch;

/// A server that runs until it is dropped.
pub struct Served {
    address: SocketAddr,
    token: Token,
    ingest: Option<Ingest>,
    stop: watch::Sender<bool>,
    threads: Option<(JoinHandle<()>, Writer)>,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (token, _) = Token::open(&folder.path().join("data")).unwrap();
        let options = Options::new(folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        let data_dir = folder.path().join("data");
        let Made { api, writer, stop } = Parts::new(store, token.clone(), data_dir).make();
        let (ingest, stopped) = (api.ingest.clone(), api.stop.clone());
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "--port").unwrap();
        let address = listener.address();
        let guard = Guard::of_host(address, Vec::new());
        let serve = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let routes = routes(api, Arc::new(Fussy));
            runtime.block_on(listener.serve(routes, guard, Limits::default(), stopped)).unwrap();
        };
        let thread = std::thread::spawn(serve);
        let threads = Some((thread, writer));
        Self { address, token, ingest: Some(ingest), stop, threads, _folder: folder }
    }

    fn send(&self, batch: Batch) {
        self.ingest.as_ref().unwrap().send(batch);
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut response = client().get(self.url(path)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_json().unwrap())
    }

    /// Asks until the answer is `right`: what comes in is written within a second.
    fn wait(&self, path: &str, right: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let (_, answer) = self.get(path);
            if right(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{path}: {answer}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.ingest.take();
        let (thread, writer) = self.threads.take().unwrap();
        thread.join().unwrap();
        writer.finish();
    }
}

fn client() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into()
}

/// A minute ago: what is older than the retention is removed within a second.
fn base() -> u64 {
    static BASE: OnceLock<u64> = OnceLock::new();
    *BASE.get_or_init(|| clock::now().0 - 60_000_000_000)
}

/// A span of a request that one side saw; both sides of `exchange` are joined.
fn span(
    id: u64,
    kind: SpanKind,
    service: &str,
    name: &str,
    exchange: u64,
    times: [u64; 2],
) -> Span {
    let touch = Touch {
        event: EventId(id),
        time: BootTime(times[0]),
        pid: Pid(7),
        tid: Tid(1),
        unit: UnitId(1),
    };
    Span {
        id: SpanId(id),
        kind,
        name: name.into(),
        service: service.into(),
        protocol: "http".into(),
        start: WallTime(base() + times[0]),
        end: WallTime(base() + times[1]),
        status: if name.contains("fail") { SpanStatus::Error } else { SpanStatus::Ok },
        status_message: None,
        attributes: vec![("http.request.method".into(), "GET".into())].into(),
        request_size: 10,
        response_size: 20,
        request_payload: b"GET /"[..].into(),
        response_payload: vec![0xff, 0x00].into(),
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

/// `front` serves, and calls `back`, `offset` nanoseconds after the base.
fn call(id: u64, offset: u64, name: &str) -> Batch {
    let at = |from: u64, to: u64| [offset + from, offset + to];
    let link = Link {
        child: SpanId(id + 1),
        parent: Some(SpanId(id)),
        child_start: WallTime(base() + offset + 100),
        method: Method::Thread,
        relation: Relation::Child,
        confidence: 0.9,
        algorithm: "auto".into(),
        candidates: 3,
        generation: 0,
        is_final: true,
    };
    Batch {
        spans: vec![
            span(id, SpanKind::Server, "front", name, id * 1_000, at(0, 1_000_000)),
            span(id + 1, SpanKind::Client, "front", "GET", id * 1_000 + 500, at(100, 900_000)),
            span(id + 2, SpanKind::Server, "back", "GET /b", id * 1_000 + 500, at(200, 800_000)),
        ],
        links: vec![link],
        gaps: Vec::new(),
    }
}

#[test]
fn a_batch_of_an_agent_is_in_the_store_when_it_is_acknowledged() {
    let served = Served::start();
    let Batch { spans, links, gaps } = call(1, 0, "GET /posted");
    let mut bytes = Vec::new();
    let mut encoder = deeptrace_wire::Encoder::new(true).unwrap();
    encoder.encode(&spans, &links, &gaps, &mut |encoded| bytes = encoded.bytes);
    let post = |kind: &str, body: &[u8]| {
        let request = client().post(served.url("/spans")).header("content-type", kind);
        let mut response = request.send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_json::<Value>().unwrap())
    };
    // Twice, as after an answer that was lost.
    for _ in 0..2 {
        let (status, answer) = post(deeptrace_wire::MEDIA_TYPE, &bytes);
        let counts = json!({"span_count": 3, "link_count": 1, "omitted_count": 0});
        assert_eq!((status, &answer), (200, &counts));
        let (_, found) = served.get("/spans/search");
        assert_eq!(found["spans"].as_array().unwrap().len(), 3);
    }
    let (_, trace) = served.get("/traces/0000000000000001");
    assert_eq!(trace["spans"].as_array().unwrap().len(), 3, "{trace}");
    for (kind, body, expected) in [
        ("text/plain", &bytes[..], 415),
        (deeptrace_wire::MEDIA_TYPE, b"no batch", 400),
        (deeptrace_wire::MEDIA_TYPE, &bytes[..bytes.len() / 2], 400),
        (deeptrace_wire::MEDIA_TYPE, &[0; 5 << 20], 413),
    ] {
        let (status, answer) = post(kind, body);
        assert_eq!(status, expected, "{answer}");
        assert!(answer["error"]["message"].is_string(), "{answer}");
    }
}

#[test]
fn who_asks_for_it_gets_a_packed_answer() {
    let served = Served::start();
    let get = |encoding: &str| {
        let request = client().get(served.url("/openapi.json"));
        let mut response = request.header("accept-encoding", encoding).call().unwrap();
        let packing = response.headers().get("content-encoding").cloned();
        (packing, response.body_mut().read_to_vec().unwrap())
    };
    let (plain, packed) = (get("identity"), get("gzip"));
    assert_eq!((plain.0, packed.0.as_ref().unwrap().as_bytes()), (None, &b"gzip"[..]));
    assert!(packed.1.len() < plain.1.len() / 4, "{} of {}", packed.1.len(), plain.1.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.1[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.1);
}

#[test]
fn what_comes_in_is_found_as_traces() {
    let served = Served::start();
    served.send(call(0x10, 0, "GET /ok"));
    served.send(call(0x20, 5_000_000, "GET /fail"));
    let found = served.wait("/traces", |answer| answer["traces"].as_array().unwrap().len() == 2);
    assert_eq!(found["next_cursor"], Value::Null);
    let newest = &found["traces"][0];
    assert_eq!(newest["name"], "GET /fail");
    assert_eq!(newest["service"], "front");
    assert_eq!(newest["span_count"], 3);
    assert_eq!(newest["error_count"], 1);
    assert_eq!(newest["duration_ns"], 1_000_000);
    assert_eq!(newest["start_time_unix_nano"], base() + 5_000_000);
    assert_eq!(
        newest["services"],
        json!([{"name": "back", "span_count": 1}, {"name": "front", "span_count": 2}])
    );

    let trace_id = newest["trace_id"].as_str().unwrap();
    let (status, trace) = served.get(&format!("/traces/{trace_id}"));
    assert_eq!(status, 200);
    let spans = trace["spans"].as_array().unwrap();
    let ids: Vec<&str> = spans.iter().map(|span| span["span_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["0000000000000020", "0000000000000021", "0000000000000022"]);
    assert_eq!(spans[0]["parent_span_id"], Value::Null);
    assert_eq!(spans[1]["parent_span_id"], ids[0]);
    assert_eq!(spans[2]["parent_span_id"], ids[1]);
    assert_eq!(spans[1]["link"]["method"], "thread");
    assert_eq!(spans[1]["link"]["candidates"], 3);
    assert_eq!(spans[0]["request_payload"], "GET /");
    assert_eq!(spans[0]["response_payload"], json!({"base64": "/wA="}));
    assert_eq!(served.get(&format!("/traces/{}", ids[2])).1["trace_id"], trace_id);
}

#[test]
fn what_is_small_does_not_hide_what_is_behind_it() {
    let served = Served::start();
    let mut batch = call(0x10, 0, "GET /whole");
    for number in 1..=100 {
        let small = call(0x1000 * number, 1_000_000 * number, "GET /small");
        batch.spans.extend(small.spans.into_iter().take(1));
    }
    served.send(batch);
    served.wait("/traces?limit=200", |answer| answer["traces"].as_array().unwrap().len() == 101);
    let (_, answer) = served.get("/traces?min_spans=3&limit=2");
    assert_eq!(answer["traces"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["traces"][0]["name"], "GET /whole");
}

#[test]
fn each_filter_filters() {
    let served = Served::start();
    served.send(call(0x10, 0, "GET /ok"));
    served.send(call(0x20, 5_000_000, "GET /fail"));
    served.wait("/traces", |answer| answer["traces"].as_array().unwrap().len() == 2);
    let between = deeptrace_http::format_time(WallTime(base() + 4_000_000));
    let (since, until) = (format!("/traces?start={between}"), format!("/traces?end={between}"));
    let cases: &[(&str, &[&str])] = &[
        (&since, &["GET /fail"]),
        (&until, &["GET /ok"]),
        ("/traces?service=back", &["GET /fail", "GET /ok"]),
        ("/traces?service=nobody", &[]),
        ("/traces?operation=GET%20/ok", &["GET /ok"]),
        ("/traces?errors=true", &["GET /fail"]),
        ("/traces?errors=false", &["GET /fail", "GET /ok"]),
        ("/traces?min_duration=1ms", &["GET /fail", "GET /ok"]),
        ("/traces?min_duration=1001us", &[]),
        ("/traces?max_duration=600us", &[]),
        ("/traces?start=-15m", &["GET /fail", "GET /ok"]),
        ("/traces?end=-15m", &[]),
        ("/traces?limit=1", &["GET /fail"]),
        ("/traces?min_spans=3", &["GET /fail", "GET /ok"]),
        ("/traces?min_spans=4", &[]),
    ];
    for (path, expected) in cases {
        let (status, answer) = served.get(path);
        assert_eq!(status, 200, "{path}: {answer}");
        let names: Vec<&str> = answer["traces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, *expected, "{path}");
    }
    let (_, first) = served.get("/traces?limit=1");
    let cursor = first["next_cursor"].as_str().unwrap();
    let (_, second) = served.get(&format!("/traces?limit=1&cursor={cursor}"));
    assert_eq!(second["traces"][0]["name"], "GET /ok");

    let (_, spans) = served.get("/spans/search?service=front&kind=client&limit=1");
    assert_eq!(spans["spans"][0]["span_id"], "0000000000000021");
    assert_eq!(spans["spans"][0]["parent_span_id"], "0000000000000020");
    assert!(spans["next_cursor"].is_string());
}

#[test]
fn services_and_operations_are_counted() {
    let served = Served::start();
    served.send(call(0x10, 0, "GET /ok"));
    served.send(call(0x20, 5_000_000, "GET /fail"));
    let all = |answer: &Value| {
        let services = answer["services"].as_array().unwrap();
        services.iter().map(|s| s["span_count"].as_u64().unwrap()).sum::<u64>() == 6
    };
    let answer = served.wait("/analytics/services", all);
    let services = &answer["services"];
    assert_eq!(services[0]["name"], "back");
    assert_eq!(services[1]["error_count"], 1);
    assert_eq!(services[1]["p50_ns"], 1_000_000);
    let (_, answer) = served.get("/analytics/operations?service=front");
    let operations = answer["operations"].as_array().unwrap();
    assert_eq!(operations.len(), 3);
    let client = operations.iter().find(|o| o["kind"] == "client").unwrap();
    assert_eq!(client["protocol"], "http");
    assert_eq!(client["p99_ns"], 899_900);
    assert_eq!(client["sampled"], 2);
}

#[test]
fn errors_have_one_shape() {
    let served = Served::start();
    let cases = [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/traces/0123456789abcdef", 404, "NOT_FOUND"),
        ("GET", "/traces/xyz", 400, "INVALID_REQUEST"),
        ("GET", "/traces?limit=0", 400, "INVALID_REQUEST"),
        ("GET", "/traces?limit=many", 400, "INVALID_REQUEST"),
        ("GET", "/traces?min_spans=-1", 400, "INVALID_REQUEST"),
        ("GET", "/spans/search?min_spans=2", 400, "INVALID_REQUEST"),
        ("GET", "/traces?sevrice=x", 400, "INVALID_REQUEST"),
        ("GET", "/traces?start=yesterday", 400, "INVALID_REQUEST"),
        ("GET", "/traces?start=-1m&end=-2m", 400, "INVALID_REQUEST"),
        ("GET", "/traces?min_duration=5", 400, "INVALID_REQUEST"),
        ("GET", "/traces?cursor=x", 400, "INVALID_REQUEST"),
        ("GET", "/spans/search?kind=x", 400, "INVALID_REQUEST"),
        ("GET", "/ws/traces", 400, "INVALID_REQUEST"),
        ("DELETE", "/traces", 405, "METHOD_NOT_ALLOWED"),
        ("PUT", "/config", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ];
    for (method, path, status, code) in cases {
        let authorization = format!("Bearer {}", served.token.as_str());
        let request = ureq::http::Request::builder().method(method).uri(served.url(path));
        let request = request.header("authorization", authorization).body("").unwrap();
        let mut response = client().run(request).unwrap();
        let body: Value = response.body_mut().read_json().unwrap();
        let got = (response.status().as_u16(), body["error"]["code"].as_str().unwrap_or_default());
        assert_eq!(got, (status, code), "{method} {path}: {body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
        assert!(body["error"]["details"].is_object());
    }
}

#[test]
fn changes_need_the_token_and_bad_ones_change_nothing() {
    let served = Served::start();
    let put = |token: Option<&str>, body: Value| {
        let mut request = client().put(served.url("/config"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.send_json(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_json::<Value>().unwrap())
    };
    let token = Some(served.token.as_str());
    assert_eq!(put(None, json!({})).0, 401);
    assert_eq!(put(Some("guess"), json!({})).0, 401);
    assert_eq!(put(token, json!({"wrong": 1})).0, 400);
    assert_eq!(put(token, json!({"right": 1})).1["applied"], json!(["right"]));
}

#[test]
fn other_hosts_and_origins_are_refused() {
    let served = Served::start();
    let get = |name: &str, value: &str| {
        let request = client().get(served.url("/traces")).header(name, value);
        request.call().unwrap().status().as_u16()
    };
    assert_eq!(get("host", "evil.example"), 403);
    assert_eq!(get("host", "localhost:1234"), 200);
    let mut request = tungstenite::client::ClientRequestBuilder::new(
        format!("ws://{}/ws/traces", served.address).parse().unwrap(),
    );
    request = request.with_header("origin", "http://evil.example");
    let error = tungstenite::connect(request).unwrap_err();
    assert!(matches!(error, tungstenite::Error::Http(answer) if answer.status() == 403));
}

#[test]
fn every_documented_route_answers_and_the_page_is_served() {
    let served = Served::start();
    let (_, document) = served.get("/openapi.json");
    for (path, methods) in document["paths"].as_object().unwrap() {
        let asked =
            path.replace("{trace_id}", "0123456789abcdef").replace("{id}", "0123456789abcdef");
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let request = ureq::http::Request::builder().method(method.as_str());
            let request = request.uri(served.url(&asked)).body("").unwrap();
            let mut response = client().run(request).unwrap();
            let text = response.body_mut().read_to_string().unwrap();
            let missing = text.contains("there is no such route") || response.status() == 405;
            assert!(!missing, "{method} {path}: {text}");
        }
    }
    let mut response = client().get(served.url("/")).call().unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'self'"));
    let tag = response.headers()["etag"].clone();
    assert!(response.body_mut().read_to_string().unwrap().contains("<script"));
    let again = client().get(served.url("/")).header("if-none-match", tag).call().unwrap();
    assert_eq!(again.status(), 304);
}
