//! What `GET /metrics` tells of the spans that were written: counts, bounds, both sides of a call.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "links are not counted")]
#[path = "../../store/tests/sample/mod.rs"]
mod sample;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use deeptrace_http::Exposition;
use deeptrace_model::{Span, SpanKind};
use deeptrace_server::metrics::Metrics;
use deeptrace_store::{Batch, Layer, Mode, Options, SpanLookup, Store, StoreError};

fn add(metrics: &Metrics, spans: Vec<Span>, now: Instant) {
    metrics.add(&Batch { spans, ..Batch::default() }, now);
}

fn text(metrics: &Metrics, now: Instant) -> String {
    let headers = [(ACCEPT, "application/openmetrics-text".parse().unwrap())];
    let mut out = Exposition::accepted_by(&HeaderMap::from_iter(headers));
    metrics.write(&mut out, now);
    out.to_string()
}

/// Samples of a family, by their labels.
fn samples(text: &str, name: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    lines
        .map(|line| {
            let (labels, value) = line.split_once("} ").unwrap();
            let value = value.split(' ').next().unwrap();
            (labels.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn requests_errors_and_durations_are_those_of_the_spans() {
    let (metrics, now) = (Metrics::default(), Instant::now());
    let spans: Vec<Span> = (0..1_000).map(sample::span).collect();
    add(&metrics, spans.clone(), now);
    let text = text(&metrics, now);
    let calls = samples(&text, "traces_span_metrics_calls_total");
    let errors: f64 =
        calls.iter().filter(|(labels, _)| labels.contains("CODE_ERROR")).map(|(_, it)| it).sum();
    let is_error = |span: &&Span| span.status == deeptrace_model::SpanStatus::Error;
    assert_eq!(calls.values().sum::<f64>(), 1_000.0);
    assert_eq!(errors, spans.iter().filter(is_error).count() as f64);
    let of_users = |span: &&Span| {
        span.service == "users"
            && span.name == "GET /users/{id}/cart"
            && span.kind == SpanKind::Server
    };
    let of_users: Vec<&Span> = spans.iter().filter(of_users).collect();
    let labels =
        "service_name=\"users\",span_name=\"GET /users/{id}/cart\",span_kind=\"SPAN_KIND_SERVER\"";
    assert!(of_users.len() > 10);
    for (le, bound) in [("0.0025", 2_500_000), ("0.01", 10_000_000), ("+Inf", u64::MAX)] {
        let below = of_users.iter().filter(|span| span.end.since(span.start).0 <= bound).count();
        let buckets = samples(&text, "traces_span_metrics_duration_seconds_bucket");
        assert_eq!(buckets[&format!("{labels},le=\"{le}\"")], below as f64, "{le}");
    }
    let exemplar = text.lines().find(|line| line.contains(labels) && line.contains("# {trace_id="));
    assert!(exemplar.is_some(), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

/// Edges by `client > server`, with their requests.
fn edges(text: &str) -> BTreeMap<String, f64> {
    let found = samples(text, "traces_service_graph_request_total");
    let label = |labels: &str, name: &str| {
        let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let edge = |labels: &str| format!("{} > {}", label(labels, "client"), label(labels, "server"));
    found.into_iter().map(|(labels, it)| (edge(&labels), it)).collect()
}

#[test]
fn an_edge_joins_both_sides_in_whatever_order_they_come() {
    let now = Instant::now();
    let of = |service: &str, n| Span { service: service.into(), ..sample::span(n) };
    for is_reversed in [false, true] {
        let metrics = Metrics::default();
        let mut spans = vec![of("front", 2), of("back", 3), of("front", 200), of("back", 201)];
        if is_reversed {
            spans.reverse();
        }
        spans.push(spans[0].clone());
        spans.into_iter().for_each(|span| add(&metrics, vec![span], now));
        assert_eq!(edges(&text(&metrics, now)), BTreeMap::from([("front > back".to_owned(), 2.0)]));
    }
}

#[test]
fn a_side_that_stays_alone_is_an_edge_to_what_is_not_watched() {
    let (metrics, now) = (Metrics::default(), Instant::now());
    let of = |service: &str, n| Span { service: service.into(), ..sample::span(n) };
    add(&metrics, vec![of("front", 2), of("back", 5)], now);
    assert_eq!(edges(&text(&metrics, now)), BTreeMap::new());
    let later = now + Duration::from_secs(11);
    let expected = [("front > shop.example".to_owned(), 1.0), ("user > back".to_owned(), 1.0)];
    assert_eq!(edges(&text(&metrics, later)), BTreeMap::from(expected));
}

/// The value of a counter without labels.
fn counter(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap().parse().unwrap()
}

#[test]
fn sides_that_came_to_different_servers_are_one_edge_of_the_client_s_server() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path());
    let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
    let [one, other] = [Metrics::default(), Metrics::default()];
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(11));
    let of = |service: &str, n| Span { service: service.into(), ..sample::span(n) };
    // Two calls whose sides come apart, in both ways; one whose sides come together; one side of a fourth
    // each, whose other nobody has.
    let to_one =
        vec![of("front", 2), of("back", 201), of("front", 20), of("back", 21), of("front", 8)];
    let to_other = vec![of("back", 3), of("front", 200), of("back", 5)];
    for (metrics, spans) in [(&one, to_one), (&other, to_other)] {
        metrics.share();
        let batch = Batch { spans, ..Batch::default() };
        store.write(&batch).unwrap();
        metrics.add(&batch, now);
    }
    for metrics in [&one, &other] {
        assert_eq!(metrics.seek(&*store, now).unwrap(), 0, "they may still come");
        while metrics.seek(&*store, later).unwrap() > 0 {}
    }
    let [one, other] = [text(&one, later), text(&other, later)];
    let edge = |edge: &str, requests| (edge.to_owned(), requests);
    let expected = [edge("front > back", 2.0), edge("front > shop.example", 1.0)];
    assert_eq!(edges(&one), BTreeMap::from(expected));
    let expected = [edge("front > back", 1.0), edge("user > back", 1.0)];
    assert_eq!(edges(&other), BTreeMap::from(expected));
    for text in [one, other] {
        assert_eq!(counter(&text, "deeptrace_service_graph_apart_requests_total"), 1);
        assert_eq!(counter(&text, "deeptrace_service_graph_elsewhere_requests_total"), 1);
        assert_eq!(counter(&text, "deeptrace_service_graph_unasked_spans_total"), 0);
    }
}

#[test]
fn sides_wait_while_the_store_refuses_and_beyond_the_bound_the_longest_waiting_is_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path());
    let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
    let (metrics, now) = (Metrics::default(), Instant::now());
    let later = now + Duration::from_secs(11);
    metrics.share();
    // Clients' sides only; the store has the servers' of all of them.
    let of = |service: &str, n| Span { service: service.into(), ..sample::span(n) };
    let count = 20_000;
    add(&metrics, (0..count).map(|n| of("front", 2 * n)).collect(), now);
    let spans = (0..count).map(|n| of("back", 2 * n + 1)).collect();
    store.write(&Batch { spans, ..Batch::default() }).unwrap();
    assert!(metrics.seek(&Refusing(Arc::clone(&store)), later).is_err());
    while metrics.seek(&*store, later).unwrap() > 0 {}
    let text = text(&metrics, later);
    let shed = counter(&text, "deeptrace_service_graph_unasked_spans_total");
    assert_eq!(shed, count - 16_384);
    let joined = counter(&text, "deeptrace_service_graph_apart_requests_total");
    assert_eq!(joined + shed, count);
    assert_eq!(edges(&text)["front > back"], joined as f64);
}

/// A store that answers no question.
struct Refusing(Arc<dyn Store>);

impl Layer for Refusing {
    fn below(&self) -> &dyn Store {
        &*self.0
    }

    fn spans(&self, _: &[SpanLookup], _: usize) -> Result<Vec<Arc<Span>>, StoreError> {
        Err(StoreError::Busy { place: "here".to_owned(), reason: "it is a test".to_owned() })
    }
}

#[test]
fn series_are_bounded_and_what_has_none_is_counted() {
    let (metrics, now) = (Metrics::default(), Instant::now());
    let spans = (0..40_000).map(|n| Span {
        name: format!("GET /{n}").into(),
        service: format!("service {}", n % 500).into(),
        ..sample::span(n)
    });
    add(&metrics, spans.collect(), now);
    let text = text(&metrics, now + Duration::from_secs(60));
    let calls = samples(&text, "traces_span_metrics_calls_total");
    let operations: std::collections::BTreeSet<&str> =
        calls.keys().map(|labels| labels.split(",status_code").next().unwrap()).collect();
    assert!(operations.len() <= 1_000 + 100 + 10, "{}", operations.len());
    assert_eq!(calls.values().sum::<f64>(), 40_000.0);
    assert_eq!(counter(&text, "deeptrace_metrics_overflow_spans_total"), 39_000);
    assert_eq!(counter(&text, "deeptrace_metrics_operations"), 1_000);
    assert!(counter(&text, "deeptrace_service_graph_edges") <= 1_001);
}
