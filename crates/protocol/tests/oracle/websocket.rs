//! WebSocket (RFC 6455) beside the frames of the crate `tungstenite`.

use std::io::Cursor;

use deeptrace_model::{Message, Transport};
use deeptrace_protocol::Side;
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::session::Session;
use crate::told::{Calls, Told, config, each, ours, same, session, streams};

fn says(message: &Message) -> String {
    message.name.trim_start_matches("WebSocket ").to_owned()
}

/// Messages of one direction: frames up to the last, without what comes between them.
fn theirs(from: Side, bytes: &[u8]) -> Vec<Told> {
    let (mut all, mut open): (Vec<Told>, Option<Told>) = (Vec::new(), None);
    let mut cursor = Cursor::new(bytes);
    loop {
        let at = cursor.position();
        let Ok(Some((header, payload))) = FrameHeader::parse(&mut cursor) else { return all };
        let end = cursor.position() + payload;
        cursor.set_position(end);
        if end > bytes.len() as u64 {
            return all;
        }
        let says = match header.opcode {
            OpCode::Data(Data::Text) => "text",
            OpCode::Data(Data::Binary) => "binary",
            OpCode::Data(_) => "",
            OpCode::Control(Control::Close) => {
                let code = end.checked_sub(payload).filter(|_| payload >= 2);
                let told = Told { from, at, len: end - at, says: "close".to_owned() };
                all.extend(code.filter(|start| is_failure(bytes, *start, &header)).map(|_| told));
                continue;
            }
            OpCode::Control(_) => continue,
        };
        let told = open.get_or_insert_with(|| Told { from, at, len: 0, says: says.to_owned() });
        told.len += end - at;
        if header.is_final {
            all.extend(open.take());
        }
    }
}

/// Whether the code of a closing frame is other than that all is well (RFC 6455 §7.4.1).
fn is_failure(bytes: &[u8], at: u64, header: &FrameHeader) -> bool {
    let mask = header.mask.unwrap_or_default();
    let code = [0, 1].map(|index| bytes[at as usize + index] ^ mask[index]);
    !matches!(u16::from_be_bytes(code), 1000 | 1001)
}

fn check(name: &str, session: &Session) {
    let [client, server] = streams(session);
    let mut told = theirs(Side::Client, &client);
    let by_server = theirs(Side::Server, &server);
    if by_server.iter().any(|it| it.says == "close") {
        // Who is told of the end says the same again (RFC 6455 §5.5.1).
        told.retain(|it| it.says != "close");
    }
    told.extend(by_server);
    same(name, &ours(session, says), &told);
}

#[test]
fn the_corpus_is_read_alike() {
    each("websocket", &[], 4, check);
}

/// Frames of a message, and a ping between them.
fn message() -> impl Strategy<Value = (Vec<Vec<u8>>, bool, bool)> {
    let part = prop_oneof![vec(any::<u8>(), 0..100), vec(any::<u8>(), 120..300)];
    (vec(part, 1..4), any::<bool>(), any::<bool>())
}

fn written(from: Side, (parts, is_text, has_ping): (Vec<Vec<u8>>, bool, bool)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut write = |mut frame: Frame| {
        if from == Side::Client {
            frame.header_mut().mask = Some([0x12, 0x34, 0x56, 0x78]);
        }
        frame.format(&mut bytes).unwrap();
    };
    let last = parts.len() - 1;
    for (index, part) in parts.into_iter().enumerate() {
        let kind = match (index, is_text) {
            (0, true) => Data::Text,
            (0, false) => Data::Binary,
            _ => Data::Continue,
        };
        // What is text must be UTF-8 (RFC 6455 §8.1).
        let part = if is_text { part.iter().map(|it| b' ' + it % 64).collect() } else { part };
        write(Frame::message(part, OpCode::Data(kind), index == last));
        if has_ping {
            write(Frame::ping(b"still there?".to_vec()));
        }
    }
    bytes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_messages_are_read_alike(
        messages in vec((message(), any::<bool>()), 1..8),
        cuts in vec(any::<u16>(), 0..16),
    ) {
        // Only text that a client sends leaves no doubt.
        let mut calls: Calls = Vec::new();
        calls.push((Side::Client, written(Side::Client, (vec![b"{\"op\":1}".to_vec()], true, false))));
        for (message, by_client) in messages {
            let from = if by_client { Side::Client } else { Side::Server };
            calls.push((from, written(from, message)));
        }
        check("whole", &session(80, Transport::Tcp, &calls, &[]));
        let mut cut = session(80, Transport::Tcp, &calls[..1], &[]);
        cut.steps.extend(session(80, Transport::Tcp, &calls[1..], &cuts).steps);
        check("cut", &cut);
    }
}
