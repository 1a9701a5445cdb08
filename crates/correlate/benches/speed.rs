//! Speed: messages, evidence and spans of busy processes into links, for several rates and numbers of
//! requests that are open at once. Prints nanoseconds a span, how many links were inferred, how many
//! calls kept their first guess because too much happened, and what it took of memory.

use std::borrow::Cow;
use std::hint::black_box;

use deeptrace_correlate::{Correlator, Input, LIVE_GENERATION, Options};
use deeptrace_model::{
    BootTime, ConnectionId, Direction, EventId, Evidence, EvidenceKind, Exchange, ExchangeKind,
    Message, MessageRole, Pid, ProcessKey, Span, SpanId, SpanKind, SpanStatus, StreamKey, Tid,
    Touch, UnitId, WallTime, hash64,
};

/// Requests of one run, over all processes.
const REQUESTS: u64 = 50_000;
/// Wall clocks of the run begin here.
const WALL: u64 = 1_700_000_000_000_000_000;

/// One run.
struct Case {
    /// Processes that do the same.
    processes: u32,
    /// Requests a second of each.
    rate: u64,
    /// Requests that are open at once.
    at_once: u64,
    /// Of 4 requests so many are pinned: their calls are observed.
    pinned: u64,
}

/// So busy that the model does not answer, and as busy as processes are.
const CASES: &[Case] = &[
    Case { processes: 1, rate: 20_000, at_once: 1, pinned: 4 },
    Case { processes: 1, rate: 20_000, at_once: 1, pinned: 0 },
    Case { processes: 1, rate: 20_000, at_once: 32, pinned: 4 },
    Case { processes: 1, rate: 20_000, at_once: 32, pinned: 0 },
    Case { processes: 1, rate: 20_000, at_once: 512, pinned: 2 },
    Case { processes: 1, rate: 400, at_once: 2, pinned: 4 },
    Case { processes: 1, rate: 400, at_once: 2, pinned: 0 },
    Case { processes: 1, rate: 400, at_once: 8, pinned: 4 },
    Case { processes: 1, rate: 400, at_once: 8, pinned: 2 },
    Case { processes: 1, rate: 400, at_once: 8, pinned: 0 },
    Case { processes: 1, rate: 400, at_once: 32, pinned: 2 },
    Case { processes: 1, rate: 400, at_once: 32, pinned: 0 },
    Case { processes: 50, rate: 100, at_once: 4, pinned: 4 },
    Case { processes: 50, rate: 100, at_once: 4, pinned: 0 },
];

fn touch(pid: u32, time: u64) -> Touch {
    let (pid, tid) = (Pid(pid), Tid(1));
    Touch { event: EventId(0), time: BootTime(time), pid, tid, unit: UnitId(1) }
}

fn span(pid: u32, connection: u64, direction: Direction, from: u64, to: u64) -> Span {
    let stream = StreamKey { connection: ConnectionId(connection), stream: 0 };
    Span {
        id: SpanId::derive(1, stream, direction, from),
        kind: if direction == Direction::Received { SpanKind::Server } else { SpanKind::Client },
        name: "GET /users/{id}".into(),
        service: "shop".into(),
        protocol: Cow::Borrowed("http"),
        start: WallTime(WALL + from),
        end: WallTime(WALL + to),
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
        process: ProcessKey { pid: Pid(pid), started: BootTime(0) },
        connection: ConnectionId(connection),
        exchange: Exchange {
            kind: ExchangeKind::Tcp,
            request: from,
            response: Some(to),
            stream: 0,
            request_hash: 0,
            confidence: 1.0,
        },
        request: [touch(pid, from); 2],
        response: Some([touch(pid, to); 2]),
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

/// Each request makes two calls, after waits that vary.
fn steps(case: &Case) -> Vec<Step> {
    let mut steps: Vec<(u64, u8, Step)> = Vec::new();
    let apart = 1_000_000_000 / case.rate;
    for i in 0..REQUESTS {
        let pid = 1 + (i % u64::from(case.processes)) as u32;
        let nth = i / u64::from(case.processes);
        let vary = |part: u64, most: u64| hash64(&[i, part]) % most.max(1);
        let from = 1_000_000 + nth * apart + vary(0, apart) + u64::from(pid);
        let to = from + case.at_once * apart;
        let server = span(pid, 1 + i, Direction::Received, from, to);
        steps.push((from, 0, Step::Opened(Box::new(opened(&server)))));
        for part in 0..2 {
            let length = case.at_once * apart / 3;
            let start = from + 1 + part * length + vary(1 + part, length / 2);
            let call =
                span(pid, 1_000_000 + 2 * i + part, Direction::Sent, start, start + length / 2);
            if i % 4 < case.pinned {
                let evidence = Evidence {
                    pid: Pid(pid),
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

/// Resident memory in bytes (proc(5)).
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0
}

/// CPU time of this process in nanoseconds (proc(5)): others may be busy beside us.
fn used() -> f64 {
    let schedule = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    schedule.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0.0)
}

fn main() {
    println!("processes  req/s  at once  pinned  ns/span     links  inferred  passed over    MB");
    for case in CASES {
        let steps = steps(case);
        let before = resident();
        let mut most = before;
        let mut correlator = Correlator::new(Options::default());
        let mut links = Vec::new();
        let (mut count, mut inferred, mut next_tick) = (0, 0, 0);
        let begun = used();
        for step in &steps {
            match step {
                Step::Opened(message) => correlator.feed(Input::Message(message), &mut links),
                Step::Evidence(evidence) => {
                    correlator.feed(Input::Evidence(*evidence), &mut links);
                }
                Step::Span(span) => {
                    correlator.feed(Input::Span(span), &mut links);
                    let now = span.end.0 - WALL;
                    if now >= next_tick {
                        next_tick = now + 100_000_000;
                        correlator.tick(BootTime(now), &mut links);
                        most = most.max(resident());
                    }
                }
            }
            count += links.len();
            inferred += links.iter().filter(|link| link.generation == LIVE_GENERATION).count();
            black_box(&links);
            links.clear();
        }
        let each = (used() - begun) / (REQUESTS * 3) as f64;
        let mut passed_over = 0;
        correlator.counters(&mut |name, value| {
            if name == "correlate_not_inferred_total" {
                passed_over = value;
            }
        });
        let Case { processes, rate, at_once, pinned } = case;
        let megabytes = (most - before) / 1e6;
        println!(
            "{processes:9}  {rate:5}  {at_once:7}  {pinned:>4}/4  {each:7.0}  {count:8}  {inferred:8}  {passed_over:11}  {megabytes:4.1}"
        );
    }
}
