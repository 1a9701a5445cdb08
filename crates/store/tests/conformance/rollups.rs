//! Sums of minutes and hours, by operation and by calls between services.

use deeptrace_model::{Exchange, REPORTED};
use deeptrace_store::EdgeRollup;

use super::*;

#[test]
fn rollups_are_the_sums_of_spans_and_of_calls_between_services() {
    const MINUTE: u64 = 60 * SECOND;
    const HOUR: u64 = 60 * MINUTE;
    // Two spans, the sides of one exchange, in 20 seconds, from before a full hour to after the next.
    let begin = BEGIN / HOUR * HOUR - 10 * MINUTE;
    let spans: Vec<Span> = (0..600)
        .map(|n| {
            let mut span = span(n);
            let took = span.end.since(span.start);
            span.start = WallTime(begin + n / 2 * 20 * SECOND + n % 2);
            span.end = span.start.plus(took);
            span
        })
        .collect();
    let (first, last) = (spans[0].start.0, spans[599].start.0);
    let minute = |at: u64| at / MINUTE * MINUTE;
    let check = |store: &dyn Store| {
        for (from, to) in [
            (0, u64::MAX),
            (first, last),
            (first + 7 * MINUTE + 3, last - 7 * MINUTE - 3),
            (begin + 10 * MINUTE, begin + 70 * MINUTE - 1),
            (begin + 12 * MINUTE, begin + 13 * MINUTE - 1),
            (last + HOUR, last + 2 * HOUR),
        ] {
            for step in [Step::Minute, Step::Hour, Step::Whole] {
                let mut operations: BTreeMap<_, Tally> = BTreeMap::new();
                let mut calls: BTreeMap<_, Tally> = BTreeMap::new();
                for (number, span) in spans.iter().enumerate() {
                    // Windows are widened to whole minutes.
                    if !(minute(from)..=to).contains(&minute(span.start.0)) {
                        continue;
                    }
                    let start = WallTime(match step {
                        Step::Minute => minute(span.start.0),
                        Step::Hour => span.start.0 / HOUR * HOUR,
                        Step::Whole => minute(from),
                    });
                    let took = span.end.since(span.start);
                    let is_error = span.status == SpanStatus::Error;
                    let (service, name) = (span.service.clone(), span.name.clone());
                    let key = OperationKey { service, name, kind: span.kind };
                    operations.entry((start, key)).or_default().add(took, is_error);
                    if span.kind == SpanKind::Client {
                        let key = EdgeKey {
                            caller: Some(span.service.clone()),
                            callee: Callee::Service(spans[number + 1].service.clone()),
                            protocol: "http".into(),
                        };
                        calls.entry((start, key)).or_default().add(took, is_error);
                    }
                }
                let window = Window { from: WallTime(from), to: WallTime(to) };
                let Rollups { operations: rows, edges, is_cut } =
                    store.rollups(window, step, None).unwrap();
                assert!(!is_cut);
                let told = rows.into_iter().map(|row| ((row.start, row.operation), row.tally));
                assert!(told.eq(operations), "operations, {from} to {to}, {step:?}");
                let told = edges.into_iter().map(|row| ((row.start, row.edge), row.tally));
                assert!(told.eq(calls), "edges, {from} to {to}, {step:?}");
            }
        }
        let users = store.rollups(Window::ALL, Step::Whole, Some("users")).unwrap();
        assert!(!users.operations.is_empty() && !users.edges.is_empty());
        assert!(users.operations.iter().all(|row| row.operation.service == "users"));
        assert!(users.edges.iter().all(|row| row.edge.caller.as_deref() == Some("users")
            || row.edge.callee == Callee::Service("users".into())));
    };
    each(|backend, options| {
        let store = open(backend, options);
        for (number, part) in spans.chunks(20).enumerate() {
            store.write(&Batch { spans: part.to_vec(), ..Batch::default() }).unwrap();
            if number % 5 == 0 {
                store.maintain(part[0].start).unwrap();
            }
        }
        check(&*store);
        while store.maintain(WallTime(last + 2 * HOUR)).unwrap().more {}
        check(&*store);
        drop(store);
        check(&*open(backend, options));
    });
}

#[test]
fn a_call_whose_other_side_is_not_seen_is_one_from_outside_or_to_a_peer() {
    each(|backend, options| {
        let store = open(backend, options);
        // Client sides of the even ones, server sides of the odd ones, of different exchanges.
        let alone = |n: u64| span(n * 2 + n % 2);
        let batch = Batch { spans: (0..40).map(alone).collect(), ..Batch::default() };
        store.write(&batch).unwrap();
        let edges =
            |store: &dyn Store| store.rollups(Window::ALL, Step::Whole, None).unwrap().edges;
        assert_eq!(edges(&*store), []);
        while store.maintain(WallTime(BEGIN + 30 * SECOND)).unwrap().more {}
        let check = |store: &dyn Store| {
            let edges = edges(store);
            assert_eq!(edges.iter().map(|row| row.tally.spans).sum::<u64>(), 40);
            for row in edges {
                match (&row.edge.caller, &row.edge.callee) {
                    (Some(_), Callee::Peer(peer)) => assert_eq!(peer, "shop.example:8080"),
                    (None, Callee::Service(_)) => {}
                    other => unreachable!("{other:?}"),
                }
            }
        };
        check(&*store);
        // What still waits at the end is written at the end.
        let batch = Batch { spans: (100..140).map(span).collect(), ..Batch::default() };
        store.write(&Batch { spans: vec![batch.spans[0].clone()], ..Batch::default() }).unwrap();
        drop(store);
        let store = open(backend, options);
        assert_eq!(edges(&*store).iter().map(|row| row.tally.spans).sum::<u64>(), 41);
    });
}

#[test]
fn who_takes_an_item_is_called_by_who_put_it() {
    each(|backend, options| {
        let store = open(backend, options);
        let kinds = [SpanKind::Producer, SpanKind::Consumer];
        let with_kind = |(n, kind)| Span { kind, ..span(n) };
        let pair: Vec<Span> = (0..2).zip(kinds).map(with_kind).collect();
        let [put, taken] = [&pair[0], &pair[1]].map(|it| it.service.clone());
        store.write(&Batch { spans: pair.clone(), ..Batch::default() }).unwrap();
        let edges = store.rollups(Window::ALL, Step::Whole, None).unwrap().edges;
        let [row] = &edges[..] else { panic!("{edges:?}") };
        assert_eq!(row.edge.caller, Some(put));
        assert_eq!(row.edge.callee, Callee::Service(taken));
    });
}

#[test]
fn a_time_that_an_application_made_up_separates_no_two_sides() {
    each(|backend, options| {
        let store = open(backend, options);
        // Between the two by its start, and long after them by its end.
        let (start, end) = (WallTime(span(2).start.0 + 1), WallTime(BEGIN + 1_000_000 * SECOND));
        let (id, protocol) = (SpanId(77), REPORTED.into());
        let exchange = Exchange::unseen(id);
        let reported = Span { id, protocol, start, end, exchange, ..span(9) };
        store
            .write(&Batch { spans: vec![span(2), reported, span(3)], ..Batch::default() })
            .unwrap();
        let edges = store.rollups(Window::ALL, Step::Whole, None).unwrap().edges;
        let is_joined = |row: &&EdgeRollup| {
            row.edge.caller.is_some() && matches!(row.edge.callee, Callee::Service(_))
        };
        assert_eq!(edges.iter().filter(is_joined).count(), 1, "{edges:?}");
    });
}
