use super::*;

#[test]
fn partitions_are_told_apart() {
    assert_eq!(topics::partition(b"a-partition-12"), (&b"a"[..], Some(&b"12"[..])));
    assert_eq!(topics::partition(b"a-partition-x"), (&b"a-partition-x"[..], None));
}

#[test]
fn streams_of_requests_and_messages_differ() {
    assert_eq!(request_stream(0), 2);
    assert_eq!(request_stream(u64::MAX), 2);
    let sent = send_stream(Fields(&[0x08, 1, 0x10, 2]));
    assert!(sent.is_some_and(|stream| stream & 1 == 1));
    assert_eq!(send_stream(Fields(&[0x08, 1])), None);
}

#[test]
fn fields_must_fit() {
    assert!(Fields(&[0x08, 0x96, 0x01, 0x12, 2, b'h', b'i']).is_whole());
    assert!(!Fields(&[0x08]).is_whole());
    assert!(!Fields(&[0x12, 3, b'h', b'i']).is_whole());
    assert_eq!(Fields(&[0x08, 0x96, 0x01]).number(1), Some(150));
    assert_eq!(Fields(&[0xff; 12]).number(1), None);
}

#[test]
fn pings_tell_nothing_of_who_sends_them() {
    let ping = b"\0\0\0\x09\0\0\0\x05\x08\x12\x92\x01\0";
    let head = |from| Head {
        bytes: ping,
        call_len: ping.len(),
        transport: Transport::Tcp,
        from,
        server_port: None,
    };
    assert_eq!(recognise(&head(None)), Recognition::No);
    assert_eq!(recognise(&head(Some(Side::Server))), Recognition::Maybe(Side::Server));
}
