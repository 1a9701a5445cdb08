//! Scenarios as text: what happened on sockets, and which spans that must give.

use std::collections::BTreeMap;

use deeptrace_model::{
    BootTime, Call, Close, ConnectionId, Direction, Endpoint, Event, EventBody, EventId, Host,
    ItemKey, LINKED_TIME, LossCause, Message, MessageRole, Open, Origin, Pid, Process, ProcessKey,
    Span, SpanId, SpanStatus, StreamKey, Tid, Touch, Transport, UnitId, Value, WallTime,
};
use deeptrace_span::{Input, Options, Output, Spans};

const MS: u64 = 1_000_000;

/// Runs steps of the form `TIME ACTION ARGUMENTS`, separated by `;`, times in milliseconds:
/// `open C connected|accepted|found`, `close C ERRNO`, `lost N`, `tick`, or a message
/// `req|res|one DIRECTION C[.STREAM] [THREAD] [lost] [interim] [404] [since=MS] [cut=ERRNO] [grpc=CODE]
/// [failed] [send|receive] [item=N]`, with direction
/// `<` for received and `>` for sent.
fn run(script: &str) -> (Vec<Span>, BTreeMap<&'static str, u64>) {
    let mut stage = Spans::new(Options::default());
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
        EventBody::Clock(WallTime(0)),
        EventBody::Process(process),
    ] {
        stage.feed(Input::Event(&Event { id: EventId(1), time: BootTime(0), body }), &mut out);
    }
    let mut positions: BTreeMap<(u64, Direction), u64> = BTreeMap::new();
    for (index, step) in script.split(';').enumerate() {
        let words: Vec<&str> = step.split_whitespace().collect();
        let time: u64 = words[0].parse().expect("a time");
        let (action, words) = (words[1], &words[2..]);
        let event = |body| Event { id: EventId(index as u64), time: BootTime(time * MS), body };
        match action {
            "open" => stage.feed(Input::Event(&event(open(words[0], words[1]))), &mut out),
            "close" => {
                let (connection, errno) = (connection(words[0]), words[1].parse().expect("errno"));
                let close = Close { connection, errno };
                stage.feed(Input::Event(&event(EventBody::Close(close))), &mut out);
            }
            "lost" => {
                let count = words[0].parse().expect("a number");
                let lost = EventBody::Lost { cause: LossCause::RingFull, count };
                stage.feed(Input::Event(&event(lost)), &mut out);
            }
            "tick" => stage.tick(BootTime(time * MS), &mut out),
            _ => {
                let message = message(action, words, time, index, &mut positions);
                let call = EventBody::Call(Call {
                    connection: message.stream.connection,
                    pid: Pid(1),
                    tid: message.last.tid,
                    unit: message.last.unit,
                    direction: message.direction,
                    start: message.start,
                    len: message.size as u32,
                    payload: &[],
                    drained: false,
                    peer: None,
                });
                stage.feed(Input::Message(message), &mut out);
                stage.feed(Input::Event(&event(call)), &mut out);
            }
        }
    }
    let mut counters = BTreeMap::new();
    stage.counters(&mut |name, value| {
        if value > 0 {
            counters.insert(name, value);
        }
    });
    (out.spans, counters)
}

fn connection(word: &str) -> ConnectionId {
    ConnectionId(
        word.split('.').next().expect("as the notation has it").parse().expect("a connection"),
    )
}

fn open(name: &str, origin: &str) -> EventBody<'static> {
    let address = |port| Endpoint::Inet(([10, 0, 0, 1], port).into());
    EventBody::Open(Open {
        connection: connection(name),
        pid: Pid(1),
        tid: Tid(1),
        transport: Transport::Tcp,
        local: address(1000),
        remote: address(2000),
        origin: match origin {
            "connected" => Origin::Connected,
            "accepted" => Origin::Accepted,
            _ => Origin::Found,
        },
        netns: 0,
        cgroup: 0,
        unix_pair: None,
        sent: 0,
        received: 0,
    })
}

fn message(
    action: &str,
    words: &[&str],
    time: u64,
    index: usize,
    positions: &mut BTreeMap<(u64, Direction), u64>,
) -> Box<Message> {
    let direction = if words[0] == "<" { Direction::Received } else { Direction::Sent };
    let connection = connection(words[1]);
    let stream = words[1]
        .split_once('.')
        .map_or(0, |(_, stream)| stream.parse().expect("as the notation has it"));
    let (mut tid, mut status, mut attributes) = (1, SpanStatus::Unset, Vec::new());
    let (mut lost_events, mut interim, mut since, mut incomplete) = (0, false, time, None);
    let mut items = Vec::new();
    if action == "res" {
        status = SpanStatus::Ok;
    }
    for word in &words[2..] {
        match *word {
            "lost" => lost_events = 1,
            "interim" => interim = true,
            "404" | "500" => {
                let code = word.parse::<i64>().expect("as the notation has it");
                attributes.push(("http.response.status_code".into(), Value::Int(code)));
            }
            word if word.starts_with("grpc=") => {
                attributes.push(("rpc.system.name".into(), "grpc".into()));
                attributes.push(("rpc.response.status_code".into(), word[5..].to_owned().into()));
                attributes.push(("error.type".into(), word[5..].to_owned().into()));
                status = SpanStatus::Error;
            }
            "send" | "receive" => {
                attributes.push(("messaging.operation.type".into(), word.to_string().into()));
            }
            "failed" => status = SpanStatus::Error,
            word if word.starts_with("item=") => {
                items.push(ItemKey(word[5..].parse().expect("as the notation has it")));
            }
            word if word.starts_with("since=") => {
                since = word[6..].parse().expect("as the notation has it")
            }
            word if word.starts_with("cut=") => {
                let errno = word[4..].parse().expect("as the notation has it");
                incomplete = Some(deeptrace_model::Incomplete::Closed(errno));
            }
            word => tid = u32::from(word.as_bytes()[0]),
        }
    }
    let touch = |time: u64| Touch {
        event: EventId(index as u64),
        time: BootTime(time * MS),
        pid: Pid(1),
        tid: Tid(tid),
        unit: UnitId(u64::from(tid)),
    };
    let position = positions.entry((connection.0, direction)).or_default();
    *position += 100;
    let (stream, start) = (StreamKey { connection, stream }, *position - 100);
    Box::new(Message {
        protocol: "http",
        stream,
        direction,
        span: SpanId::derive(1, stream, direction, start),
        role: match action {
            "req" => MessageRole::Request,
            "res" => MessageRole::Response,
            _ => MessageRole::OneWay,
        },
        start,
        size: 100,
        first: touch(since),
        last: touch(time),
        name: "GET /".into(),
        attributes: attributes.into(),
        status,
        lost_events,
        incomplete,
        interim,
        items,
        ..Message::default()
    })
}

/// Kind, times in milliseconds, status, events lost, and the text.
fn told(span: &Span) -> String {
    let kind = format!("{:?}", span.kind).to_lowercase();
    let status = format!("{:?}", span.status).to_lowercase();
    let mut told = format!("{kind} {}-{} {status}", span.start.0 / MS, span.end.0 / MS);
    if span.lost_events > 0 {
        told += &format!(" lost={}", span.lost_events);
    }
    if let Some(error) = attribute(span, "error.type") {
        told += &format!(" {error}");
    }
    if let Some(text) = &span.status_message {
        told += &format!(" ({text})");
    }
    told
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    Some(match span.all_attributes().get(name)? {
        Value::Text(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// Name, steps, spans, and counters beside the number of spans and connections.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [(&'static str, u64)]);

#[test]
fn scenarios() {
    let table: &[Row] = &[
        ("one exchange", "0 open 1 accepted; 10 req < 1; 20 res > 1", &["server 10-20 ok"], &[]),
        (
            "pipelined requests are answered in order",
            "0 open 1 connected; 10 req > 1; 11 req > 1; 20 res < 1; 25 res < 1",
            &["client 10-20 ok", "client 11-25 ok"],
            &[],
        ),
        (
            "streams are answered in any order",
            "0 open 1 connected; 10 req > 1.1; 11 req > 1.3; 20 res < 1.3; 25 res < 1.1",
            &["client 11-20 ok", "client 10-25 ok"],
            &[],
        ),
        (
            "an interim response does not end the exchange",
            "0 open 1 accepted; 10 req < 1; 12 res > 1 interim; 20 res > 1",
            &["server 10-20 ok"],
            &[("span_interim_responses_total", 1)],
        ),
        (
            "one way",
            "0 open 1 accepted; 10 one < 1; 12 one > 1",
            &["consumer 10-10 ok", "producer 12-12 ok"],
            &[],
        ),
        (
            "a fast peer's answer is recorded before the request",
            "0 open 1 connected; 10 res < 1 b; 11 req > 1 a; 12 req > 1 a; 20 res < 1 b",
            &["client 11-11 ok", "client 12-20 ok"],
            &[("span_early_responses_total", 1)],
        ),
        (
            "an answer to a request that is still being sent",
            "0 open 1 found; 10 res > 1 b; 15 req < 1 a since=5",
            &["server 5-15 ok"],
            &[("span_early_responses_total", 1)],
        ),
        (
            "attached in the middle: the answer belongs to no request that was seen",
            "0 open 1 found; 10 res < 1 b; 11 req > 1 a; 20 res < 1 b; 99 tick",
            &["client 11-20 ok"],
            &[("span_orphan_responses_total", 1)],
        ),
        (
            "the thread that read an answer sends the next request",
            "0 open 1 connected; 10 res < 1 a; 11 req > 1 a; 20 res < 1 a; 99 tick",
            &["client 11-20 ok"],
            &[("span_orphan_responses_total", 1)],
        ),
        (
            "unanswered",
            "0 open 1 connected; 10 req > 1; 70000 tick",
            &["client 10-60010 unset (no response seen)"],
            &[("span_expired_total", 1), ("span_unanswered_total", 1)],
        ),
        (
            "an answer after its request was given up is not the next one's",
            "0 open 1 connected; 10 req > 1; 70000 tick; 70010 res < 1; 70011 req > 1; 70020 res < 1",
            &["client 10-60010 unset (no response seen)", "client 70011-70020 ok"],
            &[
                ("span_expired_total", 1),
                ("span_late_responses_total", 1),
                ("span_unanswered_total", 1),
            ],
        ),
        (
            "an answer that never came does not shift the next ones",
            "0 open 1 connected; 10 req > 1; 70000 tick; 70011 req > 1; 70020 res < 1",
            &["client 10-60010 unset (no response seen)", "client 70011-70020 ok"],
            &[("span_expired_total", 1), ("span_unanswered_total", 1)],
        ),
        (
            "reset",
            "0 open 1 connected; 10 req > 1; 20 close 1 104; 99 tick",
            &["client 10-20 error ECONNRESET (connection reset by peer)"],
            &[("span_unanswered_total", 1)],
        ),
        (
            "closed in order",
            "0 open 1 connected; 10 req > 1; 20 close 1 0; 99 tick",
            &["client 10-20 unset (connection closed before a response)"],
            &[("span_unanswered_total", 1)],
        ),
        (
            "an answer that comes with the close is still paired",
            "0 open 1 connected; 10 req > 1; 20 close 1 0; 20 res < 1; 99 tick",
            &["client 10-20 ok"],
            &[],
        ),
        (
            "cut off inside the response",
            "0 open 1 connected; 10 req > 1; 20 res < 1 cut=104",
            &["client 10-20 error ECONNRESET (connection reset by peer)"],
            &[],
        ),
        (
            "refused",
            "5 open 1 connected; 6 close 1 111; 99 tick",
            &["client 5-6 error ECONNREFUSED (connection refused)"],
            &[("span_failed_connects_total", 1)],
        ),
        (
            "not found is the client's error only",
            "0 open 1 connected; 0 open 2 accepted; 1 req > 1; 2 req < 2; 3 res > 2 404; 4 res < 1 404",
            &["server 2-3 ok", "client 1-4 error 404"],
            &[],
        ),
        (
            "what gRPC calls the client's error is the client's only",
            "0 open 1 connected; 0 open 2 accepted; 1 req > 1; 2 req < 2; 3 res > 2 grpc=NOT_FOUND; \
             4 res < 1 grpc=NOT_FOUND",
            &["server 2-3 ok", "client 1-4 error NOT_FOUND"],
            &[],
        ),
        (
            "and the server's is everybody's",
            "0 open 1 connected; 0 open 2 accepted; 1 req > 1; 2 req < 2; 3 res > 2 grpc=INTERNAL; \
             4 res < 1 grpc=INTERNAL",
            &["server 2-3 error INTERNAL", "client 1-4 error INTERNAL"],
            &[],
        ),
        (
            "what a client gives to a broker is an item, what it asks for is none yet",
            "0 open 1 connected; 0 open 2 accepted; 1 req > 1 send; 2 req < 2 send; 3 res > 2; 4 res < 1; \
             5 req > 1 receive; 6 res < 1",
            &["server 2-3 ok", "producer 1-4 ok", "client 5-6 ok"],
            &[],
        ),
        (
            "a server's error is everybody's",
            "0 open 1 connected; 0 open 2 accepted; 1 req > 1; 2 req < 2; 3 res > 2 500; 4 res < 1 500",
            &["server 2-3 error 500", "client 1-4 error 500"],
            &[],
        ),
        (
            "events lost while open",
            "0 open 1 accepted; 5 req < 1; 8 lost 7; 9 res > 1; 10 req < 1; 12 res > 1",
            &["server 5-9 ok lost=7", "server 10-12 ok"],
            &[("span_events_lost_total", 7)],
        ),
        (
            "a lost answer does not shift the next ones",
            "0 open 1 accepted; 5 req < 1; 20 req < 1; 25 res > 1 lost; 30 req < 1; 35 res > 1",
            &[
                "server 5-25 unset (the response was lost by capture)",
                "server 20-25 ok lost=1",
                "server 30-35 ok",
            ],
            &[("span_lost_responses_total", 1), ("span_unanswered_total", 1)],
        ),
    ];
    for (name, script, spans, counters) in table {
        let (found, mut counted) = run(script);
        let found: Vec<String> = found.iter().map(told).collect();
        assert_eq!(found, *spans, "{name}: {script}");
        counted.remove("span_spans_total");
        counted.remove("span_connections");
        assert_eq!(counted, counters.iter().copied().collect(), "{name}: {script}");
    }
}

#[test]
fn both_sides_know_each_other_and_where_they_are() {
    let script =
        "0 open 1 connected; 0 open 2 accepted; 1 req > 1; 2 req < 2; 3 res > 2; 4 res < 1";
    let (spans, _) = run(script);
    assert_eq!(spans[0].exchange.key(), spans[1].exchange.key());
    assert_eq!(spans[0].exchange.request_key(), spans[1].exchange.request_key());
    assert_ne!(spans[0].id, spans[1].id);
    let names = [
        ("network.transport", "tcp"),
        ("network.peer.address", "10.0.0.1"),
        ("network.peer.port", "2000"),
        ("network.local.port", "1000"),
        ("server.port", "2000"),
        ("process.pid", "1"),
        ("host.name", "host"),
        ("deeptrace.time_to_first_byte_ns", "3000000"),
    ];
    for (name, value) in names {
        assert_eq!(attribute(&spans[1], name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(attribute(&spans[0], "server.port").as_deref(), Some("1000"));
    assert_eq!(attribute(&spans[0], "client.address").as_deref(), Some("10.0.0.1"));
    assert_eq!(spans[0].service, "shop");
}

#[test]
fn losses_close_together_are_one_gap() {
    let mut stage = Spans::new(Options::default());
    let mut out = Output::default();
    for (time, count) in [(1000, 5), (1500, 2), (8990, 0), (9000, 1)] {
        let body = match count {
            0 => EventBody::Exit(Pid(1)),
            _ => EventBody::Lost { cause: LossCause::RingFull, count },
        };
        let event = Event { id: EventId(time), time: BootTime(time * MS), body };
        stage.feed(Input::Event(&event), &mut out);
    }
    stage.finish(&mut out);
    let told: Vec<_> = out.gaps.iter().map(|gap| (gap.to.0 / MS, gap.events)).collect();
    assert_eq!(told, [(1500, 7), (9000, 1)]);
}

#[test]
fn what_is_held_has_a_limit() {
    let mut script: Vec<String> = vec!["0 open 1 connected".to_owned()];
    script.extend((1..5000).map(|time| format!("{time} req > 1")));
    let (spans, counters) = run(&script.join(";"));
    assert_eq!(spans.len(), 4999 - 4096);
    assert_eq!(counters["span_requests_shed_total"], 4999 - 4096);
}

proptest::proptest! {
    /// Whatever comes in whatever order: no panic, and the same twice.
    #[test]
    fn any_order_is_taken(
        steps in proptest::collection::vec((0u64..100_000, 0usize..14, 0u64..4), 1..100)
    ) {
        let actions = [
            "open C accepted", "open C connected", "open C found", "req < C", "req > C", "req > C.1",
            "res < C", "res > C", "res > C lost", "res > C.1", "one < C", "close C 0",
            "close C 104", "tick",
        ];
        let script: Vec<String> = steps
            .iter()
            .map(|(time, action, c)| format!("{time} {}", actions[*action].replace('C', &c.to_string())))
            .collect();
        let script = script.join(";");
        proptest::prop_assert_eq!(run(&script), run(&script));
    }
}

/// Which spans are linked to which, by their places, and the milliseconds between.
fn linked(script: &str) -> Vec<(usize, Vec<usize>, i64)> {
    let (spans, _) = run(script);
    let place = |id: SpanId| spans.iter().position(|span| span.id == id).expect("a span");
    let all = spans.iter().enumerate().map(|(at, span)| {
        let time = span.attributes.get(LINKED_TIME).and_then(Value::as_int).unwrap_or(-1);
        (at, span.linked().map(place).collect::<Vec<_>>(), time / MS as i64)
    });
    all.filter(|(_, links, _)| !links.is_empty()).collect()
}

#[test]
fn who_takes_an_item_is_linked_to_who_put_it() {
    const OPEN: &str =
        "0 open 1 connected; 0 open 2 connected; 0 open 3 connected; 0 open 9 accepted;";
    // The broker sees the same items on their way in and out.
    let one = "1 req > 1 send item=7; 2 req < 9 send item=7; 3 res > 9; 4 res < 1; \
               5 req > 2 receive; 9 res < 2 item=7";
    assert_eq!(linked(&[OPEN, one].concat()), [(2, vec![1], 8)]);
    // The producer is answered after the consumer was.
    let late = "1 req > 2 receive; 3 req > 1 send item=7; 5 res < 2 item=7; 6 res < 1";
    assert_eq!(linked(&[OPEN, late].concat()), [(0, vec![1], 2)]);
    // Several, from several; one that nobody put.
    let many = "1 req > 1 send item=7; 2 res < 1; 3 one > 2 send item=8; 4 req > 3 receive; \
                9 res < 3 item=7 item=8 item=9";
    assert_eq!(linked(&[OPEN, many].concat()), [(2, vec![0, 1], 8)]);
    // Everybody who takes it.
    let all = "1 req > 1 send item=7; 2 res < 1; 3 req > 2 receive; 4 res < 2 item=7; \
               5 req > 3 receive; 6 res < 3 item=7";
    assert_eq!(linked(&[OPEN, all].concat()), [(1, vec![0], 3), (2, vec![0], 5)]);
    // Sent again: nobody knows which of them it was.
    let again = "1 req > 1 send item=7; 2 res < 1; 3 req > 1 send item=7; 4 res < 1; \
                 5 req > 2 receive; 6 res < 2 item=7";
    assert_eq!(linked(&[OPEN, again].concat()), []);
    // Items that are on their way into the broker are not taken.
    let in_only = "1 one > 1 send item=7; 2 one < 9 send item=7";
    assert_eq!(linked(&[OPEN, in_only].concat()), []);
}
