//! Speed: messages, evidence and spans of a busy process into links, for several numbers of requests
//! that are open at once. Prints nanoseconds a span.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Instant;

use deeptrace_correlate::{Correlator, Input, Options};
use deeptrace_model::{
    BootTime, ConnectionId, Direction, EventId, Evidence, EvidenceKind, Exchange, ExchangeKind,
    Message, MessageRole, Pid, ProcessKey, Span, SpanId, SpanKind, SpanStatus, StreamKey, Tid,
    Touch, UnitId, WallTime,
};

/// Requests of one run.
const REQUESTS: u64 = 50_000;
/// Time between two of them in nanoseconds.
const APART: u64 = 50_000;

fn touch(time: u64) -> Touch {
    Touch { event: EventId(0), time: BootTime(time), pid: Pid(1), tid: Tid(1), unit: UnitId(1) }
}

fn span(connection: u64, direction: Direction, from: u64, to: u64) -> Span {
    let stream = StreamKey { connection: ConnectionId(connection), stream: 0 };
    Span {
        id: SpanId::derive(1, stream, direction, from),
        kind: if direction == Direction::Received { SpanKind::Server } else { SpanKind::Client },
        name: "GET /users/{id}".into(),
        service: "shop".into(),
        protocol: Cow::Borrowed("http"),
        start: WallTime(from),
        end: WallTime(to),
        status: SpanStatus::Ok,
        status_message: None,
        attributes: vec![
            ("http.request.method".into(), "GET".into()),
            ("network.peer.address".into(), "127.0.0.1".into()),
            ("network.peer.port".into(), 8080.into()),
        ]
        .into(),
        request_size: 100,
        response_size: 100,
        request_payload: Default::default(),
        response_payload: Default::default(),
        process: ProcessKey { pid: Pid(1), started: BootTime(0) },
        connection: ConnectionId(connection),
        exchange: Exchange {
            kind: ExchangeKind::Tcp,
            request: from,
            response: Some(to),
            stream: 0,
            request_hash: 0,
            confidence: 1.0,
        },
        request: [touch(from); 2],
        response: Some([touch(to); 2]),
        trace_context: None,
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
    }
}

fn opened(span: &Span) -> Message {
    Message {
        protocol: "http",
        stream: StreamKey { connection: span.connection, stream: 0 },
        direction: Direction::Received,
        role: MessageRole::Request,
        start: span.request[0].time.0,
        size: 100,
        first: span.request[0],
        last: span.request[1],
        span: span.id,
        ..Message::default()
    }
}

enum Step {
    Opened(Box<Message>),
    Span(Box<Span>),
    Evidence(Evidence),
}

/// Each request makes two calls. `share` of 4 requests are pinned.
fn steps(at_once: u64, share: u64) -> Vec<Step> {
    let mut steps: Vec<(u64, u8, Step)> = Vec::new();
    for i in 0..REQUESTS {
        let from = 1_000_000 + i * APART;
        let to = from + at_once * APART;
        let server = span(1 + i % 1000, Direction::Received, from, to);
        steps.push((from, 0, Step::Opened(Box::new(opened(&server)))));
        for part in 0..2 {
            let length = at_once * APART / 3;
            let start = from + 1 + part * length + length / 4;
            let call = span(2000 + part, Direction::Sent, start, start + length / 2);
            if i % 4 < share {
                let evidence = Evidence {
                    pid: Pid(1),
                    child: call.id,
                    parent: Some(server.id),
                    kind: EvidenceKind::Pin,
                    confidence: 0.99,
                    time: BootTime(to),
                };
                steps.push((to, 0, Step::Evidence(evidence)));
            }
            steps.push((start + length / 2, 1, Step::Span(Box::new(call))));
        }
        steps.push((to, 2, Step::Span(Box::new(server))));
    }
    steps.sort_by_key(|(time, order, _)| (*time, *order));
    steps.into_iter().map(|(_, _, step)| step).collect()
}

fn main() {
    println!("at once  pinned  ns/span     links");
    for (at_once, share) in [(1, 4), (1, 0), (32, 4), (32, 2), (32, 0), (512, 2), (512, 0)] {
        let steps = steps(at_once, share);
        let mut correlator = Correlator::new(Options::default());
        let mut links = Vec::new();
        let (mut count, mut next_tick) = (0, 0);
        let begun = Instant::now();
        for step in &steps {
            match step {
                Step::Opened(message) => correlator.feed(Input::Message(message), &mut links),
                Step::Evidence(evidence) => {
                    correlator.feed(Input::Evidence(*evidence), &mut links);
                }
                Step::Span(span) => {
                    correlator.feed(Input::Span(span), &mut links);
                    if span.end.0 >= next_tick {
                        next_tick = span.end.0 + 100_000_000;
                        correlator.tick(BootTime(span.end.0), &mut links);
                    }
                }
            }
            count += links.len();
            black_box(&links);
            links.clear();
        }
        let each = begun.elapsed().as_nanos() as f64 / (REQUESTS * 3) as f64;
        println!("{at_once:7}  {share:>4}/4  {each:7.0}  {count:8}");
    }
}
