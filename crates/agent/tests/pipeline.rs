//! The stages in their order, fed by hand.

use std::net::SocketAddr;

use deeptrace_agent::pipeline::{Options, Pipeline};
use deeptrace_agent::sink::Batch;
use deeptrace_model::{
    BootTime, Call, ConnectionId, Direction, Duration, Endpoint, Event, EventBody, EventId, Host,
    Open, Origin, Pid, Tid, Transport, UnitId, WallTime,
};

fn events() -> Vec<EventBody<'static>> {
    let address = |port| Endpoint::Inet(SocketAddr::from(([127, 0, 0, 1], port)));
    let open = Open {
        connection: ConnectionId(1),
        pid: Pid(10),
        tid: Tid(10),
        transport: Transport::Tcp,
        local: address(80),
        remote: address(40_000),
        origin: Origin::Accepted,
        netns: 1,
        cgroup: 1,
        unix_pair: None,
        sent: 0,
        received: 0,
    };
    let call = |direction, payload: &'static [u8]| {
        EventBody::Call(Call {
            connection: ConnectionId(1),
            pid: Pid(10),
            tid: Tid(10),
            unit: UnitId(10),
            direction,
            start: 0,
            len: payload.len() as u32,
            payload,
            drained: false,
            peer: None,
        })
    };
    vec![
        EventBody::Host(Host { boot: 7, name: "host".to_owned() }),
        EventBody::Clock(WallTime(1_795_000_000_000_000_000)),
        EventBody::Open(open),
        call(Direction::Received, b"GET /last HTTP/1.0\r\n\r\n"),
        // Its end is the end of the connection, which nobody sees.
        call(Direction::Sent, b"HTTP/1.0 200 OK\r\n\r\nhello"),
    ]
}

#[test]
fn what_only_the_end_finishes_is_given_out() {
    let mut pipeline = Pipeline::new(Options {
        max_payload_size: 512,
        correlation: Default::default(),
        handlers: Vec::new(),
        rules: Default::default(),
    });
    let mut batch = Batch::default();
    for (time, body) in (1..).zip(events()) {
        let event = Event { id: EventId(time), time: BootTime(time * 1_000), body };
        pipeline.feed(&event, &mut batch, &mut |_| {});
    }
    pipeline.settle(&mut batch);
    assert!(batch.spans.is_empty(), "the answer may go on");
    pipeline.end(BootTime(7_000).plus(Duration::from_secs(600)), &mut batch);
    let names: Vec<&str> = batch.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["GET /last"]);
}
