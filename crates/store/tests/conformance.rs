//! What every backend of the table promises; see the contract at `Store`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{collections::BTreeMap, sync::Arc};

use deeptrace_model::{Duration, Gap, GapCause, Span, SpanId, SpanKind, SpanStatus, WallTime};
use deeptrace_store::{
    Backend, Batch, Callee, Cursor, EdgeKey, Expected, Fault, Filter, LinkKey, LinkLookup, Mode,
    OperationKey, Options, Page, Removal, Rollups, SpanKey, SpanLookup, Step, Store, StoreError,
    TABLE, Tally, Window,
};

#[path = "conformance/documents.rs"]
mod documents;
mod place;
#[path = "conformance/removal.rs"]
mod removal;
#[path = "conformance/rollups.rs"]
mod rollups;
mod sample;
use place::Place;
use sample::{BEGIN, MILLI, SECOND, link, span};

/// Hands over each backend with options for a fresh store.
fn each(check: impl Fn(&Backend, &Options)) {
    for backend in TABLE {
        if let Some(place) = Place::of(backend) {
            check(backend, &place.options);
        }
    }
}

fn open(backend: &Backend, options: &Options) -> Arc<dyn Store> {
    (backend.open)(options, Mode::Write).unwrap()
}

fn spans(range: std::ops::Range<u64>) -> Batch {
    Batch { spans: range.map(span).collect(), ..Batch::default() }
}

fn look(store: &dyn Store, key: SpanKey) -> Vec<Span> {
    let lookup = SpanLookup { key, window: Window::ALL };
    let found = store.spans(&[lookup], 100).unwrap();
    found.into_iter().map(Arc::unwrap_or_clone).collect()
}

#[test]
fn spans_are_found_by_each_key_as_they_were_written() {
    each(|backend, options| {
        let store = open(backend, options);
        // Several stored batches, and one that is small.
        store.write(&spans(0..5000)).unwrap();
        store.write(&spans(5000..5010)).unwrap();
        for n in [0, 1, 100, 101, 200, 2047, 2048, 4999, 5000, 5009] {
            let expected = span(n);
            assert_eq!(look(&*store, SpanKey::Id(expected.id)), std::slice::from_ref(&expected));
            let pair = [span(n & !1), span(n | 1)];
            let request = SpanKey::Request(expected.exchange.request_key());
            assert_eq!(look(&*store, request), pair);
            if let Some(key) = expected.exchange.key() {
                assert_eq!(look(&*store, SpanKey::Exchange(key)), pair);
            }
            if let Some(context) = expected.trace_context {
                assert_eq!(look(&*store, SpanKey::Application(context.trace)), pair);
            }
        }
        assert_eq!(look(&*store, SpanKey::Id(SpanId(12345))), []);
        assert_eq!(store.spans(&[], 100).unwrap(), []);
    });
}

#[test]
fn a_lookup_keeps_to_its_window_and_its_limit() {
    each(|backend, options| {
        let store = open(backend, options);
        store.write(&spans(0..3000)).unwrap();
        let one = span(1500);
        let key = SpanKey::Id(one.id);
        let at = |from: u64, to: u64| Window { from: WallTime(from), to: WallTime(to) };
        let (start, end) = (one.start.0, one.end.0);
        for (window, expected) in [
            (at(start, start), 1),
            (at(end, end), 1),
            (at(start - 10, end + 10), 1),
            (at(0, start - 1), 0),
            (at(end + 1, u64::MAX), 0),
        ] {
            let found = store.spans(&[SpanLookup { key, window }], 9).unwrap();
            assert_eq!(found.len(), expected, "{window:?} of {start}..{end}");
        }
        let all: Vec<SpanLookup> = (0..100)
            .rev()
            .map(|n| SpanLookup { key: SpanKey::Id(span(n).id), window: Window::ALL })
            .collect();
        let found = store.spans(&all, 30).unwrap();
        let expected: Vec<Arc<Span>> = (0..30).map(|n| Arc::new(span(n))).collect();
        assert_eq!(found, expected);
    });
}

#[test]
fn links_are_found_by_child_and_by_parent() {
    each(|backend, options| {
        let store = open(backend, options);
        let links: Vec<_> = (1..5000).filter(|n| n % 2 == 0).map(link).collect();
        store.write(&Batch { links: links.clone(), ..Batch::default() }).unwrap();
        let later = deeptrace_model::Link { generation: 1, parent: None, ..link(2000) };
        store.write(&Batch { links: vec![later.clone()], ..Batch::default() }).unwrap();
        store.write(&Batch { links: vec![link(2000)], ..Batch::default() }).unwrap();
        let look = |key, window| store.links(&[LinkLookup { key, window }], 100).unwrap();
        let child = LinkKey::Child(span(2000).id);
        // All decisions, equal ones once.
        assert_eq!(look(child, Window::ALL), [later, link(2000)]);
        assert_eq!(look(LinkKey::Parent(span(1999).id), Window::ALL), [link(2000)]);
        let before = Window { from: WallTime(0), to: WallTime(link(2000).child_start.0 - 1) };
        assert_eq!(look(child, before), []);
        assert_eq!(look(LinkKey::Child(span(1999).id), Window::ALL), []);
    });
}

/// All pages of a scan, one after the other.
fn pages(store: &dyn Store, filter: &Filter, limit: usize) -> Vec<Span> {
    let (mut all, mut after): (Vec<Span>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let Page { spans, next } = store.scan(filter, after, limit).unwrap();
        assert!(spans.len() <= limit);
        all.extend(spans.into_iter().map(Arc::unwrap_or_clone));
        after = next;
        if after.is_none() {
            return all;
        }
    }
}

#[test]
fn a_scan_is_newest_first_and_filters_like_the_filter() {
    each(|backend, options| {
        let store = open(backend, options);
        // Batches that overlap in time, and one out of order.
        let mixed = |part: u64| Batch {
            spans: (0..6000).filter(|n| n % 3 == part).map(span).collect(),
            ..Batch::default()
        };
        [2, 0, 1].iter().for_each(|part| store.write(&mixed(*part)).unwrap());
        let all = Filter::default();
        let window =
            Window { from: WallTime(BEGIN + 700 * MILLI), to: WallTime(BEGIN + 1400 * MILLI) };
        let filters = [
            all.clone(),
            Filter::in_window(window),
            Filter { service: Some("users".into()), ..all.clone() },
            Filter { service: Some("nobody".into()), ..all.clone() },
            Filter { name: Some("GET /users/{id}/cart".into()), ..all.clone() },
            Filter { kind: Some(SpanKind::Server), ..all.clone() },
            Filter { min_duration: Some(Duration(15 * MILLI)), ..all.clone() },
            Filter { max_duration: Some(Duration(2 * MILLI)), ..all.clone() },
            Filter { errors_only: true, ..Filter::in_window(window) },
        ];
        for filter in &filters {
            let mut expected: Vec<Span> =
                (0..6000).map(span).filter(|it| filter.matches(it)).collect();
            expected.sort_by_key(|it| std::cmp::Reverse((it.start, it.id)));
            assert_eq!(pages(&*store, filter, 997), expected, "{filter:?}");
        }
        assert_eq!(pages(&*store, &filters[1], 1).len(), 701);
    });
}

#[test]
fn a_span_that_comes_twice_is_answered_once_merged_or_not() {
    each(|backend, options| {
        let store = open(backend, options);
        for _ in 0..2 {
            for n in 0..40 {
                store.write(&spans(n * 5..n * 5 + 5)).unwrap();
            }
        }
        let check = || {
            let one = span(77);
            assert_eq!(look(&*store, SpanKey::Id(one.id)), std::slice::from_ref(&one));
            assert_eq!(pages(&*store, &Filter::default(), 1000).len(), 200);
            assert_eq!(pages(&*store, &Filter::default(), 7).len(), 200);
        };
        check();
        let now = WallTime(BEGIN + SECOND);
        let mut merged = 0;
        loop {
            let done = store.maintain(now).unwrap();
            merged += done.merged;
            check();
            if !done.more {
                break;
            }
        }
        // The others keep no batches.
        assert!(merged >= 64 || backend.name != "embedded", "{merged} batches merged");
        assert_eq!(store.maintain(now).unwrap(), Default::default());
    });
}

#[test]
fn gaps_counts_and_the_heartbeat_survive_opening_again() {
    each(|backend, options| {
        let gap = |from: u64, to| Gap {
            from: WallTime(BEGIN + from),
            to: WallTime(BEGIN + to),
            cause: GapCause::RingFull,
            events: from,
            bytes: 0,
        };
        let store = open(backend, options);
        assert_eq!(store.last_alive().unwrap(), None);
        let mut batch = spans(0..2500);
        batch.links = vec![link(2)];
        batch.gaps = vec![gap(500, 600), gap(100, 200), gap(150, 900)];
        store.write(&batch).unwrap();
        store.heartbeat(WallTime(BEGIN)).unwrap();
        store.heartbeat(WallTime(BEGIN + 5)).unwrap();
        drop(store);

        let store = open(backend, options);
        assert_eq!(store.last_alive().unwrap(), Some(WallTime(BEGIN + 5)));
        let at = |from, to| Window { from: WallTime(BEGIN + from), to: WallTime(BEGIN + to) };
        assert_eq!(store.gaps(at(0, 120), 9).unwrap(), [gap(100, 200)]);
        let all = [gap(100, 200), gap(150, 900), gap(500, 600)];
        assert_eq!(store.gaps(at(200, 500), 9).unwrap(), all);
        assert_eq!(store.gaps(at(200, 500), 2).unwrap(), all[..2]);
        assert_eq!(store.gaps(at(901, 999), 9).unwrap(), []);

        let stats = store.stats().unwrap();
        assert_eq!((stats.spans, stats.links, stats.gaps), (2500, 1, 3));
        assert_eq!(stats.oldest, Some(WallTime(BEGIN)));
        assert!(stats.newest >= Some(span(2499).end) && stats.bytes > 10_000);
        let operations = store.operations(Window::ALL, None).unwrap();
        assert_eq!(operations.iter().map(|it| it.spans).sum::<u64>(), 2500);
        let errors =
            (0..2500).map(span).filter(|it| it.status == deeptrace_model::SpanStatus::Error);
        assert_eq!(operations.iter().map(|it| it.errors).sum::<u64>(), errors.count() as u64);
        let users = store.operations(Window::ALL, Some("users")).unwrap();
        assert_eq!(users.iter().map(|it| it.spans).sum::<u64>(), 500);
        assert!(
            users.iter().all(|it| it.service == "users") && users.is_sorted_by_key(|it| &it.name)
        );
    });
}

/// Spans of half a day each: as batches are kept, and as indices of days are.
fn half_day(number: u64) -> Batch {
    const HALF_DAY: u64 = 12 * 3600 * SECOND;
    let mut batch = spans(number * 500..number * 500 + 500);
    for span in &mut batch.spans {
        span.start.0 += number * HALF_DAY;
        span.end.0 += number * HALF_DAY;
    }
    batch
}

fn settle(store: &dyn Store, now: WallTime) -> deeptrace_store::Maintained {
    let mut sum = deeptrace_store::Maintained::default();
    loop {
        let done = store.maintain(now).unwrap();
        sum.expired += done.expired;
        sum.evicted += done.evicted;
        if !done.more {
            return sum;
        }
    }
}

fn counter(store: &dyn Store, wanted: &str) -> u64 {
    let mut found = None;
    store.counters(&mut |name, value| found = found.or((name == wanted).then_some(value)));
    found.unwrap()
}

#[test]
fn the_oldest_go_first_by_age_and_by_size() {
    each(|backend, options| {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let retention = Duration(10 * DAY.0);
        let options = Options { retention, max_bytes: u64::MAX, ..options.clone() };
        let store = open(backend, &options);
        (0..40).for_each(|number| store.write(&half_day(number)).unwrap());
        let now = WallTime(BEGIN).plus(Duration(12 * DAY.0));
        let aged = settle(&*store, now);
        // All of the first two days, or as much of them as are whole days of the calendar.
        assert!((1500..=2000).contains(&aged.expired) && aged.evicted == 0, "{aged:?}");
        assert_eq!(counter(&*store, "store_spans_expired_total"), aged.expired);
        let full = store.stats().unwrap();
        assert_eq!(full.spans, 20_000 - aged.expired);
        drop(store);

        let max_bytes = full.bytes / 2;
        let options = Options { max_bytes, ..options };
        let store = open(backend, &options);
        let done = settle(&*store, now);
        assert!(done.evicted > 0 && done.expired == 0, "{done:?} of {full:?}");
        assert_eq!(counter(&*store, "store_spans_evicted_total"), done.evicted);
        let left = store.stats().unwrap();
        assert!(left.bytes <= max_bytes, "{left:?} of {full:?}");
        assert_eq!(left.spans, full.spans - done.evicted);
        // The latest are there, in one piece.
        let kept = pages(&*store, &Filter::default(), 1000);
        assert_eq!(kept.len() as u64, left.spans);
        assert_eq!(kept.first().map(|it| it.id), Some(span(19_999).id));
    });
}

/// Looks for spans where they are.
#[test]
fn one_writer_or_many_and_many_readers() {
    each(|backend, options| {
        let absent = (backend.open)(options, Mode::Read).err().unwrap();
        assert!(matches!(absent, StoreError::Absent { .. }), "{absent}");
        let store = open(backend, options);
        let second = (backend.open)(options, Mode::Write);
        if backend.is_shared {
            let second = second.unwrap();
            second.put_document("user/a", Some(b"x"), Expected::Absent).unwrap().unwrap();
            assert_eq!(store.put_document("user/a", Some(b"y"), Expected::Absent).unwrap(), None);
            assert_eq!(store.documents("user/", None, 9).unwrap().len(), 1);
        } else {
            let error = second.err().unwrap();
            let text = error.to_string();
            assert!(text.contains(&format!("in use by process {}", std::process::id())), "{text}");
            assert_eq!((error.fault(), error.retry()), (Fault::Caller, true));
        }

        let reader = (backend.open)(options, Mode::Read).unwrap();
        assert!(matches!(reader.write(&spans(0..1)), Err(StoreError::ReadOnly)));
        for n in 0..20 {
            store.write(&spans(n..n + 1)).unwrap();
            store.maintain(WallTime(BEGIN)).unwrap();
            assert_eq!(reader.stats().unwrap().spans, n + 1);
            assert_eq!(look(&*reader, SpanKey::Id(span(n).id)), [span(n)]);
        }
        drop(store);
        assert_eq!(pages(&*reader, &Filter::default(), 50).len(), 20);
        drop(reader);
        let alone = (backend.open)(options, Mode::Read).unwrap();
        assert_eq!(pages(&*alone, &Filter::default(), 50).len(), 20);
        open(backend, options);
    });
}

#[test]
fn threads_write_and_read_at_once() {
    each(|backend, options| {
        let store = open(backend, options);
        std::thread::scope(|scope| {
            for part in 0..4 {
                let store = &*store;
                scope.spawn(move || {
                    for n in 0..25 {
                        let from = part * 1000 + n * 10;
                        store.write(&spans(from..from + 10)).unwrap();
                        let last = span(from + 9);
                        assert_eq!(look(store, SpanKey::Id(last.id)), [last]);
                        store.maintain(WallTime(BEGIN)).unwrap();
                    }
                });
            }
        });
        assert_eq!(pages(&*store, &Filter::default(), 333).len(), 1000);
    });
}

#[test]
fn an_unknown_backend_is_named_with_those_that_are() {
    let error = deeptrace_store::open("tape", &Options::new("/nowhere"), Mode::Read).err().unwrap();
    assert!(error.to_string().contains("`tape`") && error.to_string().contains("embedded"));
}
