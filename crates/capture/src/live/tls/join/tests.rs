//! Sessions and connections find each other, or nothing is told.

use super::*;

const UNSEEN: u64 = Plaintext::UNSEEN;

const PID: Pid = Pid(7);

struct Case {
    join: Join,
    told: Vec<(u64, bool, u64, u32, String)>,
    /// Sequence numbers of each connection: received, sent.
    at: std::collections::BTreeMap<u64, [u32; 2]>,
}

fn header(connection: u64, tid: u32, len: u32) -> Header {
    Header {
        time: BootTime(10),
        connection: ConnectionId(connection),
        pid: PID,
        tid: Tid(tid),
        errno: 0,
        len,
    }
}

impl Case {
    fn new() -> Self {
        Self { join: Join::default(), told: Vec::new(), at: Default::default() }
    }

    /// A call of thread `tid` that moves whole records with that much plaintext in TLS 1.3.
    fn moves(&mut self, connection: u64, tid: u32, direction: Direction, plain: &[u32]) {
        let at = &mut self.at.entry(connection).or_insert([1000, 2000])[direction as usize];
        let start = *at;
        let mut bytes = Vec::new();
        for len in plain {
            bytes.extend(at.to_ne_bytes());
            bytes.extend((*len as u16 + 17).to_ne_bytes());
            bytes.extend([23, 0]);
            *at += len + 22;
        }
        let header = header(connection, tid, *at - start);
        self.join.records(&header, &RecordsRecord::of(direction, &bytes));
        let record = CallRecord {
            start: start.into(),
            direction,
            drained: false,
            peer: None,
            unit: None,
            payload: &[],
        };
        let told = &mut self.told;
        self.join.call(&header, &record, &mut |_, plain| note(told, &plain));
    }

    /// Plaintext of a session; `tied`: the socket that was used meanwhile.
    fn plain(&mut self, session: u64, tid: u32, direction: Direction, text: &str, tied: u64) {
        let header = header(tied, tid, text.len() as u32);
        let record = PlaintextRecord {
            session,
            direction,
            sockets: u8::from(tied != 0),
            asked: 4096,
            unit: None,
            payload: text.as_bytes(),
        };
        let told = &mut self.told;
        let since = BootTime(5);
        self.join.plaintext(&header, &record, since, &mut |_, plain| note(told, &plain));
    }

    /// Plaintext that is told before its records are sent.
    fn writes_ahead(&mut self, session: u64, tid: u32, text: &str, tied: u64) {
        let header = header(tied, tid, text.len() as u32);
        let (direction, payload, asked) = (Sent, text.as_bytes(), 0);
        let record = PlaintextRecord { session, direction, sockets: 0, asked, unit: None, payload };
        let told = &mut self.told;
        let sink = &mut |_, plain: Plaintext<'_>| note(told, &plain);
        self.join.plaintext(&header, &record, BootTime(5), sink);
    }

    /// Room for so many bytes.
    fn reads(&mut self, text: &str, asked: u64, tied: u64) {
        let header = header(tied, 1, text.len() as u32);
        let (session, direction, payload) = (0xa, Received, text.as_bytes());
        let sockets = u8::from(tied != 0);
        let record = PlaintextRecord { session, direction, sockets, asked, unit: None, payload };
        let told = &mut self.told;
        let sink = &mut |_, plain: Plaintext<'_>| note(told, &plain);
        self.join.plaintext(&header, &record, BootTime(5), sink);
    }

    fn texts(&self) -> Vec<String> {
        let line = |(connection, sent, start, position, text): &(u64, bool, u64, u32, String)| {
            let way = if *sent { '<' } else { '>' };
            format!("{connection}{way}{start}@{position} {text}")
        };
        self.told.iter().map(line).collect()
    }
}

fn note(told: &mut Vec<(u64, bool, u64, u32, String)>, plain: &Plaintext<'_>) {
    let call = &plain.call;
    let text = String::from_utf8_lossy(call.payload).into_owned();
    let sent = call.direction == Direction::Sent;
    told.push((call.connection.0, sent, call.start, plain.position, text));
}

use Direction::{Received, Sent};

#[test]
fn a_library_with_its_own_socket() {
    let mut case = Case::new();
    case.join.opened(ConnectionId(1), true, BootTime(9));
    case.moves(1, 1, Received, &[4]);
    case.plain(0xa, 1, Received, "ping", 1);
    case.moves(1, 1, Sent, &[4]);
    case.plain(0xa, 1, Sent, "pong", 1);
    assert_eq!(case.texts(), ["1>0@1000 ping", "1<0@2000 pong"]);
    assert_eq!(case.join.whose(ConnectionId(1)), Some((1, Pid(0))));
    case.join.freed(PID, 0xa);
    assert_eq!(case.join.whose(ConnectionId(1)), None);
}

#[test]
fn a_connection_older_than_the_probes_does_not_begin_at_zero() {
    let mut case = Case::new();
    case.join.opened(ConnectionId(1), true, BootTime(4));
    case.moves(1, 1, Received, &[4]);
    case.plain(0xa, 1, Received, "ping", 1);
    assert_eq!(case.texts(), [format!("1>{UNSEEN}@1000 ping")]);
}

#[test]
fn libraries_on_memory_are_tied_by_thread_and_length() {
    let mut case = Case::new();
    // The client's side: written, then sent; and the server's: read, then decrypted.
    case.plain(0xa, 1, Sent, "question", 0);
    assert!(case.texts().is_empty());
    case.moves(1, 1, Sent, &[8]);
    case.moves(2, 1, Received, &[8]);
    case.plain(0xb, 1, Received, "question", 0);
    case.plain(0xb, 1, Sent, "answer", 0);
    case.moves(2, 1, Sent, &[6]);
    case.moves(1, 1, Received, &[6]);
    case.plain(0xa, 1, Received, "answer", 0);
    let lines = case.texts();
    let ends: Vec<_> = lines.iter().map(|line| line.split('@').next_back().unwrap()).collect();
    assert_eq!(ends, ["2000 question", "1000 question", "2000 answer", "1000 answer"]);
    assert_eq!(case.join.whose(ConnectionId(2)), Some((0xb, PID)));
    assert_eq!(case.join.counts.untied + case.join.counts.unmatched, 0);
}

#[test]
fn what_does_not_agree_is_not_told() {
    let mut case = Case::new();
    case.moves(1, 1, Received, &[9]);
    case.plain(0xb, 1, Received, "question", 0);
    // Another thread, another process's length, two sessions that both fit.
    case.moves(2, 2, Received, &[8]);
    case.plain(0xb, 1, Received, "question", 0);
    case.plain(0xc, 3, Sent, "one", 0);
    case.plain(0xd, 3, Sent, "two", 0);
    case.moves(3, 3, Sent, &[3]);
    assert!(case.texts().is_empty());
    assert_eq!(case.join.counts.untied, 2);
}

#[test]
fn what_is_written_before_the_socket_is_known() {
    let mut case = Case::new();
    case.writes_ahead(0xa, 1, "ping", 1);
    case.join.opened(ConnectionId(1), true, BootTime(9));
    case.moves(1, 1, Sent, &[4]);
    case.writes_ahead(0xa, 1, "again", 1);
    case.moves(1, 1, Sent, &[5]);
    assert_eq!(case.texts(), ["1<0@2000 ping", "1<4@2026 again"]);
    // The number is another socket's now.
    case.join.opened(ConnectionId(1), true, BootTime(9));
    assert_eq!(case.join.whose(ConnectionId(1)), None);
    case.plain(0xa, 1, Received, "x", 0);
    assert_eq!((case.told.len(), case.join.counts.untied), (2, 1));
}

#[test]
fn what_is_written_before_the_socket_has_its_number() {
    let mut case = Case::new();
    let guessed = GUESSED | 7;
    case.writes_ahead(0xa, 1, "ping", guessed);
    case.moves(1, 1, Sent, &[4]);
    assert_eq!(case.texts(), [format!("1<{UNSEEN}@2000 ping")]);
    assert_eq!(case.join.whose(ConnectionId(guessed)), None);
    // Where that remains its number, it is as good as any.
    let mut case = Case::new();
    case.join.opened(ConnectionId(guessed), true, BootTime(9));
    case.writes_ahead(0xa, 1, "ping", guessed);
    case.moves(guessed, 2, Sent, &[4]);
    assert_eq!(case.texts(), [format!("{guessed}<0@2000 ping")]);
}

#[test]
fn a_session_at_the_address_of_another_one() {
    let mut case = Case::new();
    case.moves(1, 1, Sent, &[3]);
    case.plain(0xa, 1, Sent, "one", 1);
    case.moves(2, 1, Sent, &[3]);
    case.plain(0xa, 1, Sent, "two", 2);
    assert_eq!(case.join.whose(ConnectionId(1)), None);
    assert_eq!(case.join.whose(ConnectionId(2)), Some((2, Pid(0))));
    case.join.closed(ConnectionId(2));
    case.plain(0xa, 1, Received, "x", 0);
    assert_eq!((case.told.len(), case.join.counts.untied), (2, 1));
}

#[test]
fn writes_that_are_never_sent_make_room() {
    let mut case = Case::new();
    for _ in 0..3 * PENDING_MAX {
        case.plain(0xa, 1, Sent, "lost", 0);
    }
    assert!(case.join.counts.shed as usize >= PENDING_MAX);
    assert!(case.join.pending_bytes <= PENDING_MAX * 4);
    case.join.freed(PID, 0xa);
    assert_eq!(case.join.pending_bytes, 0);
}

#[test]
fn a_byte_that_is_read_alone_is_told_with_what_follows() {
    let mut case = Case::new();
    case.join.opened(ConnectionId(1), true, BootTime(9));
    case.moves(1, 1, Received, &[4]);
    case.reads("p", 1, 1);
    assert!(case.texts().is_empty());
    case.reads("ing", 4096, 0);
    assert_eq!(case.texts(), ["1>0@1000 ping"]);
}
