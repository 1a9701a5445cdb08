//! Many streams on one connection, and connections that change to such a protocol half-way.

use std::collections::BTreeMap;

use deeptrace_model::{Message, MessageRole, Value};

use crate::session::{Delivery, Session};

/// 250 calls, 100 at a time.
const HUNDRED: &str = include_str!("multiplexed/hundred.stream");

/// Recorded from curl 7.88 and a server made of PyPI's h2 4.4.
const UPGRADE: &str = r#"
open accepted tcp 80
C "GET /one HTTP/1.1\r\nHost: 127.0.0.1:21773\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
S "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\x00\x00*\x04\x00\x00\x00\x00\x00\x00\x01\x00\x00\x10\x00\x00\x02\x00\x00\x00\x00\x00\x04\x00\x00\xff\xff\x00\x05\x00\x00@\x00\x00\x08\x00\x00\x00\x00\x00\x03\x00\x00\x00d\x00\x06\x00\x01\x00\x00"
C "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d\x00\x04\x02\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\x00\x00\x04\x08\x00\x00\x00\x00\x00\x01\xff\x00\x01"
S "\x00\x00\n\x01\x04\x00\x00\x00\x01\x88_\x87I|\xa5\x8a\xe8\x19\xaa\x00\x00\x05\x00\x01\x00\x00\x00\x01first\x00\x00\x00\x04\x01\x00\x00\x00\x00"
C "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x05\x00\x00&\x01\x05\x00\x00\x00\x03?\xe1\x1f\x82\x04\x83a>\x0f\x86A\x8b\x08\x9d\\\x0b\x81p\xdc\x10]u\x9fz\x88%\xb6P\xc3\xab\xbc\xf2\xe1S\x03*/*"
S "\x00\x00\x02\x01\x04\x00\x00\x00\x03\x88\xbe\x00\x00\x04\x00\x01\x00\x00\x00\x03next"
close 0
"#;

/// What a span would say of a request.
#[derive(Debug, PartialEq)]
struct Call {
    protocol: &'static str,
    /// Where the request and the response start.
    starts: (u64, u64),
    method: Option<Value>,
    status: Option<Value>,
    /// What was said before the attach.
    unknown: Vec<&'static str>,
}

/// Requests with their responses, by stream.
fn calls(session: &Session, deliveries: &[Delivery]) -> BTreeMap<u64, Call> {
    let (out, _) = session.run(deliveries);
    let of = |role| {
        let messages = out.messages.iter().filter(move |message| message.role == role);
        messages.map(|message| (message.stream.stream, &**message))
    };
    let responses: BTreeMap<u64, &Message> = of(MessageRole::Response).collect();
    let call = |(stream, request): (u64, &Message)| {
        let response = responses.get(&stream)?;
        let call = Call {
            protocol: request.protocol,
            starts: (request.start, response.start),
            method: request.attributes.get("rpc.method").cloned(),
            status: response.attributes.get("rpc.response.status_code").cloned(),
            unknown: [&*request.unknown, &*response.unknown].concat(),
        };
        Some((stream, call))
    };
    of(MessageRole::Request).filter_map(call).collect()
}

/// Attached before any call: of the requests that begin later, nearly all are told as if everything
/// had been seen, but for what only the table of the encoder knows.
#[test]
fn a_hundred_streams_are_told_apart_from_the_middle_on() {
    for opening in ["server tcp 50051", "found tcp 50051", "none tcp"] {
        let text = HUNDRED.replace("accepted tcp 50051", opening);
        let session = Session::parse(&text);
        let deliveries = session.deliveries();
        let whole = calls(&session, &deliveries);
        assert_eq!(whole.len(), 250);
        let (mut expected, mut right, mut named) = (0, 0, 0);
        for from in 1..deliveries.len() / 2 {
            let seen = &deliveries[from..];
            let of_client = seen.iter().find_map(|delivery| match delivery {
                Delivery::Piece(piece) if piece.from == deeptrace_protocol::Side::Client => {
                    Some(u64::from(piece.start))
                }
                _ => None,
            });
            let part = calls(&session, seen);
            for (stream, call) in &whole {
                if of_client.is_none_or(|start| call.starts.0 < start) {
                    continue;
                }
                expected += 1;
                let Some(got) = part.get(stream) else { continue };
                let unknown = &got.unknown;
                let is_told = |name: &str, got: &Option<Value>, value: &Option<Value>| {
                    got == value || (got.is_none() && unknown.contains(&name))
                };
                let is_right = got.starts == call.starts
                    && got.protocol == call.protocol
                    && is_told("rpc.method", &got.method, &call.method)
                    && is_told("rpc.response.status_code", &got.status, &call.status);
                right += usize::from(is_right);
                named += usize::from(got.method.is_some());
            }
            // Nothing is made up.
            for (stream, got) in &part {
                assert_eq!(got.starts, whole[stream].starts, "{opening}, from {from}");
                assert!(got.method.is_none() || got.method == whole[stream].method);
                assert!(got.status.is_none() || got.status == whole[stream].status);
            }
        }
        println!("{opening}: {right} of {expected} spans are right; {named} know their method");
        assert!(right * 100 >= expected * 99, "{opening}: {right} of {expected}");
    }
}

#[test]
fn an_upgraded_connection_goes_on() {
    let session = Session::parse(UPGRADE);
    let (out, _) = session.run(&session.deliveries());
    let said: Vec<_> = out
        .messages
        .iter()
        .map(|m| (m.protocol, m.role, m.stream.stream, m.interim, m.name.as_str()))
        .collect();
    let (request, response) = (MessageRole::Request, MessageRole::Response);
    assert_eq!(
        said,
        [
            ("http", request, 0, false, "GET /one"),
            ("http", response, 0, true, ""),
            // It answers the request that asked for the upgrade.
            ("http2", response, 0, false, ""),
            ("http2", request, 3, false, "GET /two"),
            ("http2", response, 3, false, ""),
        ]
    );
}
