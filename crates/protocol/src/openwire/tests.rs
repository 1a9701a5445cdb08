use super::*;

/// A producer's id and a queue, both told, in each encoding.
const LOOSE: &[u8] = b"\0\0\0\x2b\x1c\0\0\0\x05\x00\x01\0\0\x01\x7b\x01\0\x02ID\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x01\0\x01\x01\x64\x01\0\x03a.b";
const TIGHT: &[u8] =
    b"\0\0\0\x1b\x1c\x02\x5f\x1f\0\0\0\x05\0\0\x7b\0\x02ID\0\x01\0\x01\0\x01\x64\0\x03a.b";

fn send(bytes: &[u8]) -> Draft {
    let mut parser = OpenWire::default();
    match parser.parse(Input { bytes, from: Side::Client, is_last: false }) {
        Verdict::Done { draft, .. } => *draft,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_a_destination_in_both_encodings() {
    assert_eq!(send(LOOSE).name, "send a.b");
    assert_eq!(send(TIGHT).name, "send a.b");
    assert_eq!(send(TIGHT).role, deeptrace_model::MessageRole::Request);
}

#[test]
fn flags_come_lowest_bit_first() {
    let (mut bits, rest) = marshal::Bits::read(&[1, 0b101, 9]).unwrap();
    assert_eq!([bits.next(), bits.next(), bits.next()], [Some(true), Some(false), Some(true)]);
    assert_eq!(rest, [9]);
    assert!(marshal::Bits::read(&[0, 1]).is_none());
    assert!(marshal::Bits::read(&[0xc0, 3, 1]).is_none());
}

#[test]
fn both_ends_greet_alike() {
    let hello = b"\0\0\x01\x28\x01ActiveMQ\0\0\0\x0c\x01";
    let head = |from| Head {
        bytes: hello,
        call_len: 300,
        transport: Transport::Tcp,
        from,
        server_port: None,
    };
    assert_eq!(recognise(&head(None)), Recognition::No);
    assert_eq!(recognise(&head(Some(Side::Server))), Recognition::Yes(Side::Server));
}

#[test]
fn a_destination_that_was_told_before_is_unknown_whoever_names_it() {
    // To remove a destination, by the number that it was given.
    let bytes = b"\0\0\0\x0b\x08\x01\x01\0\0\0\x05\0\x01\0\x02";
    let mut parser = OpenWire { caches: Some(true), ..OpenWire::default() };
    let Verdict::Done { draft, .. } =
        parser.parse(Input { bytes, from: Side::Client, is_last: false })
    else {
        panic!("no command");
    };
    assert_eq!(draft.name, "destination");
    assert_eq!(draft.unknown, ["messaging.destination.name"]);
}
