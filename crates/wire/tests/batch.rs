//! Batches there and back; those of other versions; and bytes that are none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use deeptrace_model::{
    Attributes, BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Gap, GapCause, Link,
    Method, Pid, ProcessKey, Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch,
    TraceContext, TraceId, UnitId, Value, WallTime,
};
use deeptrace_wire::{Decoded, Encoder, Head, PLAIN_MAX, WireError, decode};

/// Everything that a batch may hold, once at least.
fn batch(count: u64) -> (Vec<Span>, Vec<Link>, Vec<Gap>) {
    let host: Attributes = [
        (Cow::Borrowed("host.name"), Value::from("here")),
        (Cow::Borrowed("process.pid"), Value::Int(7)),
    ]
    .into_iter()
    .collect();
    let host = host.into_set();
    let touch = |n: u64| Touch {
        event: EventId(n),
        time: BootTime(n * 1_000),
        pid: Pid(7),
        tid: Tid(8),
        unit: UnitId(8),
    };
    let span = |n: u64| {
        let mut attributes = Attributes::new();
        attributes.share(&host);
        attributes.push(("url.path".into(), format!("/items/{n}").into()));
        attributes.push(("ratio".into(), Value::Float(0.5)));
        attributes.push(("is_new".into(), Value::Bool(n.is_multiple_of(2))));
        attributes.push(("names".into(), Value::Texts(vec!["a".into(), "b".into()])));
        Span {
            id: SpanId(n + 1),
            kind: if n.is_multiple_of(2) { SpanKind::Server } else { SpanKind::Client },
            name: "GET /items/{id}".into(),
            service: "shop".into(),
            protocol: Cow::Borrowed("http"),
            start: WallTime(1_700_000_000_000_000_000 + n),
            end: WallTime(1_700_000_000_000_500_000 + n),
            status: SpanStatus::Error,
            status_message: Some("refused".into()),
            attributes,
            request_size: 100,
            response_size: 2_000,
            request_payload: b"GET /items HTTP/1.1\r\n".as_slice().into(),
            response_payload: vec![0, 255, n as u8].into(),
            process: ProcessKey { pid: Pid(7), started: BootTime(5) },
            connection: ConnectionId(99),
            exchange: Exchange {
                kind: ExchangeKind::Tcp,
                request: n,
                response: Some(n + 1),
                stream: 3,
                request_hash: 4,
                confidence: 1.0,
            },
            request: [touch(n), touch(n + 1)],
            response: n.is_multiple_of(3).then(|| [touch(n + 2), touch(n + 3)]),
            trace_context: Some(TraceContext { trace: TraceId(77), parent: 78 }),
            unknown: vec!["rpc.method".into()],
            truncated: true,
            lost_events: 2,
        }
    };
    let link = |n: u64| Link {
        child: SpanId(n + 1),
        parent: (n > 0).then_some(SpanId(n)),
        child_start: WallTime(1_700_000_000_000_000_000 + n),
        method: Method::Wake,
        relation: Relation::Follows,
        confidence: 0.75,
        algorithm: "auto".into(),
        candidates: 3,
        generation: 1,
        is_final: true,
    };
    let gap = Gap {
        from: WallTime(1),
        to: WallTime(2),
        cause: GapCause::BufferFull,
        events: 3,
        bytes: 4,
    };
    ((0..count).map(span).collect(), (0..count).map(link).collect(), vec![gap])
}

fn encode(count: u64, is_compressing: bool) -> Vec<Vec<u8>> {
    let (spans, links, gaps) = batch(count);
    let mut all = Vec::new();
    let mut encoder = Encoder::new(is_compressing).unwrap();
    let omitted = encoder.encode(&spans, &links, &gaps, &mut |encoded| {
        assert_eq!(Head::read(&encoded.bytes).unwrap(), encoded.head);
        all.push(encoded.bytes);
    });
    assert_eq!(omitted, 0);
    all
}

#[test]
fn what_is_sent_is_what_comes() {
    for (count, is_compressing) in [(0, true), (5, false), (5, true), (20_000, true)] {
        let (spans, links, gaps) = batch(count);
        let mut come = Decoded::default();
        let batches = encode(count, is_compressing);
        for bytes in &batches {
            let head = Head::read(bytes).unwrap();
            let one = decode(bytes).unwrap();
            assert_eq!(head.spans as usize, one.spans.len());
            come.spans.extend(one.spans);
            come.links.extend(one.links);
            come.gaps.extend(one.gaps);
            come.omitted += one.omitted;
        }
        assert_eq!(batches.len() > 1, count > 5, "{} batches", batches.len());
        assert_eq!(come, Decoded { spans, links, gaps, omitted: 0 });
    }
    // What spans share comes once.
    let come = decode(&encode(5, true)[0]).unwrap();
    let shared = |span: &Span| Arc::as_ptr(span.attributes.shared().next().unwrap());
    assert!(come.spans.iter().all(|span| shared(span) == shared(&come.spans[0])));
}

/// Files of `corpus/wire`, each written by the version in its name, stay readable.
/// `UPDATE_EXPECT=1` writes that of this version where it is missing.
#[test]
fn earlier_versions_are_read() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/wire");
    let bytes = encode(5, true).remove(0);
    let (major, minor) = Head::read(&bytes).unwrap().version;
    let own = folder.join(format!("{major}.{minor}.spans"));
    if std::env::var_os("UPDATE_EXPECT").is_some() && !own.exists() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&own, &bytes).unwrap();
    }
    let (spans, links, gaps) = batch(5);
    let expected = Decoded { spans, links, gaps, omitted: 0 };
    let mut seen = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // A field that a version does not have yet has its default, which this batch uses.
        assert_eq!(decode(&fs::read(&path).unwrap()).unwrap(), expected, "{}", path.display());
        seen += 1;
    }
    assert!(own.exists() && seen > 0, "run it once with UPDATE_EXPECT=1");
}

/// What the next minor version may do: a field more at the end of each record, an unknown value, an
/// unknown section.
#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    let bytes = encode(5, false).remove(0);
    let mut plain = Vec::new();
    let mut rest = &bytes[Head::LEN..];
    while let Some((kind, after)) = rest.split_first() {
        let (section, following) = piece(after);
        rest = following;
        let mut records = section;
        let mut longer = Vec::new();
        while !records.is_empty() {
            let (record, following) = piece(records);
            records = following;
            put(&[record, b"new field"].concat(), &mut longer);
        }
        if *kind == 4 {
            // A gap with a cause that is not known: its third field.
            put(&[1, 2, 200, 3, 4], &mut longer);
        }
        plain.push(*kind);
        put(&longer, &mut plain);
    }
    plain.push(77);
    let mut records = Vec::new();
    put(b"something", &mut records);
    put(&records, &mut plain);
    let mut later = bytes[..Head::LEN].to_vec();
    later[5] += 1;
    later[8..12].copy_from_slice(&(plain.len() as u32).to_le_bytes());
    later.extend(&plain);
    let (spans, links, gaps) = batch(5);
    assert_eq!(decode(&later).unwrap(), Decoded { spans, links, gaps, omitted: 2 });
    later[4] += 1;
    assert_eq!(decode(&later), Err(WireError::Version(2, 1)));
}

#[test]
fn bytes_that_are_no_batch_are_refused_and_harm_nobody() {
    let bytes = encode(5, true).remove(0);
    assert_eq!(decode(b"GET / HTTP/1.1"), Err(WireError::Foreign));
    for len in 0..bytes.len() {
        decode(&bytes[..len]).unwrap_err();
    }
    let plain = encode(5, false).remove(0);
    for bytes in [bytes, plain] {
        for at in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                // Something else or an error, and never more than there are bytes for.
                if let Ok(decoded) = decode(&flipped) {
                    assert!(decoded.spans.len() + decoded.links.len() < 1_000);
                }
            }
        }
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let mut bytes = encode(1, true).remove(0)[..Head::LEN].to_vec();
    let zeros = vec![0; PLAIN_MAX + 1];
    bytes.extend(zstd::bulk::compress(&zeros, 1).unwrap());
    bytes[8..12].copy_from_slice(&(zeros.len() as u32).to_le_bytes());
    assert_eq!(decode(&bytes), Err(WireError::TooLarge(PLAIN_MAX + 1)));
    // The head lies.
    bytes[8..12].copy_from_slice(&1_000u32.to_le_bytes());
    assert_eq!(decode(&bytes), Err(WireError::Damaged("it does not unpack")));
}

fn piece(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = postcard::take_from_bytes::<u32>(bytes).unwrap();
    rest.split_at(len as usize)
}

fn put(piece: &[u8], out: &mut Vec<u8>) {
    out.extend(postcard::to_stdvec(&(piece.len() as u32)).unwrap());
    out.extend(piece);
}
