//! More connections than the stage can keep, of kinds whose end nobody tells.

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::{
    BootTime, Call, ConnectionId, Direction, Endpoint, Event, EventBody, EventId, Host, Message,
    MessageRole, Open, Origin, Pid, Span, SpanId, SpanStatus, StreamKey, Tid, Touch, Transport,
    UnitId, WallTime,
};
use deeptrace_span::{Input, Options, Output, Spans};

const CONNECTIONS: u64 = 200_000;
/// How many the stage keeps.
const KEPT: u64 = 65_536;
/// Time between two steps: 2,500 connections a second.
const STEP: u64 = 100_000;

struct Run {
    stage: Spans,
    time: u64,
    out: Output,
}

impl Run {
    fn new() -> Self {
        let mut run =
            Self { stage: Spans::new(Options::default()), time: 0, out: Output::default() };
        run.event(EventBody::Host(Host { boot: 1, name: "host".to_owned() }));
        run.event(EventBody::Clock(WallTime(0)));
        run
    }

    fn event(&mut self, body: EventBody<'_>) {
        self.time += STEP;
        let event = Event { id: EventId(self.time), time: BootTime(self.time), body };
        self.stage.feed(Input::Event(&event), &mut self.out);
        if self.time.is_multiple_of(STEP * 1000) {
            self.stage.tick(BootTime(self.time), &mut self.out);
        }
    }

    fn open(&mut self, connection: u64, transport: Transport, unix_pair: Option<(u64, bool)>) {
        let accepted = unix_pair.is_some_and(|(_, side)| side);
        self.event(EventBody::Open(Open {
            connection: ConnectionId(connection),
            pid: Pid(1),
            tid: Tid(1),
            transport,
            local: Endpoint::Unknown,
            remote: Endpoint::Unknown,
            origin: if accepted { Origin::Accepted } else { Origin::Connected },
            netns: 0,
            cgroup: 0,
            unix_pair,
            sent: 0,
            received: 0,
        }));
    }

    /// A message with its call.
    fn say(&mut self, connection: u64, role: MessageRole, direction: Direction, start: u64) {
        let connection = ConnectionId(connection);
        let touch = Touch {
            event: EventId(self.time),
            time: BootTime(self.time),
            pid: Pid(1),
            tid: Tid(1),
            unit: UnitId(1),
        };
        let stream = StreamKey { connection, stream: 0 };
        let message = Message {
            protocol: "http",
            stream,
            direction,
            role,
            span: SpanId::derive(1, stream, direction, start),
            start,
            size: 10,
            first: touch,
            last: touch,
            status: SpanStatus::Ok,
            ..Message::default()
        };
        self.stage.feed(Input::Message(Box::new(message)), &mut self.out);
        self.event(EventBody::Call(Call {
            connection,
            pid: Pid(1),
            tid: Tid(1),
            unit: UnitId(1),
            direction,
            start,
            len: 10,
            payload: &[],
            drained: false,
            peer: None,
        }));
    }

    fn ask(&mut self, connection: u64, start: u64) {
        self.say(connection, MessageRole::Request, Direction::Sent, start);
    }

    fn answer(&mut self, connection: u64, start: u64) {
        self.say(connection, MessageRole::Response, Direction::Received, start);
    }

    fn spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.out.spans)
    }

    fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut counters = BTreeMap::new();
        self.stage.counters(&mut |name, value| {
            counters.insert(name, value);
        });
        counters
    }
}

/// The transports whose end is not told, and TCP, where it may be lost.
const TRANSPORTS: [Transport; 4] =
    [Transport::Tcp, Transport::Udp, Transport::UnixStream, Transport::UnixDatagram];

#[test]
fn each_of_many_short_connections_that_nobody_closes_gives_its_span() {
    for transport in TRANSPORTS {
        let mut run = Run::new();
        let mut answered = 0;
        for connection in 1..=CONNECTIONS {
            let pair = (transport == Transport::UnixStream).then_some((connection, false));
            run.open(connection, transport, pair);
            run.ask(connection, 0);
            run.answer(connection, 0);
            let spans = run.spans();
            assert_eq!(spans.len(), 1, "{transport:?} {connection}");
            assert_eq!(spans[0].exchange.confidence, sure(transport), "{transport:?} {connection}");
            answered += spans.iter().filter(|span| span.response.is_some()).count() as u64;
        }
        assert_eq!(answered, CONNECTIONS, "{transport:?}");
        let counters = run.counters();
        assert_eq!(counters["span_connections"], KEPT, "{transport:?}");
        assert_eq!(counters["span_connections_shed_total"], CONNECTIONS - KEPT, "{transport:?}");
        assert_eq!(counters["span_requests_shed_total"], 0, "{transport:?}");
        assert_eq!(counters["span_unix_pairs_shed_total"], 0, "{transport:?}");
    }
}

/// Nobody knows the other end of these UNIX sockets from its beginning.
fn sure(transport: Transport) -> f32 {
    if transport == Transport::UnixStream { 0.9 } else { 1.0 }
}

#[test]
fn both_ends_of_many_pairs_are_joined() {
    let mut run = Run::new();
    for pair in 1..=CONNECTIONS / 2 {
        let (client, server) = (pair * 2, pair * 2 + 1);
        run.open(client, Transport::UnixStream, Some((pair, false)));
        run.ask(client, 0);
        run.open(server, Transport::UnixStream, Some((pair, true)));
        run.say(server, MessageRole::Request, Direction::Received, 0);
        run.say(server, MessageRole::Response, Direction::Sent, 0);
        run.answer(client, 0);
        let spans = run.spans();
        assert_eq!(spans.len(), 2, "pair {pair}");
        assert_eq!(spans[0].exchange.key(), spans[1].exchange.key(), "pair {pair}");
        assert_eq!(spans[0].exchange.confidence, 1.0, "pair {pair}");
    }
    assert_eq!(run.counters()["span_unix_pairs_shed_total"], 0);
}

#[test]
fn what_is_open_on_a_connection_that_makes_room_is_told() {
    let mut run = Run::new();
    for connection in 1..=CONNECTIONS {
        run.open(connection, Transport::Udp, None);
        run.ask(connection, 0);
    }
    // Requests of connections that are still there wait for a minute.
    run.stage.finish(&mut run.out);
    let spans = run.spans();
    let ids: BTreeSet<u64> = spans.iter().map(|span| span.connection.0).collect();
    assert_eq!((spans.len() as u64, ids.len() as u64), (CONNECTIONS, CONNECTIONS));
    let mut why: BTreeMap<String, u64> = BTreeMap::new();
    for span in spans {
        *why.entry(span.status_message.unwrap_or_default()).or_default() += 1;
    }
    assert_eq!(why["too many connections at once"], CONNECTIONS - KEPT);
    assert_eq!(run.counters()["span_connections_shed_total"], CONNECTIONS - KEPT);
}

#[test]
fn what_is_used_stays_and_what_nobody_knows_joins_nothing() {
    let mut run = Run::new();
    run.open(1, Transport::Tcp, None);
    run.open(2, Transport::Udp, None);
    let mut start = 0;
    for connection in 3..=CONNECTIONS {
        run.open(connection, Transport::Udp, None);
        if connection % 50_000 == 0 {
            start += 10;
            run.ask(1, start);
            run.answer(1, start);
            let spans = run.spans();
            assert_eq!(spans[0].exchange.confidence, 1.0, "after {connection}");
        }
    }
    // The second was never used again and is forgotten: of what kind it was, too.
    run.ask(2, 0);
    run.answer(2, 0);
    let spans = run.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].exchange.confidence, 0.0);
}
