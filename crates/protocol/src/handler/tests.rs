use std::sync::atomic::{AtomicUsize, Ordering};

use deeptrace_model::{
    BootTime, Call, ConnectionId, Direction, Endpoint, Event, EventBody, EventId, MessageRole,
    Open, Origin, Pid, SpanStatus, Tid, UnitId,
};

use super::*;
use crate::{Input, Options, Output, Protocols, Verdict};

/// `?` asks, `!` answers, `~` fails, `>` tells; then the id (`-`: none), the length of the rest.
fn detect(bytes: &[u8]) -> bool {
    matches!(bytes, [b'\x7f', b'?' | b'!' | b'~' | b'>', ..])
}

fn parse(bytes: &[u8]) -> ProtocolMetadata {
    let [b'\x7f', kind, id, len, rest @ ..] = bytes else {
        let is_front = b"\x7f".starts_with(&bytes[..bytes.len().min(1)]);
        return if is_front { ProtocolMetadata::need_more() } else { ProtocolMetadata::not_mine() };
    };
    if *len > 0 && rest.is_empty() {
        return ProtocolMetadata::need_more();
    }
    let length = 4 + usize::from(*len);
    let name = String::from_utf8_lossy(&rest[..rest.len().min(1)]);
    let metadata = match kind {
        b'?' => ProtocolMetadata::request(length, &*name).attribute("word", name.into_owned()),
        b'!' => ProtocolMetadata::response(length),
        b'~' => ProtocolMetadata::response(length).error("failed", "no"),
        b'>' => ProtocolMetadata::one_way(length, &*name),
        _ => return ProtocolMetadata::not_mine(),
    };
    if *id == b'-' { metadata } else { metadata.id(u64::from(*id)) }
}

fn handler() -> Handler {
    Handler::new("tell", detect, parse)
}

/// A message: what it is, its id, what it says.
fn message(kind: u8, id: u8, text: &str) -> Vec<u8> {
    [&[0x7f, kind, id, text.len() as u8], text.as_bytes()].concat()
}

/// A stage with one connection, whose opening was seen or not.
struct Talk {
    stage: Protocols,
    out: Output,
    events: u64,
    at: [u32; 2],
}

impl Talk {
    fn new(handler: Handler, origin: Origin) -> Self {
        let options = Options { handlers: vec![handler], ..Options::default() };
        let mut talk =
            Self { stage: Protocols::new(options), out: Output::default(), events: 0, at: [0; 2] };
        let address = Endpoint::Inet(([127, 0, 0, 1], 1).into());
        talk.feed(EventBody::Open(Open {
            connection: ConnectionId(1),
            pid: Pid(1),
            tid: Tid(1),
            transport: Transport::Tcp,
            local: address.clone(),
            remote: address,
            origin,
            netns: 0,
            cgroup: 0,
            unix_pair: None,
            sent: 0,
            received: 0,
        }));
        talk
    }

    fn feed(&mut self, body: EventBody<'_>) {
        self.events += 1;
        let event = Event { id: EventId(self.events), time: BootTime(self.events), body };
        self.stage.feed(&event, &mut self.out);
    }

    /// A call of the client or of the server.
    fn say(&mut self, from: Side, bytes: &[u8]) {
        let at = &mut self.at[from as usize];
        let start = u64::from(*at);
        *at += bytes.len() as u32;
        self.feed(EventBody::Call(Call {
            connection: ConnectionId(1),
            pid: Pid(1),
            tid: Tid(1),
            unit: UnitId(1),
            direction: if from == Side::Client { Direction::Received } else { Direction::Sent },
            start,
            len: bytes.len() as u32,
            payload: bytes,
            drained: false,
            peer: None,
        }));
    }

    fn said(&self) -> Vec<(MessageRole, u64, &str, SpanStatus)> {
        let messages = self.out.messages.iter();
        messages.map(|m| (m.role, m.stream.stream, m.name.as_str(), m.status)).collect()
    }

    fn counter(&self, wanted: &str) -> u64 {
        let mut found = 0;
        self.stage.counters(&mut |name, value| {
            if name == wanted {
                found = value;
            }
        });
        found
    }
}

const ASKED: (MessageRole, u64, &str, SpanStatus) =
    (MessageRole::Request, 0, "a", SpanStatus::Unset);
const ANSWERED: (MessageRole, u64, &str, SpanStatus) =
    (MessageRole::Response, 0, "", SpanStatus::Ok);

#[test]
fn messages_are_told_however_they_are_cut() {
    let client = [message(b'?', b'-', "a body"), message(b'?', b'-', "b")].concat();
    let server = [message(b'!', b'-', "fine"), message(b'~', b'-', "")].concat();
    for at in 1..client.len() {
        let mut talk = Talk::new(handler(), Origin::Accepted);
        talk.say(Side::Client, &client[..at]);
        talk.say(Side::Client, &client[at..]);
        talk.say(Side::Server, &server);
        let failed = (MessageRole::Response, 0, "", SpanStatus::Error);
        let asked = (MessageRole::Request, 0, "b", SpanStatus::Unset);
        assert_eq!(talk.said(), [ASKED, asked, ANSWERED, failed], "cut at {at}");
    }
}

#[test]
fn a_message_says_its_attributes_error_and_protocol() {
    let mut talk = Talk::new(handler(), Origin::Accepted);
    talk.say(Side::Client, &message(b'?', b'-', "a"));
    talk.say(Side::Server, &message(b'~', b'-', ""));
    let [request, response] = &talk.out.messages[..] else { panic!() };
    assert_eq!((request.protocol, response.protocol), ("tell", "tell"));
    assert_eq!(request.attributes.get("network.protocol.name").unwrap().as_text(), Some("tell"));
    assert_eq!(request.attributes.get("word").unwrap().as_text(), Some("a"));
    assert_eq!(response.attributes.get("error.type").unwrap().as_text(), Some("failed"));
    assert_eq!(response.status_message.as_deref(), Some("no"));
}

#[test]
fn sides_are_told_apart_where_the_opening_was_not_seen() {
    let mut talk = Talk::new(handler(), Origin::Found);
    talk.say(Side::Server, &message(b'!', b'7', ""));
    talk.say(Side::Client, &message(b'?', b'8', "a"));
    talk.say(Side::Server, &message(b'!', b'8', ""));
    // What the first one answers was asked before.
    let eight = u64::from(b'8');
    assert_eq!(
        talk.said(),
        [
            (MessageRole::Request, eight, "a", SpanStatus::Unset),
            (MessageRole::Response, eight, "", SpanStatus::Ok)
        ]
    );
    assert_eq!(talk.counter("protocol_stray_answers_total"), 1);
}

#[test]
fn an_answer_after_a_loss_is_to_nobody_unless_it_names_its_request() {
    for (id, answered) in [(b'-', 0), (b'5', 1)] {
        let mut talk = Talk::new(handler(), Origin::Accepted);
        talk.say(Side::Client, &message(b'?', id, "a"));
        talk.at[Side::Client as usize] += 30;
        talk.say(Side::Client, &message(b'?', b'-', "b"));
        talk.stage.tick(BootTime(u64::MAX / 2), &mut talk.out);
        talk.say(Side::Client, &message(b'?', id, "c"));
        let before = talk.out.messages.len();
        talk.say(Side::Server, &message(b'!', b'-', ""));
        talk.say(Side::Server, &message(b'!', id, ""));
        let answers = talk.out.messages[before..].len();
        assert!(answers >= answered, "{answers} answers with the id {id}");
    }
}

#[test]
fn both_sides_may_ask_and_tell() {
    let mut talk = Talk::new(handler(), Origin::Accepted);
    talk.say(Side::Client, &message(b'?', b'1', "a"));
    talk.say(Side::Server, &message(b'?', b'1', "b"));
    talk.say(Side::Client, &message(b'!', b'1', ""));
    talk.say(Side::Server, &message(b'!', b'1', ""));
    talk.say(Side::Server, &message(b'>', b'-', "c"));
    let roles: Vec<_> = talk.out.messages.iter().map(|m| (m.role, m.direction)).collect();
    let (received, sent) = (Direction::Received, Direction::Sent);
    assert_eq!(
        roles,
        [
            (MessageRole::Request, received),
            (MessageRole::Request, sent),
            (MessageRole::Response, received),
            (MessageRole::Response, sent),
            (MessageRole::OneWay, sent)
        ]
    );
}

/// A handler that panics says nothing any more; others go on.
#[test]
fn a_panic_switches_the_handler_off() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let bad = Handler::new("bad", detect, |bytes| {
        CALLS.fetch_add(1, Ordering::Relaxed);
        assert!(!bytes.ends_with(b"boom"), "this is meant to be seen once");
        parse(bytes)
    });
    let mut talk = Talk::new(bad, Origin::Accepted);
    talk.say(Side::Client, &message(b'?', b'-', "a"));
    talk.say(Side::Client, &message(b'?', b'-', "boom"));
    let calls = CALLS.load(Ordering::Relaxed);
    for _ in 0..10 {
        talk.say(Side::Client, &message(b'?', b'-', "a"));
        talk.say(Side::Server, &message(b'!', b'-', ""));
    }
    assert_eq!(talk.said(), [ASKED]);
    assert_eq!(CALLS.load(Ordering::Relaxed), calls);
    assert_eq!(talk.counter("protocol_handler_panics_total"), 1);
    assert_eq!(talk.stage.connections().next().unwrap().1, None);
}

#[test]
fn what_is_too_large_is_cut_and_counted() {
    let loud = Handler::new("loud", detect, |bytes| {
        let mut metadata = parse(bytes).attribute("long", "ä".repeat(4000));
        for number in 0..50 {
            metadata = metadata.attribute(format!("key{number}"), number).secret(0..1);
        }
        metadata
    });
    let mut talk = Talk::new(loud, Origin::Accepted);
    talk.say(Side::Client, &message(b'?', b'-', "a"));
    let request = &talk.out.messages[0];
    assert_eq!(request.attributes.get("long").unwrap().as_text().unwrap().len(), 1024);
    assert_eq!(request.attributes.iter().count(), 33);
    assert_eq!(talk.counter("protocol_handler_cuts_total"), 21);
    assert_eq!(&request.payload[..], b"*****");
}

#[test]
fn a_row_that_is_sure_keeps_its_connections() {
    let greedy =
        Handler::new("greedy", |_| true, |bytes| ProtocolMetadata::request(bytes.len(), "all"));
    let mut talk = Talk::new(greedy, Origin::Accepted);
    talk.say(Side::Client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_ne!(talk.out.messages[0].protocol, "greedy");
}

#[test]
fn a_parser_waits_for_so_much_and_no_more() {
    let waits = Handler::new("waits", |_| true, |_| ProtocolMetadata::need_more());
    let bytes = vec![1; 64 * 1024];
    let mut parser = waits.parser();
    let mut ask = |len: usize| {
        let input = Input { bytes: &bytes[..len], from: Side::Client, is_last: false };
        matches!(parser.parse(input), Verdict::More)
    };
    assert!(ask(1) && ask(64 * 1024 - 1) && !ask(64 * 1024));
}

#[test]
fn handlers_have_names_of_their_own() {
    let named = |name| Handler::new(name, detect, parse);
    let check = |names: &[&'static str]| {
        Handler::check(&names.iter().map(|name| named(name)).collect::<Vec<_>>())
    };
    assert_eq!(check(&["tell", "tell-2"]), Ok(()));
    assert_eq!(check(&["tell", "tell"]), Err(HandlerError::Taken("tell")));
    assert_eq!(check(&[TABLE[0].name]), Err(HandlerError::Taken(TABLE[0].name)));
    assert_eq!(check(&["Tell"]), Err(HandlerError::Name("Tell")));
    assert_eq!(check(&[""]), Err(HandlerError::Name("")));
    let names: Vec<&'static str> =
        (0..=HANDLERS_MAX).map(|n| &*Box::leak(format!("t{n}").into_boxed_str())).collect();
    assert_eq!(check(&names), Err(HandlerError::TooMany));
}
