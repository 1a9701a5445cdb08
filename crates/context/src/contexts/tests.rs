//! Scenarios as text: who did what on which thread, and which evidence that must give.

use deeptrace_model::{ConnectionId, EventId, Host, SpanStatus, StreamKey, Tid, Touch, UnitId};

use super::*;

/// One step a word: `THREAD<N` reads request N, `THREAD>N` answers it, `THREAD+N` sends call N,
/// `THREAD-N` reads its response. Returns `call:request(kind)` in order.
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
        let at = word.find(['<', '>', '+', '-']).expect("an action");
        let unit = u64::from(word.as_bytes()[0]);
        let number: u64 = word[at + 1..].parse().expect("a number");
        let (role, direction, base) = match &word[at..=at] {
            "<" => (MessageRole::Request, Direction::Received, 0),
            ">" => (MessageRole::Response, Direction::Sent, 0),
            "+" => (MessageRole::Request, Direction::Sent, 1000),
            _ => (MessageRole::Response, Direction::Received, 1000),
        };
        let stream = StreamKey { connection: ConnectionId(base + number), stream: 0 };
        let message = message(role, direction, stream, unit, step as u64);
        if role == MessageRole::Request {
            let name = if base == 0 { format!("r{number}") } else { format!("c{number}") };
            spans.insert(SpanId::derive(1, stream, direction, message.start), name);
        }
        contexts.feed(Input::Message(&message), &mut out);
    }
    out.iter()
        .map(|e| {
            let parent = e.parent.map(|p| spans[&p].clone()).unwrap_or_default();
            format!("{}:{parent}({:?})", spans[&e.child], e.kind)
        })
        .collect()
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
        name: String::new(),
        attributes: Vec::new(),
        status: SpanStatus::Ok,
        status_message: None,
        trace_context: None,
        payload: Vec::new(),
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
        incomplete: None,
        interim: false,
        head_hash: 0,
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
        ("answered on another thread", "a<1 a+1 a-1 b>1", "c1:r1(Thread)"),
        ("call made by another thread", "a<1 b+1 b-1 a>1", ""),
        ("event loop with two requests at once", "a<1 a+1 a<2 a+2 a-1 a>1 a-2 a>2", ""),
        (
            "event loop, one after the other",
            "a<1 a+1 a-1 a>1 a<2 a+2 a-2 a>2",
            "c1:r1(Pin) c2:r2(Pin)",
        ),
        ("a call outside any request", "a+1 a-1 a<1 a>1", ""),
        ("attached after the request", "a+1 a-1 a>1 a<2 a+2 a-2 a>2", "c2:r2(Pin)"),
        ("work that migrates is not trusted", "a<1 a+1 b-1 a+2 b-2 a>1", ""),
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
    assert_eq!(counters["context_shed_requests_total"], 10_000);
}
