use super::*;

fn give(parser: &mut Nats, from: Side, bytes: &str) -> Verdict {
    parser.parse(Input { bytes: bytes.as_bytes(), from, is_last: false })
}

fn draft(verdict: Verdict) -> Draft {
    match verdict {
        Verdict::Done { draft, .. } => *draft,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_answers_who_gave_its_inbox() {
    let mut parser = Nats::default();
    let asked = draft(give(&mut parser, Side::Client, "PUB a _INBOX.x.1 2\r\nhi\r\n"));
    let served = draft(give(&mut parser, Side::Server, "MSG a 1 _INBOX.x.1 2\r\nhi\r\n"));
    assert_ne!(asked.stream, served.stream);
    let reply = draft(give(&mut parser, Side::Client, "PUB _INBOX.x.1 2\r\nho\r\n"));
    assert_eq!(reply.stream, served.stream);
    let answer = draft(give(&mut parser, Side::Server, "MSG _INBOX.x.1 2 2\r\nho\r\n"));
    assert_eq!(answer.stream, asked.stream);
}

#[test]
fn an_inbox_of_ones_own_is_learnt() {
    let mut parser = Nats::default();
    let publish = "PUB a my.in.0123456789abcdefghijkl.7 2\r\nhi\r\n";
    assert_eq!(draft(give(&mut parser, Side::Client, publish)).name, "publish a");
    let subscribe = "SUB my.in.0123456789abcdefghijkl.* 2\r\n";
    assert!(matches!(give(&mut parser, Side::Client, subscribe), Verdict::Skip(_)));
    assert_eq!(draft(give(&mut parser, Side::Client, publish)).name, "request a");
}

#[test]
fn lengths_and_verbs_must_fit() {
    for (from, bytes) in [
        (Side::Client, "PUB a 2\r\nhiXX"),
        (Side::Client, "PUB a b c 2\r\n"),
        (Side::Client, "PUB a -2\r\n"),
        (Side::Client, "MSG a 1 2\r\nhi\r\n"),
        (Side::Server, "PUB a 2\r\nhi\r\n"),
        (Side::Client, "HPUB a 14 12\r\n"),
        (Side::Client, "CONNECT example.com:443 HTTP/1.1\r\n"),
        (Side::Server, "INFOX"),
    ] {
        let verdict = give(&mut Nats::default(), from, bytes);
        assert!(matches!(verdict, Verdict::NotMine), "{bytes}: {verdict:?}");
    }
    assert!(matches!(give(&mut Nats::default(), Side::Server, "HM"), Verdict::More));
}

#[test]
fn errors_are_told() {
    let mut parser = Nats::default();
    let violation = "-ERR 'Permissions Violation for Publish to \"secret\"'\r\n";
    let told = draft(give(&mut parser, Side::Server, violation));
    assert_eq!(told.attributes.get("error.type"), Some(&"Permissions Violation".into()));
    let _ = give(&mut parser, Side::Client, "PUB a _INBOX.x.1 0\r\n\r\n");
    let nobody = "HMSG _INBOX.x.1 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
    let told = draft(give(&mut parser, Side::Server, nobody));
    assert_eq!(told.status_message.as_deref(), Some("no responders"));
}
