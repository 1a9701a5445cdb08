//! What the corpus does not hold: losses at awkward places, recognition, bounds.

use deeptrace_model::{MessageRole, SpanStatus, Value};

use super::PROTOCOL;
use crate::parser::drafts;
use crate::{Draft, Input, Parser, Recognition, Side, Verdict};

const C: Side = Side::Client;
const S: Side = Side::Server;

fn text(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

fn hello() -> Vec<u8> {
    let names = [text(b"shop"), text(b"joe"), text(b"secret")].concat();
    [vec![0], text(b"ClickHouse client"), vec![18, 16, 0x8c, 0xa9, 3], names].concat()
}

fn server_hello() -> Vec<u8> {
    let zone = [text(b"UTC"), text(b"vm"), vec![1]].concat();
    [vec![0], text(b"ClickHouse"), vec![18, 16, 0x8c, 0xa9, 3], zone].concat()
}

/// A query of 18.16 with its blocks.
fn query(sql: &str) -> Vec<u8> {
    let client = [text(b"joe"), text(b"vm"), text(b"client"), vec![18, 16, 0x8c, 0xa9, 3]].concat();
    let info = [vec![1, 0, 1, 0, 0], text(b"0.0.0.0:0"), vec![1], client, vec![0, 1]].concat();
    let settings =
        [text(b"max_threads"), vec![2], text(b"load_balancing"), text(b"random")].concat();
    [info, settings, vec![0, 2, 0], text(sql.as_bytes()), empty(2)].concat()
}

fn empty(kind: u8) -> Vec<u8> {
    vec![kind, 0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]
}

fn column(name: &str, kind: &str, rows: u8, data: &[u8]) -> Vec<u8> {
    let mut block = empty(1);
    block.truncate(10);
    [block, vec![1, rows], text(name.as_bytes()), text(kind.as_bytes()), data.to_vec()].concat()
}

fn line(draft: &Draft) -> String {
    let rows = draft.attributes.iter().find(|it| it.0 == "db.response.returned_rows");
    let rows = rows.and_then(|row| row.1.as_int()).map(|rows| format!(" rows={rows}"));
    match draft.role {
        MessageRole::Response => format!("{:?}{}", draft.status, rows.unwrap_or_default()),
        _ => draft.name.to_string(),
    }
}

fn parser() -> Box<dyn Parser> {
    let mut parser = (PROTOCOL.parser)();
    assert_eq!(drafts(&mut *parser, C, &hello()).len(), 1);
    assert_eq!(drafts(&mut *parser, S, &server_hello()).len(), 1);
    parser
}

fn lines(parser: &mut dyn Parser, from: Side, bytes: &[u8]) -> Vec<String> {
    drafts(parser, from, bytes).iter().map(line).collect()
}

#[test]
fn settings_of_both_kinds_are_passed() {
    let mut parser = parser();
    assert_eq!(lines(&mut *parser, C, &query("SELECT a FROM t")), ["SELECT t"]);
    let answer = [column("a", "UInt8", 2, b"\x01\x02"), empty(1), vec![5]].concat();
    assert_eq!(lines(&mut *parser, S, &answer), ["Ok rows=2"]);
}

#[test]
fn a_type_that_is_not_known_hides_the_end_until_a_call_shows_it() {
    let mut parser = parser();
    lines(&mut *parser, C, &query("SELECT a FROM t"));
    let block = column("a", "AggregateFunction(uniq, UInt8)", 2, b"what it is");
    let input = |bytes, is_last| Input { bytes, from: S, is_last };
    assert!(matches!(parser.parse(input(&block, false)), Verdict::Part { len: Verdict::CALL, .. }));
    // Bytes that only look as if they ended it are cut.
    assert!(matches!(parser.parse(input(&[5], true)), Verdict::Part { len: Verdict::CALL, .. }));
    assert!(matches!(parser.parse(input(b"more", false)), Verdict::Part { .. }));
    let end = [vec![3, 2, 9, 2], empty(1), vec![5]].concat();
    assert_eq!(lines(&mut *parser, S, &end), ["Ok"]);
}

#[test]
fn who_asks_on_has_the_answer_before() {
    let mut parser = parser();
    lines(&mut *parser, C, &query("SELECT a FROM t"));
    let block = column("a", "String", 9, b"\x7fbegins");
    assert!(matches!(
        parser.parse(Input { bytes: &block, from: S, is_last: true }),
        Verdict::Part { .. }
    ));
    assert!(!parser.is_overtaken(S));
    lines(&mut *parser, C, &query("SELECT b FROM u"));
    assert!(parser.is_overtaken(S));
    assert_eq!(parser.lost(S).map(|draft| draft.status), Some(SpanStatus::Unset));
    assert!(!parser.is_overtaken(S));
    let answer = [column("b", "UInt8", 1, b"\x01"), empty(1), vec![5]].concat();
    assert!(parser.is_start(S, &answer));
    assert_eq!(lines(&mut *parser, S, &answer), ["Ok rows=1"]);
}

#[test]
fn after_a_lost_hello_answers_are_to_nobody_until_the_client_asks_again() {
    let mut parser = (PROTOCOL.parser)();
    lines(&mut *parser, C, &hello());
    assert!(parser.lost(S).is_none());
    // Both had asked before the loss was known.
    lines(&mut *parser, C, &query("SELECT a FROM t"));
    let answer = [column("a", "UInt8", 1, b"\x01"), empty(1), vec![5]].concat();
    assert!(parser.is_start(S, &answer));
    let drafts = drafts(&mut *parser, S, &answer);
    assert!(drafts[0].skips, "the hello stays without an answer");
}

#[test]
fn an_answer_of_the_wrong_kind_is_nobodys() {
    let mut parser = parser();
    lines(&mut *parser, C, &[4]);
    let stream = Input { bytes: &[5], from: S, is_last: false };
    assert!(matches!(parser.parse(stream), Verdict::Stray(1)));
    lines(&mut *parser, C, &query("SELECT a FROM t"));
    assert_eq!(lines(&mut *parser, S, &[5]), ["Ok"]);
}

#[test]
fn nothing_of_an_answer_is_a_start_before_its_question_is_seen() {
    let mut parser = parser();
    let _ = parser.lost(S);
    assert!(!parser.is_start(S, &[5]));
    assert!(!parser.is_start(C, &[4]));
    assert!(!parser.is_start(C, &empty(2)));
    assert!(parser.is_start(C, &query("SELECT 1")));
}

#[test]
fn a_refusal_is_an_error_with_its_code() {
    let mut parser = (PROTOCOL.parser)();
    let drafts_in = drafts(&mut *parser, C, &hello());
    assert_eq!(drafts_in[0].redact.first(), Some(&(0..usize::MAX)));
    let code = 193i32.to_le_bytes().to_vec();
    let texts = [text(b"DB::Exception"), text(b"DB::Exception: Wrong password"), text(b"0. x")];
    let refusal = [vec![2], code, texts.concat(), vec![0]].concat();
    let drafts = drafts(&mut *parser, S, &refusal);
    assert_eq!(drafts[0].status, SpanStatus::Error);
    let kind = drafts[0].attributes.iter().find(|it| it.0 == "error.type");
    assert_eq!(kind.map(|it| &it.1), Some(&Value::from("193")));
}

#[test]
fn recognition() {
    let says = |bytes: &[u8]| PROTOCOL.says(bytes, None);
    for bytes in [hello(), query("SELECT 1"), empty(2)] {
        assert_eq!(says(&bytes), Recognition::Yes(C), "{bytes:?}");
    }
    for bytes in [server_hello(), column("a", "UInt8", 0, b"")] {
        assert_eq!(says(&bytes), Recognition::Yes(S), "{bytes:?}");
    }
    // In the middle of a question to a DNS server, and nobody asks.
    let zeros = &b"\x01\0\0\0\0\0\0\x05shop5"[..];
    for bytes in [zeros, b"\x04", b"\x05", b"\x00", b"GET / HTTP/1.1\r\n\r\n", &hello()[..9]] {
        assert_eq!(says(bytes), Recognition::No, "{bytes:?}");
    }
}
