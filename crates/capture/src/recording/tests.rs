//! Recordings written and read in memory, whole and broken.

use deeptrace_model::{
    BootTime, Call, Close, ConnectionId, Direction, Endpoint, Event, EventBody, EventId, Host,
    LossCause, Open, Origin, Pid, Process, Tid, Transport, UnitId, WallTime,
};
use proptest::prelude::*;

use super::*;
use crate::{Progress, Source, SourceError};

/// One of each kind of event, and a hundred calls.
fn events(payload: &[u8]) -> Vec<Event<'_>> {
    let connection = ConnectionId(77);
    let mut bodies = vec![
        EventBody::Host(Host { boot: 1, name: "vm1".into() }),
        EventBody::Clock(WallTime(1_700_000_000_000_000_000)),
        EventBody::Process(Process {
            key: deeptrace_model::ProcessKey { pid: Pid(7), started: BootTime(3) },
            parent: Pid(1),
            comm: "nginx".into(),
            executable: "/usr/sbin/nginx".into(),
            service: "nginx".into(),
            service_source: "executable".into(),
            container_id: Some("a".repeat(64)),
            watched_by: "default".into(),
        }),
        EventBody::Open(Open {
            connection,
            pid: Pid(7),
            tid: Tid(8),
            transport: Transport::Tcp,
            local: Endpoint::Inet("[::1]:80".parse().expect("an address")),
            remote: Endpoint::Unix("@x".into()),
            origin: Origin::FoundServer,
            netns: u64::MAX,
            cgroup: 5,
            unix_pair: Some((9, true)),
            sent: 1,
            received: 2,
        }),
        EventBody::Lost { cause: LossCause::RingFull, count: 3 },
        EventBody::Redacted,
        EventBody::Message(Box::new(deeptrace_model::Message {
            protocol: "redis",
            unknown: vec!["db.namespace"],
            payload: b"GET ***".as_slice().into(),
            ..Default::default()
        })),
    ];
    bodies.extend((0..100).map(|n| {
        EventBody::Call(Call {
            connection,
            pid: Pid(7),
            tid: Tid(8),
            unit: UnitId(8),
            direction: Direction::Received,
            start: n * 100,
            len: 5000,
            payload,
            drained: false,
            peer: Some("127.0.0.1:53".parse().expect("an address")),
        })
    }));
    bodies.push(EventBody::Close(Close { connection, errno: 104 }));
    bodies.push(EventBody::Exit(Pid(7)));
    bodies
        .into_iter()
        .zip(1..)
        .map(|(body, id)| Event { id: EventId(id), time: BootTime(id * 10), body })
        .collect()
}

fn record(events: &[Event<'_>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).expect("memory");
    for event in events {
        writer.write(event).expect("memory");
    }
    writer.finish().expect("memory")
}

/// What a reader makes of `file`: the events as text, how it ended, and its counters.
fn replay(file: &[u8]) -> (Vec<String>, Option<SourceError>, u64) {
    let mut texts = Vec::new();
    let mut reader = match Reader::new("x.rec", file) {
        Ok(reader) => reader,
        Err(error) => return (texts, Some(error), 0),
    };
    let mut end = None;
    loop {
        match reader.poll(&mut |event| texts.push(format!("{event:?}"))) {
            Ok(Progress::End) => break,
            Ok(_) => assert!(end.is_none(), "nothing may come after an error"),
            Err(error) => assert!(end.replace(error).is_none(), "one error is enough"),
        }
    }
    let mut corrupt = 0;
    reader.counters(&mut |name, value| {
        if name == "recording_frames_corrupt_total" {
            corrupt = value;
        }
    });
    (texts, end, corrupt)
}

fn texts(events: &[Event<'_>]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn what_was_written_is_read_twice_alike() {
    let payload = vec![b'x'; 4096];
    let events = events(&payload);
    let file = record(&events);
    for _ in 0..2 {
        let (read, error, corrupt) = replay(&file);
        assert_eq!(read, texts(&events));
        assert!(error.is_none() && corrupt == 0);
    }
    assert!(is_recording(&file));
}

#[test]
fn a_killed_writer_leaves_all_it_flushed() {
    let events = events(b"GET / HTTP/1.1\r\n");
    let mut writer = Writer::new(Vec::new()).expect("memory");
    for event in &events[..60] {
        writer.write(event).expect("memory");
    }
    writer.flush().expect("memory");
    let flushed = writer.zstd.get_ref().len();
    for event in &events[60..] {
        writer.write(event).expect("memory");
    }
    let file = writer.finish().expect("memory");

    let (read, error, _) = replay(&file[..flushed]);
    assert_eq!(read, texts(&events[..60]));
    let error = error.expect("its end is missing").to_string();
    assert!(error.contains("x.rec: ends in the middle"), "{error}");
    // Cut anywhere: never more than was written, and never silently.
    for len in 12..file.len() {
        let (read, error, _) = replay(&file[..len]);
        assert_eq!(read, texts(&events[..read.len()]), "cut at {len}");
        assert!(error.is_some(), "cut at {len}");
    }
}

#[test]
fn other_files_and_versions_are_refused() {
    let file = record(&events(b"x"));
    let mut newer = file.clone();
    newer[8] = 9;
    let mut other = file.clone();
    other[0] = b'x';
    let rows: [(&[u8], &str); 4] = [
        (&newer, "is a recording of version 9, this program reads versions up to 2"),
        (&other, "is not a recording"),
        (&file[..5], "is not a recording"),
        (b"", "is not a recording"),
    ];
    for (bytes, expected) in rows {
        let error = Reader::new("x.rec", bytes).err().expect("it is refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_frame_without_an_event_is_dropped_and_counted() {
    let events = events(b"abc");
    let mut plain = zstd::decode_all(&record(&events)[12..]).expect("it was just written");
    // The first frame's event gets a kind that does not exist, the second one a byte too many.
    plain[4 + 2] = 99;
    let first = 4 + u32::from_le_bytes(plain[..4].try_into().expect("four")) as usize;
    plain[first] += 1;
    let second = 4 + u32::from_le_bytes(plain[first..first + 4].try_into().expect("four")) as usize;
    plain.insert(first + second - 1, 0);
    let (read, error, corrupt) = replay(&packed(&plain));
    assert_eq!(read, texts(&events[2..]));
    assert!(error.is_none());
    assert_eq!(corrupt, 2);
}

#[test]
fn a_length_beyond_the_limit_ends_the_recording() {
    let events = events(b"abc");
    let mut plain = zstd::decode_all(&record(&events)[12..]).expect("it was just written");
    plain.extend_from_slice(&u32::MAX.to_le_bytes());
    let (read, error, _) = replay(&packed(&plain));
    assert_eq!(read, texts(&events));
    assert!(error.expect("it is damaged").to_string().contains("a frame is too long"));
}

#[test]
fn an_event_too_long_to_be_read_is_not_written() {
    let mut events = events(b"abc");
    let EventBody::Host(host) = &mut events[0].body else { unreachable!("it is the first") };
    host.name = "x".repeat(FRAME_MAX);
    let (read, error, _) = replay(&record(&events));
    assert_eq!(read, texts(&events[1..]));
    assert!(error.is_none());
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend(zstd::encode_all(plain, 1).expect("memory"));
    file
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        replay(&bytes);
        replay(&packed(&bytes));
    }

    #[test]
    fn any_flipped_byte_is_an_error_a_drop_or_other_events(at in 12_usize.., by in 1_u8..) {
        let mut file = record(&events(b"GET / HTTP/1.1\r\n"));
        let at = 12 + at % (file.len() - 12);
        file[at] ^= by;
        replay(&file);
    }
}
