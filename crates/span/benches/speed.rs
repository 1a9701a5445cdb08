//! Speed: events and messages of many connections into spans. Prints nanoseconds a span, with the two
//! calls and two messages that make it.

use std::hint::black_box;
use std::time::Instant;

use deeptrace_model::{
    BootTime, Call, ConnectionId, Direction, Endpoint, Event, EventBody, EventId, Host, Message,
    MessageRole, Open, Origin, Pid, Process, ProcessKey, SpanId, SpanStatus, StreamKey, Tid, Touch,
    Transport, UnitId, WallTime,
};
use deeptrace_span::{Input, Options, Output, Spans};

/// Spans of one run.
const SPANS: u64 = 200_000;

fn event(time: u64, body: EventBody<'_>) -> Event<'_> {
    Event { id: EventId(time), time: BootTime(time), body }
}

fn open(connection: u64) -> EventBody<'static> {
    let address = |port| Endpoint::Inet(([127, 0, 0, 1], port).into());
    EventBody::Open(Open {
        connection: ConnectionId(connection),
        pid: Pid(1),
        tid: Tid(1),
        transport: Transport::Tcp,
        local: address(8080),
        remote: address(40_000),
        origin: Origin::Accepted,
        netns: 1,
        cgroup: 1,
        unix_pair: None,
        sent: 0,
        received: 0,
    })
}

fn call(connection: u64, direction: Direction, start: u64) -> EventBody<'static> {
    EventBody::Call(Call {
        connection: ConnectionId(connection),
        pid: Pid(1),
        tid: Tid(1),
        unit: UnitId(1),
        direction,
        start,
        len: 100,
        payload: &[],
        drained: false,
        peer: None,
    })
}

fn message(connection: u64, role: MessageRole, time: u64, start: u64) -> Box<Message> {
    let is_request = role == MessageRole::Request;
    let touch = Touch {
        event: EventId(time),
        time: BootTime(time),
        pid: Pid(1),
        tid: Tid(1),
        unit: UnitId(1),
    };
    let attributes = if is_request {
        vec![
            ("http.request.method".into(), "GET".into()),
            ("url.path".into(), "/users/17".to_owned().into()),
            ("http.route".into(), "/users/{id}".to_owned().into()),
            ("server.address".into(), "shop.example".to_owned().into()),
            ("user_agent.original".into(), "wrk".to_owned().into()),
        ]
    } else {
        vec![("http.response.status_code".into(), 200.into())]
    };
    let stream = StreamKey { connection: ConnectionId(connection), stream: 0 };
    let direction = if is_request { Direction::Received } else { Direction::Sent };
    Box::new(Message {
        protocol: "http",
        stream,
        direction,
        role,
        span: SpanId::derive(1, stream, direction, start),
        start,
        size: 100,
        first: touch,
        last: touch,
        name: if is_request { "GET /users/{id}".into() } else { Default::default() },
        attributes: attributes.into(),
        status: SpanStatus::Ok,
        payload: vec![b'x'; 85].into(),
        head_hash: 7,
        ..Message::default()
    })
}

fn main() {
    println!("connections  ns/span  of which making the messages");
    for connections in [16, 1_000, 20_000] {
        let making = run(connections, false);
        let whole = run(connections, true);
        println!("{connections:11}  {:7.0}  {making:7.0}", whole - making);
    }
}

/// Nanoseconds a span. Without `feed` only the messages are made and dropped.
fn run(connections: u64, feed: bool) -> f64 {
    let mut spans = Spans::new(Options::default());
    let mut out = Output::default();
    let process = Process {
        key: ProcessKey { pid: Pid(1), started: BootTime(1) },
        parent: Pid(0),
        comm: "shop".to_owned(),
        executable: String::new(),
        service: "shop".to_owned(),
        service_source: String::new(),
        container_id: None,
        watched_by: String::new(),
    };
    for body in [
        EventBody::Host(Host { boot: 1, name: "host".to_owned() }),
        EventBody::Clock(WallTime(1_000_000)),
        EventBody::Process(process),
    ] {
        spans.feed(Input::Event(&event(1, body)), &mut out);
    }
    for connection in 0..connections {
        spans.feed(Input::Event(&event(1, open(connection))), &mut out);
    }
    let (mut time, mut next_tick) = (10, 0);
    let begun = Instant::now();
    for i in 0..SPANS {
        let connection = i % connections;
        let start = i / connections * 100;
        for role in [MessageRole::Request, MessageRole::Response] {
            time += 10_000;
            let message = message(connection, role, time, start);
            let direction = message.direction;
            if feed {
                spans.feed(Input::Message(message), &mut out);
                let call = event(time, call(connection, direction, start));
                spans.feed(Input::Event(&call), &mut out);
            } else {
                black_box(message);
            }
        }
        if time >= next_tick {
            next_tick = time + 100_000_000;
            spans.tick(BootTime(time), &mut out);
        }
        black_box(&out.spans);
        out.spans.clear();
    }
    begun.elapsed().as_nanos() as f64 / SPANS as f64
}
