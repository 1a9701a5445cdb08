//! Both protocols as rows: what is said, and the messages that come of it.

use deeptrace_model::{MessageRole, Value};

use super::PROTOCOL;
use crate::{Draft, Input, Parser, Recognition, Side, Verdict};

const C: Side = Side::Client;
const S: Side = Side::Server;

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
                Verdict::Skip(len) | Verdict::Part { len, .. } => len,
                Verdict::Done { len, draft } => {
                    drafts.push(*draft);
                    len
                }
                other => panic!("{other:?} on {:?}", String::from_utf8_lossy(&pending)),
            } as usize;
            assert!(len > 0);
            skip = len.saturating_sub(pending.len());
            pending.drain(..len.min(pending.len()));
        }
    }
    assert!(pending.is_empty(), "{pending:?} was left");
    drafts
}

fn line(draft: &Draft) -> String {
    let mut line = match draft.role {
        MessageRole::Request => format!("> {}", draft.name),
        MessageRole::OneWay => format!("! {}", draft.name),
        MessageRole::Response => format!("< {:?}", draft.status),
    };
    let wanted = [
        ("db.query.text", "text"),
        ("db.operation.batch.size", "keys"),
        ("db.response.returned_rows", "hits"),
        ("db.response.status_code", "code"),
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
    line
}

/// Takes a conversation; the messages are the same for every size of pieces.
fn check(turns: &[(Side, &[u8])], expected: &[&str]) {
    for size in [usize::MAX, 1, 2, 3, 7, 30] {
        let mut parser = (PROTOCOL.parser)();
        let drafts = turns.iter().flat_map(|turn| feed(&mut *parser, turn.0, turn.1, size));
        let lines: Vec<String> = drafts.map(|draft| line(&draft)).collect();
        assert_eq!(lines, expected, "in pieces of {size}");
    }
}

#[test]
fn text_commands() {
    check(
        &[
            (C, b"set a 0 0 5\r\nh\r\nlo\r\nget a bb ccc\r\n"),
            (S, b"STORED\r\nVALUE a 0 5\r\nEND\r\n\r\nVALUE bb 1 0 77\r\n\r\nEND\r\n"),
            (C, b"set n 0 0 1 noreply\r\n1\r\nincr n 5\r\ndelete x\r\ncas a 0 -1 1 77\r\nx\r\n"),
            (S, b"6\r\nNOT_FOUND\r\nEXISTS\r\n"),
            (C, b"get none\r\nstats\r\nversion\r\nget none\r\nflush_all\r\nquit\r\n"),
            (S, b"END\r\nSTAT pid 1\r\nSTAT uptime 2\r\nEND\r\nVERSION 1.6\r\n"),
            (S, b"SERVER_ERROR out of memory\r\nOK\r\n"),
        ],
        &[
            "> set text=set a",
            "> get text=get a bb ccc keys=3",
            "< Ok",
            "< Ok hits=2",
            "! set text=set n",
            "> incr text=incr n 5",
            "> delete text=delete x",
            "> cas text=cas a",
            "< Ok",
            "< Ok code=NOT_FOUND",
            "< Ok code=EXISTS",
            "> get text=get none",
            "> stats text=stats",
            "> version text=version",
            "> get text=get none",
            "> flush_all text=flush_all",
            "< Ok hits=0",
            "< Ok",
            "< Ok",
            "< Error code=SERVER_ERROR (out of memory)",
            "< Ok",
        ],
    );
}

#[test]
fn meta_commands() {
    check(
        &[
            (C, b"ms a 2 T0\r\nhi\r\nmg a v t\r\nmg x v\r\n"),
            (S, b"HD\r\nVA 2 t-1\r\nhi\r\nEN\r\n"),
            (C, b"mg a v q\r\nmg x v q\r\nmg a v q\r\nmn\r\nmn\r\n"),
            (S, b"VA 2\r\nhi\r\nVA 2\r\nhi\r\nMN\r\nMN\r\n"),
        ],
        &[
            "> ms text=ms a",
            "> mg text=mg a v t",
            "> mg text=mg x v",
            "< Ok",
            "< Ok hits=1",
            "< Ok hits=0",
            "> mg text=mg a v q; mg x v q; mg a v q keys=3",
            "> mn text=mn",
            "< Ok hits=2",
            "< Ok",
        ],
    );
}

/// A binary packet; `status` is the reserved field of requests.
fn packet(magic: u8, code: u8, extras: usize, key: &[u8], value: &[u8], status: u16) -> Vec<u8> {
    let mut bytes = vec![magic, code];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras as u8, 0]);
    bytes.extend(status.to_be_bytes());
    bytes.extend(((extras + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend(vec![0; extras]);
    bytes.extend(key);
    bytes.extend(value);
    bytes
}

#[test]
fn binary_commands() {
    let ask = |code, extras, key: &[u8], value: &[u8]| packet(0x80, code, extras, key, value, 0);
    let requests = [
        ask(0x01, 8, b"a", b"value"),
        ask(0x11, 8, b"a", b"value"),
        ask(0x00, 0, b"a", b""),
        ask(0x00, 0, b"x", b""),
        ask(0x0d, 0, b"a", b""),
        ask(0x0d, 0, b"x", b""),
        ask(0x0a, 0, b"", b""),
        ask(0x10, 0, b"", b""),
        ask(0x05, 20, b"a", b""),
    ]
    .concat();
    let say = |code, extras, key: &[u8], value: &[u8], status| {
        packet(0x81, code, extras, key, value, status)
    };
    let responses = [
        say(0x01, 0, b"", b"", 0),
        say(0x00, 4, b"", b"value", 0),
        say(0x00, 0, b"", b"Not found", 1),
        say(0x0d, 4, b"a", b"value", 0),
        say(0x0a, 0, b"", b"", 0),
        say(0x10, 0, b"pid", b"1", 0),
        say(0x10, 0, b"", b"", 0),
        say(0x05, 0, b"", b"Non-numeric", 6),
        say(0x11, 0, b"", b"Too large", 3),
    ]
    .concat();
    check(
        &[(C, &requests), (S, &responses)],
        &[
            "> set text=set a",
            "! set text=set a",
            "> get text=get a",
            "> get text=get x",
            "> get text=get a; get x keys=2",
            "> stat text=stat",
            "> increment text=increment a",
            "< Ok",
            "< Ok hits=1",
            "< Ok hits=0 code=0x0001",
            "< Ok hits=1",
            "< Ok",
            "< Error code=0x0006 (increment or decrement of a value that is no number)",
            "! set code=0x0003 (value too large)",
        ],
    );
}

#[test]
fn a_cut_value_is_skipped_by_its_length() {
    let mut parser = (PROTOCOL.parser)();
    let cut = Input { bytes: b"set a 0 0 5000\r\nxx", from: C, is_last: true };
    assert!(matches!(parser.parse(cut), Verdict::Done { len: 5018, .. }));
    let cut = Input { bytes: b"VALUE a 0 5000\r\nxx", from: S, is_last: true };
    assert!(matches!(parser.parse(cut), Verdict::Part { len: 5018, .. }));
}

#[test]
fn credentials_are_not_kept() {
    for (bytes, hidden) in [
        (b"set auth 0 0 9\r\njoe s3cre\r\n".to_vec(), Some(16..27)),
        (b"set auth 0 0 5\r\nvalue\r\n".to_vec(), None),
        (packet(0x80, 0x21, 0, b"PLAIN", b"\0joe\0pass", 0), Some(24..usize::MAX)),
    ] {
        let mut parser = (PROTOCOL.parser)();
        let drafts = feed(&mut *parser, C, &bytes, usize::MAX);
        assert_eq!(drafts[0].redact.first().cloned(), hidden);
    }
}

#[test]
fn recognition() {
    let says = |bytes: &[u8]| PROTOCOL.says(bytes, None);
    assert_eq!(says(b"set a 0 0 1\r\nx\r\n"), Recognition::Yes(C));
    assert_eq!(says(b"get a\r\n"), Recognition::Maybe(C));
    assert_eq!(says(b"VALUE a 0 1\r\nx\r\nEND\r\n"), Recognition::Yes(S));
    assert_eq!(says(&packet(0x80, 0, 0, b"a", b"", 0)), Recognition::Yes(C));
    assert_eq!(says(&packet(0x81, 0, 4, b"", b"v", 0)), Recognition::Yes(S));
    let others: [&[u8]; 10] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"PING\r\n",
        b"quit\r\n",
        b"SET a b\r\n",
        b"set a b\r\n",
        b"220 mail ready\r\n",
        b"+OK\r\n",
        b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x81\x16a frame of a web socket",
    ];
    for bytes in others {
        assert_eq!(says(bytes), Recognition::No, "{bytes:?}");
    }
}
