//! Messages as they look on the wire, and what is no DNS.

use deeptrace_model::{SpanStatus, Transport, Value};

use super::PROTOCOL;
use crate::{Draft, Head, Input, Parser, Recognition, Side, Verdict};

/// A message with one question for `shop.example`, type A.
fn message(id: u16, flags: u16, counts: [u16; 3], records: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [id, flags, 1, counts[0], counts[1], counts[2]] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(b"\x04Shop\x07example\0\0\x01\0\x01");
    bytes.extend(records);
    bytes
}

/// A record of the question's name.
fn record(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8], data].concat()
}

fn parse(bytes: &[u8], from: Side) -> Option<Draft> {
    let mut parser = (PROTOCOL.parser)();
    match parser.parse(Input { bytes, from, is_last: true }) {
        Verdict::Done { len, draft } => {
            assert_eq!(len, bytes.len() as u64);
            Some(*draft)
        }
        _ => None,
    }
}

fn attribute<'a>(draft: &'a Draft, key: &str) -> Option<&'a Value> {
    draft.attributes.iter().find(|attribute| attribute.0 == key).map(|attribute| &attribute.1)
}

fn says(bytes: &[u8], transport: Transport, server_port: Option<u16>) -> Recognition {
    let head = Head { bytes, call_len: bytes.len(), transport, from: None, server_port };
    (PROTOCOL.recognise)(&head)
}

#[test]
fn a_query_and_its_answer() {
    let draft = parse(&message(77, 0x0100, [0; 3], b""), Side::Client).expect("a query");
    assert_eq!((draft.name.as_str(), draft.stream & 0xffff), ("DNS A", 77));
    let stream = draft.stream;
    assert_eq!(attribute(&draft, "dns.question.name"), Some(&Value::from("shop.example")));
    // The alias points into the question: `www` and the pointer to `example`.
    let records = [record(5, b"\x03www\xc0\x11"), record(1, &[10, 0, 0, 1])].concat();
    let draft = parse(&message(77, 0x8180, [2, 0, 0], &records), Side::Server).expect("an answer");
    assert_eq!((draft.status, draft.stream), (SpanStatus::Ok, stream));
    let answers = Value::Texts(vec!["www.example".to_owned(), "10.0.0.1".to_owned()]);
    assert_eq!(attribute(&draft, "dns.answers"), Some(&answers));
}

#[test]
fn codes_become_statuses() {
    for (code, word, status) in [
        (0, "NOERROR", SpanStatus::Ok),
        (2, "SERVFAIL", SpanStatus::Error),
        (3, "NXDOMAIN", SpanStatus::Ok),
        (5, "REFUSED", SpanStatus::Error),
    ] {
        let draft = parse(&message(1, 0x8180 | code, [0; 3], b""), Side::Server).expect(word);
        assert_eq!(draft.status, status);
        assert_eq!(attribute(&draft, "dns.response_code"), Some(&Value::from(word)));
        let error = attribute(&draft, "error.type").and_then(Value::as_text);
        assert_eq!(error, (status == SpanStatus::Error).then_some(word));
    }
    // EDNS: the upper bits of BADVERS (16).
    let options = [0, 0, 41, 0x10, 0, 1, 0, 0, 0, 0, 0];
    let draft = parse(&message(1, 0x8180, [0, 0, 1], &options), Side::Server).expect("EDNS");
    assert_eq!(attribute(&draft, "error.type"), Some(&Value::from("BADVERS")));
}

#[test]
fn over_tcp_a_length_comes_first() {
    let one = message(1, 0x0100, [0; 3], b"");
    let framed = [&(one.len() as u16).to_be_bytes(), one.as_slice()].concat();
    let two = [framed.as_slice(), &framed].concat();
    for size in [1, 2, 3, 11, 14, two.len()] {
        let mut parser = (PROTOCOL.parser)();
        let (mut pending, mut found) = (Vec::<u8>::new(), 0);
        for piece in two.chunks(size) {
            pending.extend(piece);
            loop {
                let input = Input { bytes: &pending, from: Side::Client, is_last: false };
                let Verdict::Done { len, draft } = parser.parse(input) else { break };
                assert_eq!((len, draft.name.as_str()), (framed.len() as u64, "DNS A"));
                pending.drain(..len as usize);
                found += 1;
            }
        }
        assert_eq!((found, pending.len()), (2, 0), "in pieces of {size}");
    }
}

#[test]
fn pointers_do_not_loop() {
    for data in [b"\xc0\x2a".as_slice(), b"\x01a\xc0\x2a", b"\xff\xff"] {
        let bytes = message(1, 0x8180, [1, 0, 0], &record(5, data));
        if let Some(draft) = parse(&bytes, Side::Server) {
            assert_eq!(attribute(&draft, "dns.answers"), None);
        }
    }
}

#[test]
fn recognition() {
    let query = message(77, 0x0100, [0; 3], b"");
    assert_eq!(says(&query, Transport::Udp, None), Recognition::Yes(Side::Client));
    let answer = message(77, 0x8180, [1, 0, 0], &record(1, &[10, 0, 0, 1]));
    assert_eq!(says(&answer, Transport::Udp, Some(53)), Recognition::Yes(Side::Server));
    let framed = [&(query.len() as u16).to_be_bytes(), query.as_slice()].concat();
    assert_eq!(says(&framed, Transport::Tcp, None), Recognition::Yes(Side::Client));
    assert_eq!(says(&query, Transport::Udp, Some(5353)), Recognition::No);
    assert_eq!(says(&message(0, 0, [0; 3], b""), Transport::Udp, None), Recognition::No);
    let longer = [query.as_slice(), b"x"].concat();
    let others: [&[u8]; 6] = [
        &longer,
        &query[..query.len() - 1],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x23\x00\x06\xec\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\0\0\0\0\0\x01\0\0stats\r\n",
        &[0; 40],
    ];
    for bytes in others {
        assert_eq!(says(bytes, Transport::Udp, None), Recognition::No, "{bytes:?}");
        assert_eq!(says(bytes, Transport::Tcp, None), Recognition::No, "{bytes:?}");
    }
}

#[test]
fn an_answer_without_its_question_finds_it_by_the_id() {
    let mut parser = (PROTOCOL.parser)();
    let mut stream = |bytes: &[u8], from| match parser.parse(Input { bytes, from, is_last: true }) {
        Verdict::Done { draft, .. } => draft.stream,
        other => panic!("{other:?}"),
    };
    let asked = stream(&message(9, 0x0100, [0; 3], b""), Side::Client);
    let mut refused = message(9, 0x8181, [0; 3], b"");
    refused.truncate(12);
    refused[5] = 0;
    // As a message of a stream, since alone it is not believed to be one.
    let refused = [&[0, 12], refused.as_slice()].concat();
    assert_eq!(stream(&refused, Side::Server), asked);
    let mut parser = super::Dns::default();
    for id in 0..1000 {
        let bytes = message(id, 0x0100, [0; 3], b"");
        parser.parse(Input { bytes: &bytes, from: Side::Client, is_last: true });
    }
    assert_eq!(parser.asked.len(), super::ASKED_MAX);
}
