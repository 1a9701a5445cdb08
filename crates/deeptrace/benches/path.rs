//! What a span costs on its way from the event to the disk: the stages of the agent, then the store.
//! `cargo bench -p deeptrace`, with a part of a case's name if wanted.
//!
//! Events are made before the clock starts. Times are of one thread that does nothing else, so caches
//! are as warm as they get; `./x bench overhead` measures the whole in company.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use deeptrace_agent::pipeline::{Options, Pipeline};
use deeptrace_agent::sink::Batch;
use deeptrace_model::{
    BootTime, Call, ConnectionId, Direction, Endpoint, Event, EventBody, EventId, Host, Open,
    Origin, Pid, Process, ProcessKey, Tid, Transport, UnitId, WallTime,
};
use deeptrace_store::Mode;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: u64 = 32;
const ROUNDS: u64 = 6_000;
/// As the agent hands them on.
const BATCH: usize = 4096;

/// A kind of traffic: the bytes of a request and its answer, and how many go in one call.
struct Case {
    name: &'static str,
    port: u16,
    together: u64,
    request: fn(u64) -> Cow<'static, [u8]>,
    answer: &'static [u8],
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 21:00:00 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello";

const CASES: &[Case] = &[
    Case {
        name: "http, the same head",
        port: 80,
        together: 1,
        request: |_| Cow::Borrowed(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:18501\r\n\r\n"),
        answer: ANSWER,
    },
    Case {
        name: "http, heads that differ",
        port: 80,
        together: 1,
        request: |number| {
            let head = format!(
                "GET /users/{number}/orders?page={number} HTTP/1.1\r\nHost: shop.example\r\n\
                 User-Agent: load/1.0\r\nAccept: */*\r\nX-Request-Id: {number:016x}\r\n\r\n"
            );
            Cow::Owned(head.into_bytes())
        },
        answer: ANSWER,
    },
    Case {
        name: "redis",
        port: 6379,
        together: 1,
        request: |_| Cow::Borrowed(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n"),
        answer: b"$5\r\nhello\r\n",
    },
    Case {
        name: "redis, 16 pipelined",
        port: 6379,
        together: 16,
        request: |_| Cow::Borrowed(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n"),
        answer: b"$5\r\nhello\r\n",
    },
];

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("{:<26} {:>9} {:>12} {:>12}", "case", "spans", "stages ns", "store ns");
    for case in CASES {
        if filter.as_ref().is_some_and(|filter| !case.name.contains(filter)) {
            continue;
        }
        let (spans, stages, store) = run(case);
        let each = |time: Duration| time.as_nanos() as f64 / spans.max(1) as f64;
        println!("{:<26} {spans:>9} {:>12.0} {:>12.0}", case.name, each(stages), each(store));
    }
}

fn run(case: &Case) -> (u64, Duration, Duration) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let options = deeptrace_store::Options::new(folder.path());
    let store = deeptrace_store::open("embedded", &options, Mode::Write).expect("a fresh store");
    let mut pipeline = Pipeline::new(Options {
        max_payload_size: 512,
        correlation: deeptrace_agent::pipeline::Correlation {
            link_wait: deeptrace_model::Duration(0),
            ..Default::default()
        },
        handlers: Vec::new(),
        rules: Default::default(),
    });
    let mut batch = Batch::default();
    let mut feed = |batch: &mut Batch, event: &Event<'_>| {
        pipeline.feed(event, batch, &mut |_| {});
    };
    opening(case).iter().for_each(|event| feed(&mut batch, event));
    let (mut spans, mut stages, mut writing) = (0, Duration::ZERO, Duration::ZERO);
    let (mut number, mut room) = (0, Vec::new());
    let mut positions = vec![[0_u64; 2]; CONNECTIONS as usize];
    for round in 0..ROUNDS / case.together {
        let made: Vec<(Vec<u8>, Vec<u8>)> = (0..CONNECTIONS)
            .map(|_| {
                let request = (0..case.together).flat_map(|_| {
                    number += 1;
                    (case.request)(number).into_owned()
                });
                (request.collect(), case.answer.repeat(case.together as usize))
            })
            .collect();
        let begun = Instant::now();
        for direction in [Direction::Received, Direction::Sent] {
            for (connection, bytes) in (1..).zip(&made) {
                let bytes = if direction == Direction::Received { &bytes.0 } else { &bytes.1 };
                let position = &mut positions[connection as usize - 1][direction as usize];
                feed(&mut batch, &call(connection, direction, round, *position, bytes));
                *position = (*position + bytes.len() as u64) & 0xffff_ffff;
            }
        }
        stages += begun.elapsed();
        if batch.spans.len() >= BATCH || round + 1 == ROUNDS / case.together {
            let next = Batch { spans: std::mem::take(&mut room), ..Batch::default() };
            let Batch { spans: done, links, gaps, .. } = std::mem::replace(&mut batch, next);
            spans += done.len() as u64;
            let begun = Instant::now();
            let mut whole = deeptrace_store::Batch { spans: done, links, gaps };
            store.write(&whole).expect("room on the disk");
            whole.clear();
            room = whole.spans;
            writing += begun.elapsed();
        }
    }
    (spans, stages, writing)
}

fn opening(case: &Case) -> Vec<Event<'static>> {
    let process = Process {
        key: ProcessKey { pid: Pid(10), started: BootTime(1) },
        parent: Pid(1),
        comm: "server".to_owned(),
        executable: "/usr/bin/server".to_owned(),
        service: "server".to_owned(),
        service_source: "executable".to_owned(),
        container_id: None,
        watched_by: "default".to_owned(),
    };
    let mut bodies = vec![
        EventBody::Host(Host { boot: 7, name: "host".to_owned() }),
        EventBody::Clock(WallTime(1_795_000_000_000_000_000)),
        EventBody::Process(process),
    ];
    let address = |port| Endpoint::Inet(SocketAddr::from(([127, 0, 0, 1], port)));
    bodies.extend((1..=CONNECTIONS).map(|connection| {
        EventBody::Open(Open {
            connection: ConnectionId(connection),
            pid: Pid(10),
            tid: Tid(10),
            transport: Transport::Tcp,
            local: address(case.port),
            remote: address(40_000 + connection as u16),
            origin: Origin::Accepted,
            netns: 1,
            cgroup: 1,
            unix_pair: None,
            sent: 0,
            received: 0,
        })
    }));
    bodies.into_iter().map(|body| event(1, body)).collect()
}

fn call(connection: u64, direction: Direction, round: u64, start: u64, bytes: &[u8]) -> Event<'_> {
    let time = 1_000 + round * 1_000_000 + direction as u64 * 500_000 + connection * 10_000;
    event(
        time,
        EventBody::Call(Call {
            connection: ConnectionId(connection),
            pid: Pid(10),
            tid: Tid(10),
            unit: UnitId(10),
            direction,
            start,
            len: bytes.len() as u32,
            payload: bytes,
            drained: false,
            peer: None,
        }),
    )
}

fn event(time: u64, body: EventBody<'_>) -> Event<'_> {
    Event { id: EventId(time), time: BootTime(time), body }
}
