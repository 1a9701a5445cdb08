//! What only the backend for Elasticsearch and OpenSearch promises: versions, a full disk, nodes that are
//! away, answers that are lost, a server that is killed.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use deeptrace_store::{
    Backend, Batch, Fault, LinkKey, LinkLookup, Mode, Options, SpanKey, SpanLookup, Store,
    StoreError, TABLE, Window,
};

mod place;
mod sample;
use place::{Place, ask};
use sample::{link, span};

/// When this file is there, the writer of the test with the killed server ends.
const UNTIL: &str = "DEEPTRACE_TEST_ELASTICSEARCH_UNTIL";

/// Fresh indices, where a server is given.
fn fresh() -> Option<Place> {
    Place::of(backend())
}

fn backend() -> &'static Backend {
    TABLE.iter().find(|backend| backend.name == "elasticsearch").unwrap()
}

fn open(options: &Options, mode: Mode) -> Result<Arc<dyn Store>, StoreError> {
    (backend().open)(options, mode)
}

fn batch(from: u64, len: u64) -> Batch {
    let range = from..from + len;
    Batch {
        spans: range.clone().map(span).collect(),
        links: range.filter(|n| n % 2 == 0).map(link).collect(),
        ..Batch::default()
    }
}

/// Fails unless the first `len` spans and their links are there, each once.
fn check(store: &dyn Store, len: u64) {
    let key = |n| SpanLookup { key: SpanKey::Id(span(n).id), window: Window::ALL };
    let spans = store.spans(&(0..len).map(key).collect::<Vec<_>>(), usize::MAX).unwrap();
    assert!(spans.iter().map(|span| &**span).eq(&(0..len).map(span).collect::<Vec<_>>()));
    let key = |n| LinkLookup { key: LinkKey::Child(span(n).id), window: Window::ALL };
    let links = store.links(&(0..len).map(key).collect::<Vec<_>>(), usize::MAX).unwrap();
    assert_eq!(links, batch(0, len).links);
}

fn counter(store: &dyn Store, wanted: &str) -> u64 {
    let mut found = None;
    store.counters(&mut |name, value| found = found.or((name == wanted).then_some(value)));
    found.unwrap()
}

#[test]
fn newer_and_foreign_indices_are_refused() {
    let Some(place) = fresh() else { return };
    let server = &place.options.elasticsearch;
    drop(open(&place.options, Mode::Write).unwrap());
    let catalogue = format!("/{}-catalogue", server.index_prefix);
    for (schema, is_newer) in [(2, true), (0, false)] {
        let meta = format!("{{\"_meta\":{{\"deeptrace_schema\":{schema}}}}}");
        ask(server, "PUT", &format!("{catalogue}/_mapping"), &meta);
        for mode in [Mode::Write, Mode::Read] {
            let error = open(&place.options, mode).err().unwrap();
            match &error {
                StoreError::Newer { found: 2, supported: 1, .. } => assert!(is_newer, "{error}"),
                StoreError::Foreign { .. } => assert!(!is_newer, "{error}"),
                _ => panic!("{error}"),
            }
            assert_eq!((error.fault(), error.retry()), (Fault::Caller, false));
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_writing_goes_on_when_there_is_space() {
    let Some(place) = fresh() else { return };
    let store = open(&place.options, Mode::Write).unwrap();
    store.write(&batch(0, 10)).unwrap();
    // What servers do by themselves beyond the "flood stage" of their disks.
    let set = |value: &str| {
        let body = format!("{{\"index.blocks.read_only_allow_delete\":{value}}}");
        let path = format!("/{}-*/_settings", place.options.elasticsearch.index_prefix);
        ask(&place.options.elasticsearch, "PUT", &path, &body);
    };
    set("true");
    let error = store.write(&batch(10, 10)).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!((error.fault(), error.retry()), (Fault::Host, true));
    check(&*store, 10);
    set("null");
    store.write(&batch(10, 10)).unwrap();
    check(&*store, 20);
}

#[test]
fn a_node_that_is_away_is_passed_over() {
    let Some(place) = fresh() else { return };
    let mut options = place.options.clone();
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scheme = options.elasticsearch.hosts[0].split("://").next().unwrap();
    let away = format!("{scheme}://{away}");
    options.elasticsearch.hosts.insert(0, away.clone());
    let store = open(&options, Mode::Write).unwrap();
    store.write(&batch(0, 100)).unwrap();
    check(&*store, 100);
    assert!(counter(&*store, "store_nodes_down_total") > 0);

    options.elasticsearch.hosts = vec![away.clone()];
    let error = open(&options, Mode::Write).err().unwrap();
    assert!(matches!(error, StoreError::Unreachable { .. }) && error.to_string().contains(&away));
    assert_eq!((error.fault(), error.retry()), (Fault::Host, true));
}

#[test]
fn who_may_not_is_told_so() {
    let Some(place) = fresh() else { return };
    let mut options = place.options.clone();
    if options.elasticsearch.username.is_empty() && options.elasticsearch.api_key.is_empty() {
        // Nobody is refused there.
        return;
    }
    options.elasticsearch.password = "wrong".to_owned();
    options.elasticsearch.api_key = options.elasticsearch.api_key.replace(|_| true, "x");
    let error = open(&options, Mode::Write).err().unwrap();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert_eq!((error.fault(), error.retry()), (Fault::Caller, false));
}

/// Hands on what comes to `to`, and cuts each connection after some answers, so that one of each kind is
/// lost sooner or later.
fn cutting(to: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let to = to.to_owned();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
            let server = TcpStream::connect(&to).unwrap();
            let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut into));
            let (mut client, mut server) = (client, server);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                for _ in 0..2 + number % 5 {
                    let len = server.read(&mut buffer).unwrap_or_default();
                    if client.write_all(&buffer[..len]).is_err() {
                        break;
                    }
                }
                // The next has been done by then, and nobody is told.
                let _ = server.read(&mut buffer);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address
}

#[test]
fn what_is_sent_again_because_its_answer_was_lost_is_there_once() {
    let Some(place) = fresh() else { return };
    let mut options = place.options.clone();
    let Some(server) = options.elasticsearch.hosts[0].strip_prefix("http://") else {
        // The relay does not speak TLS; without it the same is tested.
        return;
    };
    options.elasticsearch.hosts = vec![cutting(server)];
    let store = open(&options, Mode::Write).unwrap();
    for n in 0..20 {
        store.write(&batch(n * 50, 50)).unwrap();
    }
    assert!(counter(&*store, "store_records_present_total") > 0, "no answer was lost");
    let direct = open(&place.options, Mode::Read).unwrap();
    check(&*direct, 1000);
    assert_eq!(direct.stats().unwrap().spans, 1000);
}

/// Started by `./x test --only stores`, which kills the server meanwhile, again and again.
#[test]
fn what_was_acknowledged_survives_the_end_of_the_server() {
    let Ok(until) = std::env::var(UNTIL) else { return };
    let Some(place) = fresh() else { return };
    let store = open(&place.options, Mode::Write).unwrap();
    std::fs::write(format!("{until}-begun"), "").unwrap();
    let (mut written, mut refused) = (0, 0);
    let patience = Instant::now() + Duration::from_secs(600);
    while !Path::new(&until).exists() {
        match store.write(&batch(written * 100, 100)) {
            Ok(()) => written += 1,
            Err(error) => {
                assert!(error.retry(), "{error}");
                refused += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        assert!(Instant::now() < patience, "{} was not made", until);
    }
    store.write(&batch(written * 100, 100)).unwrap();
    let len = (written + 1) * 100;
    check(&*store, len);
    assert_eq!(store.stats().unwrap().spans, len);
    // The harness keeps what `println!` prints.
    writeln!(std::io::stdout(), "{len} spans acknowledged, {refused} writes refused").unwrap();
}
