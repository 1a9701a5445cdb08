//! From the upgrade in HTTP to messages; and what is not believed.

use deeptrace_model::{
    BootTime, Call, ConnectionId, Direction, Endpoint, Event, EventBody, EventId, Open, Origin,
    Pid, Tid, Transport, UnitId,
};

use super::{PROTOCOL, trace_context};
use crate::{Options, Output, Protocols, Recognition, Side};

#[test]
fn follows_an_upgrade_of_http() {
    let calls: &[(Direction, &[u8])] = &[
        (Direction::Received, b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"),
        (Direction::Sent, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
        (Direction::Received, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
        (Direction::Sent, b"\x81\x05hello\x82\x03\x00\x01\x02"),
    ];
    let (mut stage, mut out) = (Protocols::new(Options::default()), Output::default());
    let address = |port| Endpoint::Inet(([127, 0, 0, 1], port).into());
    let opening = Open {
        connection: ConnectionId(7),
        pid: Pid(1),
        tid: Tid(1),
        transport: Transport::Tcp,
        local: address(80),
        remote: address(40000),
        origin: Origin::Accepted,
        netns: 0,
        cgroup: 0,
        unix_pair: None,
        sent: 0,
        received: 0,
    };
    let mut feed = |number: usize, body: EventBody<'_>| {
        let (id, time) = (EventId(number as u64), BootTime(number as u64 * 1_000_000));
        stage.feed(&Event { id, time, body }, &mut out);
    };
    feed(1, EventBody::Open(opening));
    let mut at = [0u64; 2];
    for (index, (direction, payload)) in calls.iter().enumerate() {
        let start = at[*direction as usize];
        at[*direction as usize] += payload.len() as u64;
        let call = Call {
            connection: ConnectionId(7),
            pid: Pid(1),
            tid: Tid(1),
            unit: UnitId(1),
            direction: *direction,
            start,
            len: payload.len() as u32,
            payload,
            drained: false,
            peer: None,
        };
        feed(index + 2, EventBody::Call(call));
    }
    let said: Vec<_> = out.messages.iter().map(|m| (m.protocol, m.name.as_str())).collect();
    let expected = [
        ("http", "GET /chat"),
        ("http", ""),
        ("websocket", "WebSocket text"),
        ("websocket", "WebSocket text"),
        ("websocket", "WebSocket binary"),
    ];
    assert_eq!(said, expected);
}

#[test]
fn only_masked_text_is_sure() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(PROTOCOL.says(hello, None), Recognition::Yes(Side::Client));
    assert_eq!(PROTOCOL.says(hello, Some(Side::Server)), Recognition::No);
    assert_eq!(PROTOCOL.says(b"\x81\x05hello", None), Recognition::Maybe(Side::Server));
    assert_eq!(PROTOCOL.says(b"\x82\x03abc", Some(Side::Server)), Recognition::Maybe(Side::Server));
    // MQTT subscribes like this.
    assert_eq!(PROTOCOL.says(b"\x82\x03abc", None), Recognition::No);
    // Not text when unmasked, a byte too many, a length that has a shorter form.
    assert_eq!(PROTOCOL.says(b"\x81\x85\x37\xfa\x21\x3dabcde", None), Recognition::No);
    assert_eq!(PROTOCOL.says(b"\x81\x05hello!", None), Recognition::No);
    assert_eq!(PROTOCOL.says(b"\x81\x7e\x00\x05hello", None), Recognition::No);
}

#[test]
fn trace_context_is_found_in_json() {
    let text = br#"{"op":"buy","traceparent" : "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
    assert_eq!(trace_context(text).map(|context| context.parent), Some(0xb7ad6b7169203331));
    assert_eq!(trace_context(br#"{"traceparent":"none"}"#), None);
}
