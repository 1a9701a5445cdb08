//! What no session shows: recognition by little, bytes that are nearly a packet, and secrets.

use super::*;

fn head(bytes: &[u8], from: Option<Side>) -> Recognition {
    let call_len = bytes.len();
    recognise(&Head { bytes, call_len, transport: Transport::Tcp, from, server_port: None })
}

const GET: &[u8] = b"\0\0\0\x0f\0\0\0\x07\0\0\0\x04\0\0\0\x02/a\0";

#[test]
fn a_path_is_sure_and_a_reply_is_not_believed() {
    assert_eq!(head(GET, None), Recognition::Yes(Side::Client));
    assert_eq!(head(GET, Some(Side::Server)), Recognition::No);
    assert_eq!(head(&GET[..11], None), Recognition::No);
    let reply = b"\0\0\0\x10\0\0\0\x07\0\0\0\0\0\0\0\x09\xff\xff\xff\x9b";
    assert_eq!(head(reply, Some(Side::Server)), Recognition::No);
    assert!(ZooKeeper::default().is_start(Side::Server, reply));
    let pong = b"\0\0\0\x10\xff\xff\xff\xfe\0\0\0\0\0\0\0\x09\0\0\0\0";
    assert_eq!(head(pong, None), Recognition::Yes(Side::Server));
}

#[test]
fn what_no_client_sends_is_not_ours() {
    // Length, number, operation, length of the path, path.
    for (at, byte) in [(0, 0x7f), (4, 0x80), (11, 99), (12, 0x7f), (16, b'a')] {
        let mut bytes = GET.to_vec();
        bytes[at] = byte;
        assert_eq!(head(&bytes, None), Recognition::No, "{at}");
    }
}

#[test]
fn numbers_alone_are_not_believed() {
    // Kafka: a request for versions, the fourteenth of its connection.
    let kafka = b"\0\0\0\x10\0\x12\0\x03\0\0\0\x0e\0\x04prod\0\0";
    assert_eq!(head(kafka, None), Recognition::No);
    let multi = b"\0\0\0\x24\0\0\0\x03\0\0\0\x0e\0\0\0\x0d\0\xff\xff\xff\xff\0\0\0\x02/a\0\0\0\0\
        \xff\xff\xff\xff\x01\xff\xff\xff\xff";
    assert_eq!(head(multi, None), Recognition::Yes(Side::Client));
    assert_eq!(head(&multi[..14], None), Recognition::No);
}

#[test]
fn a_token_is_not_kept() {
    let bytes = b"\0\0\0\x12\0\0\0\x05\0\0\0\x66\0\0\0\x06secret";
    let input = Input { bytes, from: Side::Client, is_last: false };
    let Verdict::Done { draft, .. } = ZooKeeper::default().parse(input) else { panic!() };
    assert_eq!((draft.name.as_str(), draft.redact.first()), ("sasl", Some(&(12..usize::MAX))));
}
