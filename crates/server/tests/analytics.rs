//! What `/analytics/…` answers, held to the spans themselves.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../store/tests/sample/mod.rs"]
mod sample;

use std::collections::BTreeMap;
use std::sync::Arc;

use deeptrace_model::{Span, SpanKind, SpanStatus, WallTime};
use deeptrace_query::Limits;
use deeptrace_server::analytics::{
    CriticalPathQuery, ErrorsQuery, LatencyQuery, Query, critical_path, errors, latency, topology,
};
use deeptrace_store::{Batch, Mode, Options, Store};
use sample::{BEGIN, SECOND, link, span};

const SPANS: u64 = 20_000;

struct Filled {
    store: Arc<dyn Store>,
    spans: Vec<Span>,
    _folder: tempfile::TempDir,
}

/// Twenty seconds of the sample shop, in batches as they are written.
fn filled() -> Filled {
    let folder = tempfile::tempdir().unwrap();
    let store =
        deeptrace_store::open("embedded", &Options::new(folder.path()), Mode::Write).unwrap();
    let spans: Vec<Span> =
        (0..SPANS).map(span).map(|span| Span { trace_context: None, ..span }).collect();
    for (index, some) in spans.chunks(4_000).enumerate() {
        let first = index as u64 * 4_000;
        let links =
            (first..first + some.len() as u64).filter(|n| n % 2 == 0 && n % 8 > 0).map(link);
        let batch = Batch { spans: some.to_vec(), links: links.collect(), gaps: Vec::new() };
        store.write(&batch).unwrap();
    }
    Filled { store, spans, _folder: folder }
}

/// A minute later, so that the last hour holds all.
fn now() -> WallTime {
    WallTime(BEGIN + 60 * SECOND)
}

#[test]
fn the_service_map_counts_every_request_and_call() {
    let filled = filled();
    let found = topology(&*filled.store, &Query::default(), now()).unwrap();
    assert!(!found.is_cut);
    for service in &found.services {
        let of = |kind| {
            filled.spans.iter().filter(move |it| it.service == service.name && it.kind == kind)
        };
        assert_eq!(service.served.span_count, of(SpanKind::Server).count() as u64);
        assert_eq!(service.called.span_count, of(SpanKind::Client).count() as u64);
        let errors = of(SpanKind::Server).filter(|it| it.status == SpanStatus::Error).count();
        assert_eq!(service.served.error_count, errors as u64);
        let mut durations: Vec<u64> =
            of(SpanKind::Server).map(|it| it.end.since(it.start).0).collect();
        durations.sort_unstable();
        let exact = durations[durations.len() * 95 / 100] as f64;
        let told = service.served.p95_ns.unwrap() as f64;
        assert!((told / exact - 1.0).abs() < 0.02, "{told} {exact}");
    }
    assert_eq!(found.services.len(), 5);
    // Both sides of a call are spans 2n and 2n + 1.
    let mut calls: BTreeMap<(String, String), u64> = BTreeMap::new();
    for pair in filled.spans.chunks(2) {
        *calls.entry((pair[0].service.to_string(), pair[1].service.to_string())).or_default() += 1;
    }
    let told: BTreeMap<(String, String), u64> = (found.edges.iter())
        .filter_map(|edge| {
            Some(((edge.client.clone()?, edge.server.clone()), edge.calls.span_count))
        })
        .filter(|((client, server), _)| calls.contains_key(&(client.clone(), server.clone())))
        .collect();
    let answered = |n: u64| n - n / 100;
    for (edge, count) in &calls {
        // Every hundredth was not answered; its two sides may be told apart.
        assert!(told[edge] >= answered(*count) - 10 && told[edge] <= *count, "{edge:?} {told:?}");
    }
}

#[test]
fn latencies_go_by_service_or_by_operation() {
    let filled = filled();
    let by_service = latency(&*filled.store, &LatencyQuery::default(), now()).unwrap();
    assert_eq!(by_service.series.len(), 5);
    assert_eq!(by_service.step_ns, 60 * SECOND);
    let servers = filled.spans.iter().filter(|it| it.kind == SpanKind::Server).count() as u64;
    assert_eq!(by_service.series.iter().map(|it| it.whole.span_count).sum::<u64>(), servers);
    for series in &by_service.series {
        assert_eq!(series.operation, None);
        let points: u64 = series.points.iter().map(|it| it.sums.span_count).sum();
        assert_eq!(points, series.whole.span_count);
    }
    let query = LatencyQuery { service: "cart".into(), limit: Some(2), ..Default::default() };
    let by_operation = latency(&*filled.store, &query, now()).unwrap();
    assert_eq!((by_operation.series.len(), by_operation.is_cut), (2, true));
    assert!(by_operation.series.iter().all(|it| it.service == "cart" && it.operation.is_some()));
    let bad = LatencyQuery { step: "fortnight".into(), ..Default::default() };
    assert!(latency(&*filled.store, &bad, now()).is_err());
}

#[test]
fn errors_are_grouped_by_what_they_have_in_common() {
    let filled = filled();
    let found = errors(&*filled.store, &ErrorsQuery::default(), now()).unwrap();
    let count = filled.spans.iter().filter(|it| it.status == SpanStatus::Error).count();
    assert_eq!((found.error_count, found.sampled), (count as u64, count));
    assert_eq!(found.groups.iter().map(|it| it.count).sum::<u64>(), count as u64);
    // Five services, three names, two kinds.
    assert_eq!(found.groups.len(), 30);
    assert!(!found.is_cut);
    assert!(
        found.groups.iter().all(|it| it.message.as_deref() == Some("{n} Internal Server Error"))
    );
    let query = ErrorsQuery { service: "cart".into(), limit: Some(1), ..Default::default() };
    let one = errors(&*filled.store, &query, now()).unwrap();
    assert_eq!((one.groups.len(), one.is_cut), (1, true));
    assert_eq!(one.groups[0].service, "cart");
}

#[test]
fn paths_are_of_the_newest_traces_and_say_of_how_many() {
    let filled = filled();
    let query = CriticalPathQuery { limit: Some(50), ..Default::default() };
    let found = critical_path(&*filled.store, &query, Limits::default(), now()).unwrap();
    assert_eq!((found.trace_count, found.is_cut), (50, true));
    let on_path: u64 = found.operations.iter().map(|it| it.critical_ns).sum();
    assert_eq!(on_path, found.total_ns);
    assert!(found.operations.is_sorted_by(|one, next| one.critical_ns >= next.critical_ns));
    let share: f64 = found.operations.iter().map(|it| it.critical_share).sum();
    assert!((share - 1.0).abs() < 1e-9);
}
