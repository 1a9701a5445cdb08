//! Losses: what is still paired afterwards, and what of the connection is still known.

use deeptrace_model::MessageRole;

use super::Redis;
use crate::{Draft, Input, Parser, Side, Verdict};

const C: Side = Side::Client;
const S: Side = Side::Server;

/// Feeds whole elements; returns names of requests, `<` for answers, `?` for stray ones.
fn feed(parser: &mut Redis, from: Side, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let len = match parser.parse(Input { bytes: rest, from, is_last: false }) {
            Verdict::Skip(len) | Verdict::Part { len, .. } => len,
            Verdict::Stray(len) => {
                out += "?";
                len
            }
            Verdict::Done { len, draft } => {
                out += &word(&draft);
                len
            }
            other => panic!("{other:?} on {text}"),
        };
        rest = &rest[len as usize..];
    }
    out
}

fn word(draft: &Draft) -> String {
    let namespace = draft.attributes.iter().find(|pair| pair.0 == "db.namespace");
    let namespace = namespace.and_then(|pair| pair.1.as_text()).unwrap_or("");
    let unknown = if draft.unknown == ["db.namespace"] { "-" } else { "" };
    match draft.role {
        MessageRole::Request => format!("{}{namespace}{unknown} ", draft.name),
        MessageRole::Response => "<".to_owned(),
        MessageRole::OneWay => "!".to_owned(),
    }
}

#[test]
fn a_gap_inside_an_array_shifts_no_answer() {
    let mut parser = Redis::default();
    assert_eq!(feed(&mut parser, C, "MGET a\r\nGET b\r\nGET c\r\n"), "MGET GET GET ");
    assert_eq!(feed(&mut parser, S, "*3\r\n$1\r\n1\r\n"), "");
    assert!(parser.lost(S).is_some_and(|draft| draft.role == MessageRole::Response));
    // Two are the rest of the array, but that cannot be told.
    assert_eq!(feed(&mut parser, S, "$1\r\n2\r\n$1\r\n3\r\n$1\r\nb\r\n*2\r\n:1\r\n:2\r\n"), "????");
    assert_eq!(feed(&mut parser, C, "GET d\r\nGET e\r\n"), "GET GET ");
    assert_eq!(feed(&mut parser, S, "$1\r\nd\r\n$1\r\ne\r\n"), "<<");
}

#[test]
fn a_client_that_does_not_wait_comes_into_step_in_silence() {
    let mut parser = Redis::default();
    feed(&mut parser, C, "GET a\r\nGET b\r\n");
    feed(&mut parser, S, "+a\r\n");
    feed(&mut parser, C, "GET c\r\n");
    let _ = parser.lost(S);
    assert_eq!(feed(&mut parser, S, "+c\r\n"), "?");
    feed(&mut parser, C, "GET d\r\n");
    assert_eq!(feed(&mut parser, S, "+d\r\n"), "?");
    parser.quiet();
    feed(&mut parser, C, "BLPOP q 0\r\n");
    assert_eq!(feed(&mut parser, S, "*-1\r\n"), "<");
    let _ = parser.lost(S);
    // One of those that wait may be answered whenever it likes.
    parser.quiet();
    assert_eq!(feed(&mut parser, S, "*-1\r\n"), "?");
}

#[test]
fn the_database_is_told_only_where_it_is_known() {
    let mut parser = Redis::default();
    assert_eq!(feed(&mut parser, C, "GET a\r\nSELECT 3\r\nGET b\r\n"), "GET SELECT3 GET3 ");
    assert_eq!(feed(&mut parser, S, "+1\r\n-ERR DB index is out of range\r\n"), "<<");
    assert_eq!(feed(&mut parser, C, "GET a\r\nRESET\r\nGET b\r\n"), "GET- RESET0 GET0 ");
    let _ = parser.lost(C);
    assert_eq!(feed(&mut parser, C, "GET a\r\nSELECT x\r\n"), "GET- SELECT- ");
    assert_eq!(feed(&mut parser, C, "SELECT 1\r\nGET c\r\n"), "SELECT1 GET1 ");
}

#[test]
fn items_and_pushes_are_never_stray() {
    let mut parser = Redis::default();
    let _ = parser.lost(S);
    assert_eq!(feed(&mut parser, S, ">2\r\n+invalidate\r\n*1\r\n+a\r\n:1\r\n"), "!?");
    feed(&mut parser, C, "SUBSCRIBE n\r\n");
    let _ = parser.lost(S);
    assert_eq!(feed(&mut parser, S, "*3\r\n$7\r\nmessage\r\n+n\r\n+x\r\n"), "!");
}
