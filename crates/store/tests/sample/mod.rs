//! Spans and links to fill a store with, the same in every run.

use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
    Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, TraceContext, TraceId, UnitId, Value,
    WallTime, hash64,
};

/// A moment in 2023, nanoseconds since the epoch.
pub const BEGIN: u64 = 1_700_000_000_000_000_000;
pub const MILLI: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MILLI;

/// Span `n` of a made-up shop: one every millisecond, servers and clients in turn, each such pair
/// two sides of one exchange, every seventh pair an error, every fiftieth in an application's
/// own trace, every hundredth unanswered.
pub fn span(n: u64) -> Span {
    let pair = n / 2;
    let kind = if n.is_multiple_of(2) { SpanKind::Client } else { SpanKind::Server };
    let start = BEGIN + n * MILLI;
    let took = MILLI / 2 + hash64(&[n, 3]) % (20 * MILLI);
    let boot = n * MILLI + 3_600 * SECOND;
    let thread = 1000 + pair % 8;
    let touch = |event, time| Touch {
        event: EventId(event),
        time: BootTime(time),
        pid: Pid(1000),
        tid: Tid(thread as u32),
        unit: UnitId(thread),
    };
    let answered = !pair.is_multiple_of(100);
    let path =
        format!("/users/{}/orders/{}", hash64(&[pair, 4]) % 5000, hash64(&[pair, 5]) % 90_000);
    let head = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: load/1\r\n\r\n");
    let attributes = vec![
        ("http.request.method".into(), "GET".into()),
        ("url.path".into(), Value::from(path)),
        ("http.response.status_code".into(), 200.into()),
        ("server.address".into(), "shop.example".into()),
        ("server.port".into(), 8080.into()),
        ("network.peer.address".into(), "127.0.0.1".into()),
        ("network.peer.port".into(), (40_000 + (pair % 64) as i64).into()),
        ("process.pid".into(), 1000.into()),
        ("thread.id".into(), (thread as i64).into()),
    ];
    Span {
        id: SpanId(hash64(&[n, 1])),
        kind,
        name: format!("GET /users/{{id}}/{}", ["orders", "cart", "profile"][pair as usize % 3])
            .into(),
        service: ["front", "users", "orders", "cart", "stock"][n as usize % 5].into(),
        protocol: "http".into(),
        start: WallTime(start),
        end: WallTime(start + took),
        status: match pair % 7 {
            _ if !answered => SpanStatus::Unset,
            3 => SpanStatus::Error,
            _ => SpanStatus::Ok,
        },
        status_message: (pair % 7 == 3).then(|| "500 Internal Server Error".to_owned()),
        attributes: attributes.into(),
        request_size: head.len() as u64,
        response_size: 200 + pair % 1000,
        request_payload: head.into_bytes().into(),
        response_payload: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"[..].into(),
        process: ProcessKey { pid: Pid(1000), started: BootTime(77) },
        connection: ConnectionId(1 + n % 64),
        exchange: Exchange {
            kind: ExchangeKind::Tcp,
            request: hash64(&[pair, 6]) % (1 << 32),
            response: answered.then_some(hash64(&[pair, 7]) % (1 << 32)),
            stream: 0,
            request_hash: hash64(&[pair, 8]),
            confidence: 1.0,
        },
        request: [touch(n * 4, boot), touch(n * 4, boot)],
        response: answered.then(|| [touch(n * 4 + 2, boot + took), touch(n * 4 + 2, boot + took)]),
        trace_context: pair
            .is_multiple_of(50)
            .then(|| TraceContext { trace: TraceId(u128::from(pair) + 1), parent: pair }),
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
    }
}

/// The link of client span `n` to the server span before it.
pub fn link(n: u64) -> Link {
    Link {
        child: SpanId(hash64(&[n, 1])),
        parent: Some(SpanId(hash64(&[n.wrapping_sub(1), 1]))),
        child_start: WallTime(BEGIN + n * MILLI),
        method: Method::Thread,
        relation: Relation::Child,
        confidence: 0.9,
        algorithm: "auto".into(),
        candidates: 1,
        generation: 0,
        is_final: true,
    }
}
