//! What is removed, and what a backup gives back.

use super::*;

fn by_id(numbers: impl Iterator<Item = u64>) -> Vec<SpanLookup> {
    let around = |span: Span| Window::around(&span, Duration(MILLI));
    numbers.map(|n| SpanLookup { key: SpanKey::Id(span(n).id), window: around(span(n)) }).collect()
}

/// Links of clients to the servers before them, both among the first `len` spans.
fn shop(len: u64) -> Batch {
    let links = (2..len).filter(|n| n % 2 == 0).map(link).collect();
    Batch { links, ..spans(0..len) }
}

fn links_of(store: &dyn Store, len: u64) -> Vec<deeptrace_model::Link> {
    let key = |n| LinkLookup { key: LinkKey::Child(span(n).id), window: Window::ALL };
    store.links(&(0..len).map(key).collect::<Vec<_>>(), usize::MAX).unwrap()
}

#[test]
fn spans_are_removed_with_their_links_and_nothing_else() {
    each(|backend, options| {
        let store = open(backend, options);
        store.write(&shop(6000)).unwrap();
        // One that is there twice, and one that is looked for where it is not.
        store.write(&spans(105..106)).unwrap();
        let goes = |n: &u64| n.is_multiple_of(7);
        let mut lookups = by_id((0..6000).filter(goes));
        let nowhere = Window { from: WallTime(0), to: WallTime(1) };
        lookups.push(SpanLookup { key: SpanKey::Id(span(1).id), window: nowhere });
        lookups.push(SpanLookup { key: SpanKey::Id(SpanId(7)), window: Window::ALL });
        // Answers are cached by then.
        assert_eq!(pages(&*store, &Filter::default(), 1000).len(), 6000);
        let removed = store.remove(Removal::Spans(&lookups)).unwrap();
        let gone = (0..6000).filter(goes).count() as u64;
        assert!((gone..=gone + 1).contains(&removed.spans), "{removed:?} of {gone}");
        assert_eq!((removed.gaps, removed.unreadable), (0, 0));

        let mut left: Vec<Span> = (0..6000).filter(|n| !goes(n)).map(span).collect();
        left.reverse();
        assert_eq!(pages(&*store, &Filter::default(), 1000), left);
        assert_eq!(store.spans(&by_id((0..6000).filter(goes)), 9).unwrap(), []);
        let links: Vec<_> =
            (2..6000).filter(|n| n % 2 == 0 && !goes(n) && !goes(&(n - 1))).map(link).collect();
        assert_eq!(links_of(&*store, 6000), links);
        let counted = store.operations(Window::ALL, None).unwrap();
        assert_eq!(counted.iter().map(|it| it.spans).sum::<u64>(), left.len() as u64);
        assert_eq!(store.stats().unwrap().spans, left.len() as u64);

        let again = store.remove(Removal::Spans(&lookups)).unwrap();
        assert_eq!(again, Default::default());
        store.purge().unwrap();
        assert_eq!(pages(&*store, &Filter::default(), 1000), left);
        drop(store);
        let store = open(backend, options);
        assert_eq!(pages(&*store, &Filter::default(), 1000), left);
        // Its id is free again.
        store.write(&spans(7..8)).unwrap();
        assert_eq!(look(&*store, SpanKey::Id(span(7).id)), [span(7)]);
    });
}

#[test]
fn more_than_one_piece_is_removed() {
    each(|backend, options| {
        let store = open(backend, options);
        let gap = |n: u64| Gap {
            from: WallTime(BEGIN + n * MILLI),
            to: WallTime(BEGIN + n * MILLI + 1),
            cause: GapCause::RingFull,
            events: n,
            bytes: 0,
        };
        for from in [0, 10_000, 20_000] {
            let gaps = (from..from + 10_000).map(gap).collect();
            store.write(&Batch { gaps, ..Batch::default() }).unwrap();
        }
        let limit = WallTime(BEGIN + 29_999 * MILLI);
        assert_eq!(store.remove(Removal::Before(limit)).unwrap().gaps, 29_999);
        assert_eq!(store.gaps(Window::ALL, 10).unwrap(), [gap(29_999)]);
    });
}

#[test]
fn removal_by_time_is_exact() {
    each(|backend, options| {
        let store = open(backend, options);
        let gap = |from: u64, to| Gap {
            from: WallTime(BEGIN + from * MILLI),
            to: WallTime(BEGIN + to * MILLI),
            cause: GapCause::RingFull,
            events: 1,
            bytes: 0,
        };
        let mut batch = shop(5000);
        batch.gaps = vec![gap(0, 10), gap(2000, 4000)];
        store.write(&batch).unwrap();
        let limit = WallTime(BEGIN + 2500 * MILLI);
        let removed = store.remove(Removal::Before(limit)).unwrap();
        let stays = |n: &u64| span(*n).end >= limit;
        let left: Vec<Span> = (0..5000).rev().filter(stays).map(span).collect();
        assert!(left.iter().any(|it| it.start < limit), "none lies across the limit");
        assert_eq!(pages(&*store, &Filter::default(), 1000), left);
        assert_eq!((removed.spans, removed.gaps), (5000 - left.len() as u64, 1));
        let links: Vec<_> = (2..5000).filter(|n| n % 2 == 0 && stays(n)).map(link).collect();
        assert_eq!(links_of(&*store, 5000), links);
        assert_eq!(store.gaps(Window::ALL, 9).unwrap(), [gap(2000, 4000)]);
        assert_eq!(store.remove(Removal::Before(limit)).unwrap(), Default::default());
    });
}

#[test]
fn a_backup_made_while_others_write_gives_the_same_answers() {
    each(|backend, options| {
        let folder = tempfile::tempdir().unwrap();
        let store = open(backend, options);
        store.write(&shop(6000)).unwrap();
        store.put_document("lease/backup", Some(b"us"), Expected::Any).unwrap();
        let (mut last, stop) = (0.0, std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for n in 6000.. {
                    store.write(&spans(n..n + 1)).unwrap();
                    store.maintain(WallTime(BEGIN)).unwrap();
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                }
            });
            let mut progress = |share: f32| {
                assert!((last..=1.0).contains(&share), "{share} after {last}");
                last = share;
            };
            store.backup(folder.path(), &mut progress).unwrap();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            writer.join().unwrap();
        });
        // Somewhere else, for a folder and for indices.
        let beside = |name: &str| {
            let mut beside =
                Options { folder: options.folder.with_file_name(name), ..options.clone() };
            beside.elasticsearch.index_prefix += &format!("-{name}");
            beside
        };
        let copy = beside("copy");
        (backend.restore)(&copy, folder.path()).unwrap();
        let copied = (backend.open)(&copy, Mode::Write).unwrap();
        assert_eq!(copied.spans(&by_id(0..6000), usize::MAX).unwrap().len(), 6000);
        assert_eq!(links_of(&*copied, 6000), shop(6000).links);
        assert_eq!(copied.document("lease/backup").unwrap().unwrap().body, b"us");
        // Whatever came after the first page is whole: each was written alone.
        let more = copied.stats().unwrap().spans - 6000;
        assert_eq!(copied.spans(&by_id(6000..6000 + more), usize::MAX).unwrap().len() as u64, more);
        copied.write(&spans(9_000_000..9_000_001)).unwrap();

        let occupied = (backend.restore)(&copy, folder.path()).unwrap_err();
        assert_eq!(occupied.fault(), Fault::Caller, "{occupied}");
        let empty = tempfile::tempdir().unwrap();
        let refused = (backend.restore)(&beside("other"), empty.path()).unwrap_err();
        assert!(matches!(refused, StoreError::NoBackup { .. }), "{refused}");
    });
}
