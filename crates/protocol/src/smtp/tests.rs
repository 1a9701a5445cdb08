//! Where mails end, what is never kept, and whose greeting is not ours.

use deeptrace_model::Transport;

use super::{PROTOCOL, Smtp};
use crate::{Draft, Head, Input, Parser, Recognition, Side, Verdict};

const C: Side = Side::Client;
const S: Side = Side::Server;

/// Feeds what was said, in pieces of `size`; returns names and codes of what came out.
fn play(said: &[(Side, &str)], size: usize) -> Vec<Draft> {
    let mut parser = Smtp::default();
    let mut drafts = Vec::new();
    for (from, text) in said {
        let mut pending: Vec<u8> = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            pending.extend(piece);
            while !pending.is_empty() {
                let input = Input { bytes: &pending, from: *from, is_last: false };
                let len = match parser.parse(input) {
                    Verdict::More => break,
                    Verdict::Skip(len) => len,
                    Verdict::Done { len, draft } => {
                        drafts.push(*draft);
                        len
                    }
                    other => panic!("{other:?} on {:?}", String::from_utf8_lossy(&pending)),
                };
                pending.drain(..len as usize);
            }
        }
        assert!(pending.is_empty());
    }
    drafts
}

#[test]
fn mails_end_with_a_dot_alone() {
    let said = [
        (S, "220 mail.example ESMTP\r\n"),
        (C, "DATA\r\n"),
        (S, "354 go on\r\n"),
        (C, "QUIT\r\n..\r\n.x\r\n\r\r\n.\r\nNOOP\r\n"),
        (S, "250 ok\r\n250 ok\r\n"),
        (C, "DATA\r\n"),
        (S, "354 go on\r\n"),
        (C, ".\r\nQUIT\r\n"),
        (S, "554 5.6.0 empty\r\n"),
    ];
    for size in 1..30 {
        let names: Vec<_> = play(&said, size).iter().map(|draft| draft.name.clone()).collect();
        assert_eq!(names, ["DATA", "NOOP", "", "", "DATA", "QUIT", ""], "pieces of {size}");
    }
}

#[test]
fn what_is_secret_or_personal_is_not_told() {
    let said = [
        (S, "220 mail.example ESMTP\r\n"),
        (C, "AUTH LOGIN\r\n"),
        (S, "334 VXNlcm5hbWU6\r\n"),
        (C, "am9l\r\n"),
        (S, "334 UGFzc3dvcmQ6\r\n"),
        (C, "c2VjcmV0\r\n"),
        (S, "535 5.7.8 no\r\n"),
        (C, "RCPT TO:<joe@shop.example>\r\n"),
        (S, "550 5.1.1 <joe@shop.example> is not here\r\n"),
    ];
    let drafts = play(&said, 100);
    let told = format!("{drafts:?}");
    assert!(!["am9l", "c2Vj", "joe"].iter().any(|secret| told.contains(secret)), "{told}");
    assert_eq!(drafts[3].status_message.as_deref(), Some("5.1.1 {address} is not here"));
    assert_eq!(drafts[0].redact.first(), Some(&(5..usize::MAX)));
}

#[test]
fn only_a_server_of_smtp_greets_like_one() {
    let says = |text: &str| {
        let (bytes, call_len) = (text.as_bytes(), text.len());
        let (transport, from, server_port) = (Transport::Tcp, None, Some(25));
        (PROTOCOL.recognise)(&Head { bytes, call_len, transport, from, server_port })
    };
    assert_eq!(says("220 mail.example ESMTP Postfix\r\n"), Recognition::Yes(S));
    assert_eq!(says("220 (vsFTPd 3.0.5)\r\n"), Recognition::No);
    assert_eq!(says("ehlo [127.0.0.1]\r\n"), Recognition::Yes(C));
    assert_eq!(says("MAIL FROM:<a@b> SIZE=1\r\n"), Recognition::Yes(C));
    assert_eq!(says("QUIT\r\n"), Recognition::No);
}
