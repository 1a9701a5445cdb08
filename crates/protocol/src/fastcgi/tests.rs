//! Secrets across records, several requests at once, and ids that are used again.

use crate::parser::drafts;
use crate::{Parser, Side};

use super::FastCgi;

fn record(kind: u8, id: u8, content: &[u8]) -> Vec<u8> {
    [&[1, kind, 0, id, 0, content.len() as u8, 0, 0], content].concat()
}

fn pair(name: &str, value: &str) -> Vec<u8> {
    [&[name.len() as u8, value.len() as u8], name.as_bytes(), value.as_bytes()].concat()
}

fn begin(id: u8) -> Vec<u8> {
    record(1, id, &[0, 1, 1, 0, 0, 0, 0, 0])
}

fn request(id: u8, method: &str) -> Vec<u8> {
    let params = pair("REQUEST_METHOD", method);
    [begin(id), record(4, id, &params), record(4, id, b""), record(5, id, b"")].concat()
}

fn response(id: u8) -> Vec<u8> {
    let head = record(6, id, b"Content-type: text/plain\r\n\r\nok");
    [head, record(3, id, &[0; 8])].concat()
}

#[test]
fn a_secret_that_lies_in_two_records_is_not_kept() {
    let params = [pair("A", "b"), pair("HTTP_COOKIE", "secret")].concat();
    let cut = params.len() - 3;
    let bytes = [
        begin(1),
        record(4, 1, &params[..cut]),
        record(4, 1, &params[cut..]),
        record(4, 1, b""),
        record(5, 1, b""),
    ]
    .concat();
    let drafts = drafts(&mut FastCgi::default(), Side::Client, &bytes);
    let range = drafts[0].redact[0].clone();
    let hidden = &bytes[range];
    assert!(hidden.starts_with(b"sec") && hidden.ends_with(b"ret"), "{hidden:?}");
}

#[test]
fn answers_go_by_id() {
    let mut parser = FastCgi::default();
    let mixed = [begin(1), request(2, "PUT"), request(1, "GET")[16..].to_vec()].concat();
    let names: Vec<_> = drafts(&mut parser, Side::Client, &mixed)
        .iter()
        .map(|d| (d.stream, d.name.clone()))
        .collect();
    assert_eq!(names, [(2, "PUT".into()), (1, "GET".into())]);
    let both = [response(1), response(2)].concat();
    let streams: Vec<u64> =
        drafts(&mut parser, Side::Server, &both).iter().map(|draft| draft.stream).collect();
    assert_eq!(streams, [1, 2]);
}

#[test]
fn an_id_that_is_used_again_tells_of_a_lost_answer() {
    let mut parser = FastCgi::default();
    drafts(&mut parser, Side::Client, &request(1, "GET"));
    assert!(parser.lost(Side::Server).is_none());
    drafts(&mut parser, Side::Client, &request(1, "PUT"));
    assert!(drafts(&mut parser, Side::Server, &response(1))[0].skips);
    // A request may be lost, so nobody knows what this answers.
    assert!(parser.lost(Side::Client).is_none());
    assert!(drafts(&mut parser, Side::Server, &response(1)).is_empty());
}
