//! What the corpus does not hold: long responses, secrets in several packets, recognition.

use deeptrace_model::{SpanStatus, Value};

use super::PROTOCOL;
use crate::parser::drafts;
use crate::{Draft, Input, Parser, Recognition, Side, Verdict};

const C: Side = Side::Client;
const S: Side = Side::Server;

/// A message in packets with at most `most` bytes of content.
fn message(kind: u8, content: &[u8], most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let last = content.len().div_ceil(most).max(1);
    for number in 1..=last {
        let part = &content[(number - 1) * most..content.len().min(number * most)];
        let len = (part.len() as u16 + 8).to_be_bytes();
        bytes.extend([kind, u8::from(number == last), len[0], len[1], 0, 51, number as u8, 0]);
        bytes.extend(part);
    }
    bytes
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn batch(sql: &str, most: usize) -> Vec<u8> {
    let headers = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    message(1, &[&headers[..], &wide(sql)].concat(), most)
}

fn done(flags: u16, rows: u64) -> Vec<u8> {
    let [low, high] = flags.to_le_bytes();
    [&[0xfd, low, high, 0xc1, 0][..], &rows.to_le_bytes()].concat()
}

fn error(number: i32, text: &str) -> Vec<u8> {
    let text = [&(text.len() as u16).to_le_bytes()[..], &wide(text)].concat();
    let inside = [&number.to_le_bytes()[..], &[1, 16], &text, &[0, 0, 1, 0, 0, 0]].concat();
    [&[0xaa][..], &(inside.len() as u16).to_le_bytes(), &inside].concat()
}

/// Rows of one number each.
fn rows(count: u8) -> Vec<u8> {
    let columns = [0x81, 1, 0, 0, 0, 0, 0, 9, 0, 0x26, 4, 1, b'a', 0];
    let row = [0xd1, 4, 0xaa, 0xaa, 0xaa, 0xaa];
    [&columns[..], &row.repeat(count.into())].concat()
}

fn get(draft: &Draft, name: &str) -> Option<Value> {
    draft.attributes.iter().find(|it| it.0 == name).map(|it| it.1.clone())
}

fn ask(parser: &mut dyn Parser, tokens: &[u8]) -> Draft {
    assert_eq!(drafts(parser, C, &batch("SELECT a FROM t", 4000)).len(), 1);
    drafts(parser, S, &message(4, tokens, 500)).remove(0)
}

#[test]
fn of_a_long_response_the_end_is_read() {
    let mut parser = (PROTOCOL.parser)();
    let many = [0xd1, 4, 0xaa, 0xaa, 0xaa, 0xaa].repeat(4000);
    let long = [rows(1), many.clone(), done(0x10, 4001)].concat();
    let draft = ask(&mut *parser, &long);
    assert_eq!(draft.status, SpanStatus::Ok);
    assert_eq!(get(&draft, "db.response.returned_rows"), Some(4001.into()));
    let failed = [rows(1), many.clone(), error(8134, "divide"), done(2, 0)].concat();
    let draft = ask(&mut *parser, &failed);
    assert_eq!(get(&draft, "error.type"), Some("8134".into()));
    assert_eq!(draft.status_message.as_deref(), Some("divide"));
    // The end says that something failed, and what it was lies where nobody looks.
    let hidden = [rows(1), many.clone(), error(1, "x"), many, done(2, 0)].concat();
    let draft = ask(&mut *parser, &hidden);
    assert_eq!(draft.status, SpanStatus::Error);
    assert_eq!(get(&draft, "error.type"), Some("_OTHER".into()));
}

#[test]
fn secrets_are_found_in_any_packet() {
    for most in [40, 64, 4000] {
        let mut parser = (PROTOCOL.parser)();
        let bytes = batch("CREATE LOGIN ü WITH PASSWORD = N'secret'", most);
        let drafts = drafts(&mut *parser, C, &bytes);
        let secret = &bytes[drafts[0].redact[0].clone()];
        let kept =
            [&bytes[..drafts[0].redact[0].start], &bytes[drafts[0].redact[0].end..]].concat();
        let has_letters =
            |bytes: &[u8]| bytes.windows(2).any(|it| b"secrt".contains(&it[0]) && it[1] == 0);
        assert!(has_letters(secret) && !has_letters(&kept), "{most}: {secret:?}");
    }
}

#[test]
fn an_attention_ends_what_runs_or_nothing() {
    let mut parser = (PROTOCOL.parser)();
    drafts(&mut *parser, C, &batch("WAITFOR DELAY '1'", 4000));
    drafts(&mut *parser, C, &message(6, b"", 100));
    let cancelled = drafts(&mut *parser, S, &message(4, &done(0x22, 0), 100)).remove(0);
    assert_eq!(get(&cancelled, "error.type"), Some("cancelled".into()));
    drafts(&mut *parser, C, &message(6, b"", 100));
    assert!(drafts(&mut *parser, S, &message(4, &done(0x20, 0), 100)).is_empty());
}

#[test]
fn a_lost_login_answer_is_nobodys() {
    let mut parser = (PROTOCOL.parser)();
    drafts(&mut *parser, C, &batch("SELECT a FROM t", 4000));
    assert!(parser.lost(S).is_none());
    let answer = message(4, &[rows(1), done(0x10, 1)].concat(), 500);
    assert!(!parser.is_start(S, &answer), "nobody asked since");
    drafts(&mut *parser, C, &batch("SELECT b FROM t", 4000));
    assert!(parser.is_start(S, &answer));
    assert!(drafts(&mut *parser, S, &answer)[0].skips);
}

#[test]
fn encryption_is_no_longer_ours() {
    let mut parser = (PROTOCOL.parser)();
    let options = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 16, 0, 15, 160, 0, 0, 1];
    drafts(&mut *parser, C, &message(18, &options, 100));
    drafts(&mut *parser, S, &message(4, &options, 100));
    let hello = message(18, b"\x16\x03\x01\x00\x02ab", 100);
    assert!(drafts(&mut *parser, C, &hello).is_empty());
    let record = Input { bytes: b"\x17\x03\x03\x00\x01x", from: C, is_last: false };
    assert!(matches!(parser.parse(record), Verdict::Switch));
}

#[test]
fn only_the_login_may_be_encrypted() {
    let mut parser = (PROTOCOL.parser)();
    let options = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 16, 0, 15, 160, 0, 0, 0];
    drafts(&mut *parser, C, &message(18, &options, 100));
    drafts(&mut *parser, S, &message(4, &options, 100));
    drafts(&mut *parser, C, &message(18, b"\x16\x03\x01\x00\x02ab", 100));
    let records = b"\x17\x03\x03\x00\x01x\x17\x03\x03\x00\x03abc";
    let login = drafts(&mut *parser, C, records);
    assert_eq!((login.len(), login[0].name.as_str()), (1, "LOGIN7"));
    assert_eq!(drafts(&mut *parser, S, &message(4, &done(0, 0), 100)).len(), 1);
    assert_eq!(drafts(&mut *parser, C, &batch("SELECT 1", 100)).len(), 1);
}

#[test]
fn recognition() {
    let says = |bytes: &[u8]| PROTOCOL.says(bytes, None);
    assert_eq!(says(&batch("SELECT 1", 4000)), Recognition::Yes(C));
    assert_eq!(says(&message(1, &wide("SELECT 1"), 4000)), Recognition::Maybe(C));
    let answer = [rows(3), done(0x10, 3)].concat();
    assert_eq!(says(&message(4, &answer, 4000)), Recognition::Yes(S));
    assert_eq!(says(&message(4, &rows(3), 4000)), Recognition::Maybe(S));
    for bytes in
        [&b"\x04\x01\x00\x09\x00\x00\x01\x00x"[..], b"\x01\x00\x01\x00\x02\xff\xff\xff\xff\0\0\0"]
    {
        assert_eq!(says(bytes), Recognition::No, "{bytes:?}");
    }
}
