//! Erasing: batches without the spans that a tombstone covers.

use deeptrace_erase::{Tombstone, strip};
use deeptrace_wire::{Encoded, Encoder, Head, decode};

/// What is left of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    All,
    /// This.
    Part(Encoded),
    /// Nothing.
    Nothing,
}

/// A batch without what `tombstone` covers, which is added to `erased`. What cannot be read goes as a
/// whole: it may hold what is to be erased.
pub fn without(
    bytes: &[u8],
    tombstone: &Tombstone,
    encoder: &mut Encoder,
    erased: &mut u64,
) -> Left {
    if Head::read(bytes).is_ok_and(|head| head.spans > 0 && head.from > tombstone.at()) {
        return Left::All;
    }
    let Ok(mut batch) = decode(bytes) else { return Left::Nothing };
    let count = strip(&mut batch.spans, &mut batch.links, |span| tombstone.covers(span));
    if count == 0 {
        return Left::All;
    }
    *erased += count;
    let mut left = Left::Nothing;
    // What is left of a batch is no larger than it was, and so is one batch again.
    encoder.encode(&batch.spans, &batch.links, &batch.gaps, &mut |one| left = Left::Part(one));
    left
}

#[cfg(test)]
mod tests {
    use deeptrace_erase::Target;
    use deeptrace_model::{
        BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
        Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, UnitId, WallTime,
    };

    use super::super::buffer::{Buffer, Parcel};
    use super::super::segments::Segments;
    use super::*;

    const SECRET: &str = "anna@shop.example";

    fn span(id: u64, user: &str) -> Span {
        let touch = Touch {
            event: EventId(id),
            time: BootTime(id),
            pid: Pid(7),
            tid: Tid(7),
            unit: UnitId(7),
        };
        Span {
            id: SpanId(id),
            kind: SpanKind::Server,
            name: "GET /".into(),
            service: "shop".into(),
            protocol: "http".into(),
            start: WallTime(id),
            end: WallTime(id + 1),
            status: SpanStatus::Ok,
            status_message: None,
            attributes: vec![("user.name".into(), user.to_owned().into())].into(),
            request_size: 1,
            response_size: 1,
            request_payload: user.as_bytes().into(),
            response_payload: Default::default(),
            process: ProcessKey { pid: Pid(7), started: BootTime(1) },
            connection: ConnectionId(id),
            exchange: Exchange {
                kind: ExchangeKind::Tcp,
                request: id,
                response: None,
                stream: 0,
                request_hash: 0,
                confidence: 1.0,
            },
            request: [touch; 2],
            response: None,
            trace_context: None,
            unknown: Vec::new(),
            truncated: false,
            lost_events: 0,
        }
    }

    fn batch(spans: &[Span]) -> Encoded {
        let link = |child: &Span| Link {
            child: child.id,
            parent: Some(SpanId(1_000)),
            child_start: child.start,
            method: Method::Thread,
            relation: Relation::Child,
            confidence: 1.0,
            algorithm: "auto".into(),
            candidates: 1,
            generation: 0,
            is_final: true,
        };
        let links: Vec<Link> = spans.iter().map(link).collect();
        let mut all = Vec::new();
        Encoder::new(false).unwrap().encode(spans, &links, &[], &mut |one| all.push(one));
        all.remove(0)
    }

    fn tombstone() -> Tombstone {
        let target = Target::parse(&format!("user={SECRET}")).unwrap();
        Tombstone::new(&target, WallTime(100), []).unwrap()
    }

    fn files(folder: &std::path::Path) -> Vec<u8> {
        let files = std::fs::read_dir(folder).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    fn holds(bytes: &[u8]) -> bool {
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    }

    #[test]
    fn what_started_later_and_what_others_did_stays() {
        let spans = [span(1, SECRET), span(2, "bob"), span(101, SECRET)];
        let mut encoder = Encoder::new(false).unwrap();
        let mut erased = 0;
        let left = without(&batch(&spans).bytes, &tombstone(), &mut encoder, &mut erased);
        let Left::Part(left) = left else { panic!("{left:?}") };
        let left = decode(&left.bytes).unwrap();
        assert_eq!((left.spans.as_slice(), left.links.len(), erased), (&spans[1..], 2, 1));
        for (batch, expected) in [
            (batch(&spans[1..]).bytes, Left::All),
            (batch(&spans[..1]).bytes, Left::Nothing),
            (b"no batch".to_vec(), Left::Nothing),
        ] {
            assert_eq!(without(&batch, &tombstone(), &mut encoder, &mut erased), expected);
        }
    }

    /// Batches that wait, that were read, and that failed; one with the value, one without, one of both.
    #[test]
    fn no_byte_of_it_is_left_in_memory_or_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let disk = || Some(Segments::open(folder.path(), 1 << 20).unwrap());
        let mut buffer = Buffer::new(1 << 20, disk());
        buffer.push(batch(&[span(1, SECRET)]));
        let first = buffer.next().unwrap();
        buffer.failed(first);
        buffer.push(batch(&[span(2, "bob")]));
        buffer.push(batch(&[span(3, SECRET), span(4, "bob")]));
        buffer.push(batch(&[span(5, SECRET)]));
        let mut in_flight =
            [buffer.next().unwrap(), buffer.next().unwrap(), buffer.next().unwrap()];
        assert!(holds(&files(folder.path())));
        let (mut encoder, mut erased) = (Encoder::new(false).unwrap(), 0);
        let mut left = |bytes: &[u8]| without(bytes, &tombstone(), &mut encoder, &mut erased);
        in_flight.iter_mut().for_each(|parcel| buffer.reduce(parcel, &mut left));
        buffer.erase(&mut left).unwrap();
        assert!(!holds(&files(folder.path())), "a file has it");
        assert!(!in_flight.iter().any(|parcel| holds(&parcel.bytes)), "memory has it");
        // The network fails, and what is left is sent after the next start.
        in_flight.into_iter().for_each(|parcel| buffer.failed(parcel));
        buffer.close();
        drop(buffer);
        let mut buffer = Buffer::new(1 << 20, disk());
        let rest: Vec<Parcel> = std::iter::from_fn(|| buffer.next()).collect();
        let spans = rest.iter().flat_map(|parcel| decode(&parcel.bytes).unwrap().spans);
        assert_eq!(spans.map(|span| span.id.0).collect::<Vec<_>>(), [2, 4]);
    }
}
