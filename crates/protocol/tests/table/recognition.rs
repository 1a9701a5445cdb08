//! No row takes the connections of another, nor those of protocols that are in no row.

use deeptrace_protocol::{
    CARRIED, Head, Options, Output, Protocol, Protocols, Recognition, Side, TABLE,
};

use crate::session::corpus::entries;
use crate::session::{Delivery, Session};

/// Conversations of protocols that are in no row, as in a `.stream` file.
const FOREIGN: &[(&str, &str)] = &[
    (
        "beanstalkd, whose words are memcached's in part",
        r#"
        C "use jobs\r\n"
        S "USING jobs\r\n"
        C "put 0 0 60 5\r\nhello\r\n"
        S "INSERTED 1\r\n"
        C "reserve\r\n"
        S "RESERVED 1 5\r\nhello\r\n"
        C "delete 1\r\n"
        S "DELETED\r\n"
        "#,
    ),
    (
        "POP3",
        r#"
        S "+OK ready\r\n"
        C "USER joe\r\n"
        S "+OK\r\n"
        C "PASS x\r\n"
        S "-ERR no\r\n"
        C "QUIT\r\n"
        S "+OK bye\r\n"
        "#,
    ),
    (
        "TLS",
        r#"
        C "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"
        S "\x16\x03\x03\x00\x05\x02\x00\x00\x01\x03"
        C "\x17\x03\x03\x00\x03abc"
        S "\x17\x03\x03\x00\x03abc"
        "#,
    ),
];

/// The row as a table of its own.
fn alone(row: usize) -> &'static [Protocol] {
    &TABLE[row..=row]
}

/// What is believed after all that was said, and how many messages came out.
fn believed(session: &Session, table: &'static [Protocol]) -> (Option<&'static str>, usize) {
    let mut deliveries = session.deliveries();
    deliveries.retain(|delivery| !matches!(delivery, Delivery::Close(_)));
    let mut stage = Protocols::with_table(Options::default(), table);
    let mut out = Output::default();
    session.run_in(&mut stage, &mut out, &deliveries);
    let named = stage.connections().find_map(|connection| connection.1);
    (named, out.messages.len())
}

/// All rows but that of a protocol and the one inside which it travels.
fn others(name: &str) -> impl Iterator<Item = (usize, &'static Protocol)> {
    let carrier = CARRIED.iter().find(|carried| carried.0 == name).map(|carried| carried.1);
    let is_own = move |other: &str| other == name || Some(other) == carrier;
    TABLE.iter().enumerate().filter(move |row| !is_own(row.1.name))
}

#[test]
fn no_row_is_sure_of_what_another_protocol_says() {
    for entry in entries() {
        for (row, protocol) in others(&entry.protocol) {
            for delivery in entry.session.deliveries() {
                let Delivery::Piece(piece) = delivery else { continue };
                let call_len = piece.len as usize;
                let most = piece.bytes.len();
                for len in [8, 16, 64, 256, 1024, most].map(|len: usize| len.min(most)) {
                    let bytes = &piece.bytes[..len];
                    for from in [None, Some(piece.from)] {
                        let transport = entry.session.transport;
                        let server_port = Some(protocol.ports[0]);
                        let head = Head { bytes, call_len, transport, from, server_port };
                        if bytes.is_empty() || !protocol.transports.contains(&transport) {
                            continue;
                        }
                        let says = (TABLE[row].recognise)(&head);
                        let is_sure = matches!(says, Recognition::Yes(_));
                        assert!(!is_sure, "{} of {}", protocol.name, entry.path.display());
                    }
                }
            }
        }
    }
}

#[test]
fn no_row_believes_a_session_of_another_protocol() {
    for entry in entries() {
        for (row, protocol) in others(&entry.protocol) {
            let (named, messages) = believed(&entry.session, alone(row));
            let what = format!("{} of {}", protocol.name, entry.path.display());
            assert_eq!((named, messages), (None, 0), "{what}");
        }
    }
}

#[test]
fn sessions_of_protocols_in_no_row_are_nobodys() {
    for (name, text) in FOREIGN {
        for opening in ["open accepted tcp 1\n", "open found tcp 1\n", "open none tcp\n"] {
            let session = Session::parse(&[opening, &text.repeat(12)].concat());
            let (named, _) = believed(&session, TABLE);
            assert_eq!(named, None, "{name}, {opening}");
        }
    }
}

#[test]
fn a_side_that_is_known_is_never_taken_for_the_other() {
    for entry in entries() {
        let row = TABLE.iter().find(|row| row.name == entry.protocol).unwrap();
        for delivery in entry.session.deliveries() {
            let Delivery::Piece(piece) = delivery else { continue };
            let wrong = match piece.from {
                Side::Client => Side::Server,
                Side::Server => Side::Client,
            };
            let head = Head {
                bytes: &piece.bytes,
                call_len: piece.len as usize,
                transport: entry.session.transport,
                from: Some(piece.from),
                server_port: None,
            };
            let says =
                if piece.bytes.is_empty() { Recognition::No } else { (row.recognise)(&head) };
            assert_ne!(says, Recognition::Yes(wrong), "{}", entry.path.display());
        }
    }
}
