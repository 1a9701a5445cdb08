//! Scenarios as text: who did what on which thread, and which evidence that must give.

use deeptrace_model::{Close, Endpoint, EventId, Host, Tid, Touch, Transport};

use super::*;

/// One step a word: `THREAD<N` reads request N, `THREAD>N` answers it, `THREAD+N` sends call N,
/// `THREAD-N` reads its response, each on connection N or, with `@M`, on connection M. `x` closes
/// connection N, `!` makes connect fail. Returns `call:request(kind)` in order.
fn run(script: &str) -> Vec<String> {
    let mut contexts = Contexts::new(Options::default());
    let mut out = Vec::new();
    let host = Event {
        id: EventId(1),
        time: BootTime(0),
        body: EventBody::Host(Host { boot: 1, name: String::new() }),
    };
    contexts.feed(Input::Event(&host), &mut out);
    let mut spans = BTreeMap::new();
    for (step, word) in script.split_whitespace().enumerate() {
        let at = word.find(['<', '>', '+', '-', 'x', '!']).expect("an action");
        let unit = u64::from(word.as_bytes()[0]);
        let (number, connection) = word[at + 1..].split_once('@').unwrap_or((&word[at + 1..], ""));
        let number: u64 = number.parse().expect("a number");
        let connection = connection.parse().unwrap_or(number);
        let (role, direction, base) = match &word[at..=at] {
            "<" => (MessageRole::Request, Direction::Received, 0),
            ">" => (MessageRole::Response, Direction::Sent, 0),
            "+" | "!" => (MessageRole::Request, Direction::Sent, 1000),
            _ => (MessageRole::Response, Direction::Received, 1000),
        };
        let stream = StreamKey { connection: ConnectionId(base + connection), stream: 0 };
        let message = message(role, direction, stream, unit, step as u64);
        if role == MessageRole::Request {
            let name = if base == 0 { format!("r{number}") } else { format!("c{number}") };
            spans.insert(SpanId::derive(1, stream, direction, message.start), name);
        }
        let (id, time) = (EventId(step as u64), message.last.time);
        let mut tell = |body| {
            contexts.feed(Input::Event(&Event { id, time, body }), &mut out);
        };
        match &word[at..=at] {
            "x" => {
                let closed = Close { connection: ConnectionId(connection), errno: 0 };
                tell(EventBody::Close(closed));
            }
            "!" => {
                tell(EventBody::Open(connect(stream.connection, unit, message.start)));
                let refused = Close { connection: stream.connection, errno: 111 };
                tell(EventBody::Close(refused));
            }
            _ => contexts.feed(Input::Message(&message), &mut out),
        }
    }
    out.iter()
        .map(|e| {
            let parent = e.parent.map(|p| spans[&p].clone()).unwrap_or_default();
            format!("{}:{parent}({:?})", spans[&e.child], e.kind)
        })
        .collect()
}

fn connect(connection: ConnectionId, unit: u64, sent: u64) -> Open {
    Open {
        connection,
        pid: Pid(1),
        tid: Tid(unit as u32),
        transport: Transport::Tcp,
        local: Endpoint::Unknown,
        remote: Endpoint::Unknown,
        origin: Origin::Connected,
        netns: 0,
        cgroup: 0,
        unix_pair: None,
        sent,
        received: 0,
    }
}

fn message(
    role: MessageRole,
    direction: Direction,
    stream: StreamKey,
    unit: u64,
    step: u64,
) -> Message {
    let touch = Touch {
        event: EventId(step),
        time: BootTime(step * 1000),
        pid: Pid(1),
        tid: Tid(unit as u32),
        unit: UnitId(unit),
    };
    Message {
        protocol: "http",
        stream,
        direction,
        role,
        start: step * 100,
        size: 10,
        first: touch,
        last: touch,
        span: SpanId::derive(1, stream, direction, step * 100),
        ..Message::default()
    }
}

#[test]
fn scenarios() {
    let table: &[(&str, &str, &str)] = &[
        (
            "thread per request",
            "a<1 a+1 b<2 b+2 b-2 b>2 a-1 a+3 a-3 a>1",
            "c2:r2(Pin) c1:r1(Pin) c3:r1(Pin)",
        ),
        ("handed to a thread that answers", "a<1 b+1 b-1 b>1", "c1:r1(Thread)"),
        (
            "a pool whose threads answer, one request at a time",
            "a<1 b+1 b-1 b>1 a<2 c+2 c-2 c>2",
            "c1:r1(Thread) c2:r2(Thread)",
        ),
        (
            "a pool whose threads answer, two requests at once",
            "a<1 b+1 a<2 c+2 b-1 b>1 c-2 c>2",
            "c1:r1(Thread) c2:r2(Thread)",
        ),
        (
            "read, one call, and handed over",
            "a<1 a+1 a-1 b+2 b-2 b>1",
            "c2:r1(Thread) c1:r1(Thread)",
        ),
        ("the call outlives the request of another thread", "a<1 a+1 b>1 a-1", ""),
        ("call made by another thread", "a<1 b+1 b-1 a>1", ""),
        ("what a helper did before is not its own answer's", "a<1 b+1 b-1 a>1 b<2 b>2", ""),
        ("event loop with two requests at once", "a<1 a+1 a<2 a+2 a-1 a>1 a-2 a>2", ""),
        (
            "event loop, one after the other",
            "a<1 a+1 a-1 a>1 a<2 a+2 a-2 a>2",
            "c1:r1(Pin) c2:r2(Pin)",
        ),
        (
            "pipelined requests are served one after the other",
            "a<1 a<2@1 a+1 a-1 a>1 a+2 a-2 a>2@1",
            "c1:r1(Pin) c2:r2(Pin)",
        ),
        (
            "keep-alive on a thread of its own",
            "a<1 a+1 b<9 a-1 b+9 a>1 a<2@1 a+2 b-9 a-2 a>2@1 b>9",
            "c1:r1(Pin) c2:r2(Pin) c9:r9(Pin)",
        ),
        ("a thread that answers another's request meanwhile", "a<1 b<2 a+1 a-1 a>2 a>1", ""),
        ("a call outside any request", "a+1 a-1 a<1 a>1", ""),
        ("attached after the request", "a+1 a-1 a>1 a<2 a+2 a-2 a>2", "c2:r2(Pin)"),
        ("closed without an answer", "a<1 a+1 a-1 ax1 a<2 a+2 a-2 a>2", "c2:r2(Pin)"),
        ("a connect that fails is a call", "a<1 a!1 a>1", "c1:r1(Pin)"),
        ("calls that migrate are not trusted", "a<1 a+1 b-1 a+2 b-2 a>1", ""),
    ];
    for (name, script, expected) in table {
        assert_eq!(run(script).join(" "), *expected, "{name}: {script}");
    }
}

#[test]
fn the_same_input_gives_the_same_evidence() {
    let script = "a<1 a+1 b<2 b+2 b-2 b>2 a-1 a>1";
    assert_eq!(run(script), run(script));
}

#[test]
fn what_is_never_answered_is_forgotten() {
    let mut contexts = Contexts::new(Options::default());
    let mut out = Vec::new();
    for number in 0..10_000 {
        let stream = StreamKey { connection: ConnectionId(number), stream: 0 };
        let request = message(MessageRole::Request, Direction::Received, stream, 1, number);
        contexts.feed(Input::Message(&request), &mut out);
    }
    contexts.tick(BootTime(120_000_000_000), &mut out);
    let mut counters = BTreeMap::new();
    contexts.counters(&mut |name, value| {
        counters.insert(name, value);
    });
    assert_eq!(counters["context_shed_total"], 10_000);
    assert_eq!(counters["context_processes"], 0);
}

#[test]
fn a_reader_in_the_background_is_not_migration() {
    // Requests on threads of their own, all responses read by `z`.
    let mut script = String::new();
    for i in 0..100 {
        let j = 100 + i;
        script += &format!("a<{i} a+{i} b<{j} b+{j} z-{i} z-{j} a>{i} b>{j} ");
    }
    let told = run(&script);
    assert!(told.len() > 150, "{}", told.len());
    for line in told {
        let number = line.trim_start_matches('c').split(':').next().expect("a call");
        assert_eq!(line, format!("c{number}:r{number}(Pin)"));
    }
}

proptest::proptest! {
    /// Whatever comes in whatever order: no panic, and the same twice.
    #[test]
    fn any_order_is_taken(
        steps in proptest::collection::vec((0usize..4, 0usize..6, 0u64..5), 0..200)
    ) {
        let (threads, actions) = (["a", "b", "c", "d"], ["<", ">", "+", "-", "x", "!"]);
        let script: Vec<String> = steps
            .iter()
            .map(|(thread, action, number)| format!("{}{}{number}", threads[*thread], actions[*action]))
            .collect();
        let script = script.join(" ");
        proptest::prop_assert_eq!(run(&script), run(&script));
    }
}

/// Only of TCP the end is told, so that many connections come and none goes.
#[test]
fn many_connections_that_nobody_closes_give_their_evidence() {
    const CONNECTIONS: u64 = 200_000;
    let mut contexts = Contexts::new(Options::default());
    let (mut out, mut found) = (Vec::new(), 0);
    // The requests of one process come on a new connection each, and lead to a call on another.
    for connection in 1..=CONNECTIONS {
        let stream = |of: u64| StreamKey { connection: ConnectionId(of), stream: 0 };
        let (own, other) = (stream(connection * 2), stream(connection * 2 + 1));
        for (step, (role, direction, stream)) in [
            (MessageRole::Request, Direction::Received, own),
            (MessageRole::Request, Direction::Sent, other),
            (MessageRole::Response, Direction::Received, other),
            (MessageRole::Response, Direction::Sent, own),
        ]
        .into_iter()
        .enumerate()
        {
            let message = message(role, direction, stream, 1, connection * 4 + step as u64);
            contexts.feed(Input::Message(&message), &mut out);
        }
        found += out.len() as u64;
        out.clear();
    }
    // The first ones only show how this process works.
    assert!(found > CONNECTIONS - 100, "{found}");
    let mut counters = BTreeMap::new();
    contexts.counters(&mut |name, value| {
        counters.insert(name, value);
    });
    assert_eq!(counters["context_connections"], CONNECTIONS_MAX as u64);
    assert_eq!(
        counters["context_connections_shed_total"],
        2 * CONNECTIONS - CONNECTIONS_MAX as u64
    );
    let pid = *contexts.processes.keys().next().expect("one process");
    let streams = contexts.processes[&pid].streams();
    assert!(streams <= CONNECTIONS_MAX, "{streams} streams are kept");
}

#[test]
fn what_waits_on_a_connection_that_makes_room_is_forgotten_and_counted() {
    let mut contexts = Contexts::new(Options::default());
    let mut out = Vec::new();
    let stream = |of: u64| StreamKey { connection: ConnectionId(of), stream: 0 };
    for connection in 1..=CONNECTIONS_MAX as u64 + 10 {
        let message =
            message(MessageRole::Request, Direction::Received, stream(connection), 1, connection);
        contexts.feed(Input::Message(&message), &mut out);
    }
    // 4096 are followed of one process. Ten of them had to go, and ten new ones came in their place.
    assert_eq!(contexts.counts.shed, CONNECTIONS_MAX as u64 + 10 - 4096);
    assert_eq!(contexts.connections_shed, 10);
    let process = contexts.processes.values().next().expect("one process");
    assert_eq!(process.streams(), 4096);
    let stream = |of: u64| process.follows(ConnectionId(of));
    assert!(!stream(10) && stream(11) && stream(CONNECTIONS_MAX as u64 + 10));
}
