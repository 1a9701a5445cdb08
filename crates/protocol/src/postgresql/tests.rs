//! Exchanges as they look on the wire, in pieces of every size.

use deeptrace_model::{MessageRole, SpanStatus, Value};

use super::PROTOCOL;
use crate::{Draft, Input, Parser, Recognition, Side, Verdict};

/// A message with type and length.
fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn untyped(code: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend(code.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Feeds `bytes` in pieces of `size`; returns what came out.
fn feed(parser: &mut dyn Parser, from: Side, bytes: &[u8], size: usize) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let mut pending: Vec<u8> = Vec::new();
    let mut skip = 0;
    for piece in bytes.chunks(size) {
        let passed = piece.len().min(skip);
        skip -= passed;
        pending.extend(&piece[passed..]);
        while !pending.is_empty() {
            let len = match parser.parse(Input { bytes: &pending, from, is_last: false }) {
                Verdict::More => break,
                Verdict::Skip(len) | Verdict::Stray(len) | Verdict::Part { len, .. } => len,
                Verdict::Done { len, draft } => {
                    drafts.push(*draft);
                    len
                }
                other => panic!("{other:?} on {pending:?}"),
            } as usize;
            assert!(len > 0);
            skip = len.saturating_sub(pending.len());
            pending.drain(..len.min(pending.len()));
        }
    }
    assert!(pending.is_empty(), "{pending:?} was left");
    drafts
}

/// Takes a conversation, and gives its messages as lines; the same for every size of pieces.
fn talk(turns: &[(Side, Vec<u8>)]) -> Vec<String> {
    let with = |size: usize| -> Vec<String> {
        let mut parser = (PROTOCOL.parser)();
        let turns = turns.iter();
        turns.flat_map(|turn| feed(&mut *parser, turn.0, &turn.1, size)).map(|d| line(&d)).collect()
    };
    let whole = with(usize::MAX);
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(with(size), whole, "in pieces of {size}");
    }
    whole
}

fn line(draft: &Draft) -> String {
    let mut line = match draft.role {
        MessageRole::Request => format!("> {}", draft.name),
        MessageRole::OneWay => format!("! {}", draft.name),
        MessageRole::Response => format!("< {:?}", draft.status),
    };
    let wanted = [
        ("db.namespace", "db"),
        ("db.query.text", "text"),
        ("db.operation.batch.size", "batch"),
        ("db.response.returned_rows", "rows"),
        ("error.type", "error"),
    ];
    for (key, short) in wanted {
        if let Some((_, value)) = draft.attributes.iter().find(|attribute| attribute.0 == key) {
            let value = match value {
                Value::Int(number) => number.to_string(),
                other => other.as_text().unwrap_or("?").to_owned(),
            };
            line += &format!(" {short}={value}");
        }
    }
    if let Some(message) = &draft.status_message {
        line += &format!(" ({message})");
    }
    if draft.unknown.starts_with(&["db.query.text", "db.query.summary", "db.operation.name"]) {
        line += " unknown";
    } else if !draft.unknown.is_empty() {
        line += &format!(" unknown={:?}", draft.unknown);
    }
    line
}

fn ready() -> Vec<u8> {
    frame(b'Z', b"I")
}

fn error(severity: &str) -> Vec<u8> {
    frame(b'E', format!("S{severity}\0V{severity}\0C42P01\0Mno such table\0\0").as_bytes())
}

const C: Side = Side::Client;
const S: Side = Side::Server;

#[test]
fn a_connection_from_its_start() {
    let startup = untyped(196_608, b"user\0joe\0database\0shop\0\0");
    let lines = talk(&[
        (C, untyped(80_877_103, b"")),
        (S, b"N".to_vec()),
        (C, startup),
        (S, frame(b'R', &[0, 0, 0, 10, b'S', b'C', 0, 0])),
        (C, frame(b'p', b"secret-password\0")),
        (S, [frame(b'R', &[0; 4]), frame(b'S', b"a\0b\0"), frame(b'K', &[1; 8]), ready()].concat()),
        (C, frame(b'Q', b"SELECT * FROM orders WHERE id = 42\0")),
        (S, [frame(b'T', &[0, 0]), frame(b'D', &[0, 0]), frame(b'D', &[0, 0])].concat()),
        (S, [frame(b'C', b"SELECT 2\0"), ready()].concat()),
        (C, frame(b'X', b"")),
    ]);
    assert_eq!(
        lines,
        [
            "> StartupMessage db=shop",
            "< Ok",
            "> SELECT orders db=shop text=SELECT * FROM orders WHERE id = ?",
            "< Ok rows=2",
        ]
    );
}

#[test]
fn prepared_statements_are_named_from_their_text() {
    let startup = untyped(196_610, b"user\0joe\0\0");
    let bind = |statement: &str| frame(b'B', format!("\0{statement}\0\0\0\0\0\0\0").as_bytes());
    let execute = || frame(b'E', &[0; 5]);
    let sync = || frame(b'S', b"");
    let parse = |name: &str, sql: &str| frame(b'P', format!("{name}\0{sql}\0\0\0").as_bytes());
    let answer =
        || [frame(b'2', b""), frame(b'D', &[0, 0]), frame(b'C', b"SELECT 1\0"), ready()].concat();
    let lines = talk(&[
        (C, startup),
        (S, [frame(b'R', &[0; 4]), ready()].concat()),
        (C, [parse("s1", "SELECT * FROM a WHERE x = $1"), frame(b'D', b"Ss1\0"), sync()].concat()),
        (S, [frame(b'1', b""), ready()].concat()),
        // A pipeline: two requests before the first answer.
        (C, [bind("s1"), execute(), sync(), bind("s9"), execute(), sync()].concat()),
        (S, [answer(), answer()].concat()),
        // A transaction's BEGIN is no batch, three inserts are.
        (C, [parse("", "BEGIN"), bind(""), execute(), bind("s1"), execute(), sync()].concat()),
        (S, answer()),
        (C, parse("i", "INSERT INTO b VALUES ($1)")),
        (C, [bind("i"), execute(), bind("i"), execute(), bind("i"), execute(), sync()].concat()),
        (S, [frame(b'1', b""), error("ERROR"), ready()].concat()),
        (C, [frame(b'C', b"Si\0"), bind("i"), execute(), sync()].concat()),
        (S, [error("ERROR"), ready()].concat()),
    ]);
    assert_eq!(
        lines,
        [
            "> StartupMessage db=joe",
            "< Ok",
            "> Parse SELECT a db=joe text=SELECT * FROM a WHERE x = $1",
            "< Ok",
            "> SELECT a db=joe text=SELECT * FROM a WHERE x = $1",
            "> Execute db=joe unknown",
            "< Ok rows=1",
            "< Ok rows=1",
            "> SELECT a db=joe text=SELECT * FROM a WHERE x = $1",
            "< Ok rows=1",
            "> BATCH INSERT b db=joe text=INSERT INTO b VALUES ($1) batch=3",
            "< Error error=42P01 (no such table)",
            "> Execute db=joe unknown",
            "< Error error=42P01 (no such table)",
        ]
    );
}

#[test]
fn what_comes_unasked_is_no_answer() {
    let query = || frame(b'Q', b"COPY t FROM STDIN\0");
    let lines = talk(&[
        (S, frame(b'S', b"TimeZone\0UTC\0")),
        (S, frame(b'A', b"\0\0\0\x01channel\0payload\0")),
        (C, query()),
        (S, frame(b'G', &[0, 0, 0])),
        (C, [frame(b'd', b"1\n"), frame(b'd', b"2\n"), frame(b'c', b"")].concat()),
        (S, [frame(b'N', b"SNOTICE\0\0"), frame(b'C', b"COPY 2\0"), ready()].concat()),
        // After COPY by extended query the Sync before the data was ignored.
        (C, [frame(b'd', b"1\n"), frame(b'c', b""), frame(b'S', b"")].concat()),
        (C, frame(b'F', &[0; 12])),
        (S, [frame(b'V', &[0; 4]), ready()].concat()),
        (C, untyped(80_877_102, &[1; 8])),
        (S, error("FATAL")),
    ]);
    assert_eq!(
        lines,
        [
            "! NotificationResponse",
            "> COPY t text=COPY t FROM STDIN unknown=[\"db.namespace\"]",
            "< Ok",
            "> FunctionCall unknown=[\"db.namespace\"]",
            "< Ok",
            "! CancelRequest",
            "! ErrorResponse error=42P01 (no such table)",
        ]
    );
}

#[test]
fn secrets_are_not_kept() {
    let mut parser = (PROTOCOL.parser)();
    let sql = frame(b'Q', b"ALTER ROLE joe PASSWORD 'secret'\0");
    let drafts = feed(&mut *parser, C, &sql, usize::MAX);
    assert_eq!(&sql[drafts[0].redact[0].clone()], b"'secret'");
    let bind = frame(b'B', &[0; 8]);
    feed(&mut *parser, C, &bind, usize::MAX);
    let rest = parser.lost(C).map(|draft| draft.redact);
    let values = 7..bind.len();
    assert_eq!(rest.unwrap_or_default(), [values, bind.len()..usize::MAX]);
    let answer = [frame(b'R', &[0; 4]), frame(b'K', &[9; 8]), ready()].concat();
    let drafts = feed(&mut *parser, S, &answer, usize::MAX);
    assert_eq!(drafts[0].redact.first(), Some(&(0..usize::MAX)));
}

#[test]
fn encryption_is_no_longer_ours() {
    let mut parser = (PROTOCOL.parser)();
    feed(&mut *parser, C, &untyped(80_877_103, b""), usize::MAX);
    feed(&mut *parser, S, b"S", usize::MAX);
    let hello = Input { bytes: b"\x16\x03\x01", from: C, is_last: false };
    assert!(matches!(parser.parse(hello), Verdict::Switch));
}

#[test]
fn a_cut_statement_is_skipped_by_its_length() {
    let mut parser = (PROTOCOL.parser)();
    let mut bytes =
        frame(b'Q', &[b"SELECT * FROM orders WHERE x IN (".as_slice(), &[b'1'; 9000]].concat());
    bytes.truncate(256);
    match parser.parse(Input { bytes: &bytes, from: C, is_last: true }) {
        Verdict::Done { len, draft } => {
            assert_eq!(len, 9000 + 33 + 5);
            assert_eq!(draft.name, "SELECT orders");
            assert!(draft.truncated);
            assert!(line(&draft).contains("text=SELECT * FROM orders WHERE x IN (?"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_rest_of_a_lost_response_answers_nothing() {
    let mut parser = (PROTOCOL.parser)();
    feed(&mut *parser, C, &frame(b'Q', b"SELECT 1\0"), usize::MAX);
    feed(&mut *parser, S, &frame(b'T', &[0, 0]), usize::MAX);
    assert_eq!(parser.lost(S).map(|draft| draft.status), Some(SpanStatus::Unset));
    let rest = [frame(b'D', &[0, 0]), frame(b'C', b"SELECT 9\0"), ready()].concat();
    assert!(feed(&mut *parser, S, &rest, usize::MAX).is_empty());
    feed(&mut *parser, C, &frame(b'Q', b"SELECT 2\0"), usize::MAX);
    let next = [frame(b'T', &[0, 0]), frame(b'C', b"SELECT 0\0"), ready()].concat();
    assert_eq!(feed(&mut *parser, S, &next, usize::MAX).len(), 1);
    // The gap may have ended the response, and the next begins as the rest of one would.
    feed(&mut *parser, C, &frame(b'Q', b"SELECT 1\0"), usize::MAX);
    feed(&mut *parser, S, &frame(b'T', &[0, 0]), usize::MAX);
    let _ = parser.lost(S);
    feed(&mut *parser, C, &frame(b'Q', b"BEGIN\0"), usize::MAX);
    let next = [frame(b'C', b"BEGIN\0"), ready()].concat();
    assert_eq!(feed(&mut *parser, S, &next, usize::MAX).len(), 1);
}

#[test]
fn answers_of_a_pipeline_are_nobodys_after_a_loss() {
    let mut parser = (PROTOCOL.parser)();
    let query = || frame(b'Q', b"SELECT 1\0");
    let answer = || [frame(b'T', &[0, 0]), frame(b'C', b"SELECT 0\0"), ready()].concat();
    feed(&mut *parser, C, &[query(), query(), query()].concat(), usize::MAX);
    feed(&mut *parser, S, &frame(b'T', &[0, 0]), usize::MAX);
    let _ = parser.lost(S);
    assert!(feed(&mut *parser, S, &answer(), usize::MAX).is_empty());
    feed(&mut *parser, C, &query(), usize::MAX);
    assert_eq!(feed(&mut *parser, S, &answer(), usize::MAX).len(), 1);
}

#[test]
fn what_was_lost_may_have_changed_what_names_stand_for() {
    let parse = |name: &str| frame(b'P', format!("{name}\0SELECT * FROM {name}t\0\0\0").as_bytes());
    let run = |name: &str| {
        let bind = frame(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes());
        [bind, frame(b'E', &[0; 5]), frame(b'S', b"")].concat()
    };
    let mut parser = (PROTOCOL.parser)();
    feed(&mut *parser, C, &[parse(""), parse("s"), frame(b'S', b"")].concat(), usize::MAX);
    let _ = parser.lost(C);
    let unnamed = line(&feed(&mut *parser, C, &run(""), usize::MAX)[0]);
    assert_eq!(unnamed, "> Execute unknown");
    let named = line(&feed(&mut *parser, C, &run("s"), usize::MAX)[0]);
    assert!(named.starts_with("> SELECT st text=SELECT * FROM st"), "{named}");
    // A portal whose Bind was cut before its name runs something else than it did.
    let bind = Input { bytes: &frame(b'B', &[0; 30])[..5], from: C, is_last: true };
    assert!(matches!(parser.parse(bind), Verdict::Part { len: 35, .. }));
    let run = [frame(b'E', &[0; 5]), frame(b'S', b"")].concat();
    let cut = &feed(&mut *parser, C, &run, usize::MAX)[0];
    assert!(cut.truncated && cut.unknown.contains(&"db.query.text"), "{cut:?}");
}

#[test]
fn recognition() {
    let says = |bytes: &[u8]| PROTOCOL.says(bytes, None);
    for bytes in [
        untyped(196_608, b"user\0joe\0\0"),
        untyped(80_877_103, b""),
        frame(b'Q', b"select 1\0"),
        [frame(b'P', b"\0select 1\0\0\0"), frame(b'S', b"")].concat(),
    ] {
        assert_eq!(says(&bytes), Recognition::Yes(C), "{bytes:?}");
    }
    let answer = [frame(b'T', &[0, 0]), frame(b'C', b"SELECT 0\0"), ready()].concat();
    assert_eq!(says(&answer), Recognition::Yes(S));
    assert_eq!(says(&frame(b'S', b"")), Recognition::Maybe(C));
    let others: [&[u8]; 10] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"+PONG\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x23\x00\x03\x00\x00\x00\x00\x00\x01\x00\x07clients",
        b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x00",
        b"set a 0 0 1\r\nx\r\n",
        b"\x4a\x00\x00\x00\x0a8.0.36\x00",
    ];
    for bytes in others {
        assert_eq!(says(bytes), Recognition::No, "{bytes:?}");
    }
}
