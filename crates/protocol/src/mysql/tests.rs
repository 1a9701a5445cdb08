//! What one answer is made of, and what is longer than a packet.

use deeptrace_model::Value;

use super::MySql;
use crate::{Draft, Input, Parser, Side, Verdict};

fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32).to_le_bytes();
    [&len[..3], &[sequence], body].concat()
}

/// What a client's or server's bytes complete.
fn feed(parser: &mut MySql, from: Side, mut bytes: &[u8]) -> Vec<Draft> {
    let mut drafts = Vec::new();
    while !bytes.is_empty() {
        let len = match parser.parse(Input { bytes, from, is_last: false }) {
            Verdict::Skip(len) | Verdict::Part { len, .. } => len,
            Verdict::Done { len, draft } => {
                drafts.push(*draft);
                len
            }
            other => panic!("{other:?} on {bytes:?}"),
        };
        bytes = bytes.get(len as usize..).unwrap_or_default();
    }
    drafts
}

fn rows(draft: &Draft) -> Option<&Value> {
    draft.attributes.iter().find(|a| a.0 == "db.response.returned_rows").map(|a| &a.1)
}

const DEFINITION: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
const OLD_END: &[u8] = b"\xfe\0\0\x02\0";
const NEW_END: &[u8] = b"\xfe\0\0\x02\0\0\0";

#[test]
fn results_tell_their_own_ends() {
    let with_old: &[&[u8]] = &[b"\x01", DEFINITION, OLD_END, b"\x011", OLD_END];
    let with_new: &[&[u8]] = &[b"\x01", DEFINITION, b"\x011", NEW_END];
    let without_definitions: &[&[u8]] = &[b"\x00\x01", b"\x011", NEW_END];
    let cached: &[&[u8]] = &[b"\x02\x00", b"\x011\x012", NEW_END];
    let with_progress: &[&[u8]] =
        &[b"\xff\xff\xff\x01\x01\x01\0\0\0", b"\x01", DEFINITION, b"\x011", NEW_END];
    for packets in [with_old, with_new, without_definitions, cached, with_progress] {
        let mut parser = MySql::default();
        feed(&mut parser, Side::Client, &packet(0, b"\x03SELECT a FROM t"));
        let answer: Vec<u8> =
            (1..).zip(packets).flat_map(|(sequence, body)| packet(sequence, body)).collect();
        let drafts = feed(&mut parser, Side::Server, &answer);
        assert_eq!(drafts.len(), 1, "{packets:?}");
        assert_eq!(rows(&drafts[0]), Some(&Value::Int(1)), "{packets:?}");
    }
}

#[test]
fn a_packet_out_of_sequence_is_not_taken() {
    let mut parser = MySql::default();
    feed(&mut parser, Side::Client, &packet(0, b"\x03SELECT a FROM t"));
    feed(&mut parser, Side::Server, &packet(1, b"\x01"));
    let bytes = packet(3, DEFINITION);
    let verdict = parser.parse(Input { bytes: &bytes, from: Side::Server, is_last: false });
    assert!(matches!(verdict, Verdict::NotMine));
}

#[test]
fn a_command_may_be_longer_than_a_packet() {
    let mut parser = MySql::default();
    let mut text = b"\x03INSERT INTO t VALUES ('".to_vec();
    text.resize(0xff_ffff, b'x');
    let first = packet(0, &text);
    assert!(feed(&mut parser, Side::Client, &first).is_empty());
    let drafts = feed(&mut parser, Side::Client, &packet(1, b"xxx')"));
    assert_eq!(drafts[0].name, "INSERT t");
    let drafts = feed(&mut parser, Side::Server, &packet(1, b"\0\x01\0\x02\0\0\0"));
    assert_eq!(drafts.len(), 1);
}

#[test]
fn a_file_is_no_command() {
    let mut parser = MySql::default();
    feed(&mut parser, Side::Client, &packet(0, b"\x03LOAD DATA LOCAL INFILE 'a' INTO TABLE t"));
    assert!(feed(&mut parser, Side::Server, &packet(1, b"\xfba")).is_empty());
    // Numbers of packets come to zero again.
    assert!(feed(&mut parser, Side::Client, &packet(0, b"\x03SELECT 1")).is_empty());
    assert!(feed(&mut parser, Side::Client, &packet(1, b"")).is_empty());
    assert_eq!(feed(&mut parser, Side::Server, &packet(2, b"\0\x01\0\x02\0\0\0")).len(), 1);
    assert_eq!(feed(&mut parser, Side::Client, &packet(0, b"\x03SELECT 1")).len(), 1);
}
