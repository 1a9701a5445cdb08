//! Lists of traces, page by page, and of services.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use deeptrace_model::{Duration, Link, Span, SpanId, Trace, TraceId, TraceSummary, WallTime};
use deeptrace_query::{Limits, find, search, services, walk};
use deeptrace_store::{Filter, Layer, LinkLookup, SpanLookup, Store, StoreError, Window};

mod shop;
use shop::{BEGIN, stored};

/// `count` traces, 100 ms apart: a front that asks users twice, the second time in vain for
/// every fifth.
fn story(count: u64) -> String {
    let mut story = String::new();
    for n in 0..count {
        let (id, at) = (n * 10 + 1, n * 100);
        let mut line = |text: String| story += &(text + "\n");
        line(format!("{id} S front GET/ {at} {}", at + 90));
        for (k, start) in [(1, at + 10), (3, at + 50)] {
            let (client, server) = (id + k, id + k + 1);
            let failed = if n % 5 == 0 && k == 3 { "error" } else { "" };
            line(format!("{client} C front GET/users {start} {} x={client}", start + 30));
            line(format!("{client} <- {id} 0.9 thread {start}"));
            line(format!(
                "{server} S users GET/users {start}.5 {} x={client} {failed}",
                start + 20
            ));
        }
    }
    story
}

fn pages(store: &dyn Store, filter: &Filter, limit: usize) -> Vec<TraceSummary> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = search(store, filter, after, limit, Limits::default()).unwrap();
        assert!(page.traces.len() <= limit);
        all.extend(page.traces);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

#[test]
fn each_trace_is_listed_once_whatever_the_page() {
    let stored = stored(&story(40));
    let all = pages(&*stored.store, &Filter::default(), 1000);
    let ids: Vec<TraceId> = (0..40).rev().map(|n| TraceId::from_root(SpanId(n * 10 + 1))).collect();
    assert_eq!(all.iter().map(|it| it.id).collect::<Vec<_>>(), ids);
    for limit in [1, 7, 40] {
        assert_eq!(pages(&*stored.store, &Filter::default(), limit), all, "pages of {limit}");
    }
    let first = TraceSummary {
        id: TraceId::from_root(SpanId(1)),
        service: "front".into(),
        name: "GET/".into(),
        start: WallTime(BEGIN),
        duration: Duration::from_millis(90),
        spans: 5,
        errors: 1,
        services: vec![("front".into(), 3), ("users".into(), 2)],
        incomplete: false,
    };
    assert_eq!(all.last(), Some(&first));
}

#[test]
fn filters_choose_by_any_span_of_the_trace() {
    let stored = stored(&story(40));
    let all = Filter::default();
    let count = |filter: Filter| {
        let found = pages(&*stored.store, &filter, 3);
        assert_eq!(found, pages(&*stored.store, &filter, 100), "{filter:?}");
        found.len()
    };
    assert_eq!(count(Filter { errors_only: true, ..all.clone() }), 8);
    assert_eq!(count(Filter { service: Some("users".into()), ..all.clone() }), 40);
    assert_eq!(count(Filter { min_duration: Some(Duration::from_millis(91)), ..all.clone() }), 0);
    let window =
        Window { from: WallTime(BEGIN + 1_000_000_000), to: WallTime(BEGIN + 1_999_999_999) };
    assert_eq!(count(Filter::in_window(window)), 10);
}

/// A store that counts what it is asked for by key.
struct Counting {
    below: Arc<dyn Store>,
    asked: AtomicUsize,
}

impl Layer for Counting {
    fn below(&self) -> &dyn Store {
        &*self.below
    }

    fn look_up(
        &self,
        spans: &[SpanLookup],
        links: &[LinkLookup],
        limit: usize,
    ) -> Result<(Vec<Arc<Span>>, Vec<Link>), StoreError> {
        self.asked.fetch_add(spans.len() + links.len(), Relaxed);
        self.below.look_up(spans, links, limit)
    }
}

#[test]
fn no_more_traces_are_assembled_than_are_shown() {
    let stored = stored(&story(40));
    let asked = |limit| {
        let store = Counting { below: Arc::clone(&stored.store), asked: AtomicUsize::new(0) };
        let page = search(&store, &Filter::default(), None, limit, Limits::default()).unwrap();
        assert_eq!(page.traces.len(), limit);
        store.asked.into_inner()
    };
    let (few, all) = (asked(5), asked(40));
    assert!(few * 7 < all, "{few} keys for 5 traces, {all} for 40");
}

#[test]
fn services_are_counted() {
    let stored = stored(&story(40));
    let services = services(&*stored.store, Window::ALL).unwrap();
    let rows: Vec<_> =
        services.iter().map(|it| (it.name.as_str(), it.spans, it.requests, it.errors)).collect();
    assert_eq!(rows, [("front", 120, 40, 0), ("users", 80, 80, 8)]);
}

fn walked(store: &dyn Store, limit: usize, limits: Limits) -> Vec<Trace> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let mut take = |trace: &Trace| {
            all.push(trace.clone());
            Ok::<bool, StoreError>(true)
        };
        after = walk(store, &Filter::default(), after, limit, limits, &mut take).unwrap();
        if after.is_none() {
            return all;
        }
    }
}

#[test]
fn what_is_walked_is_what_is_found_one_by_one() {
    // Beside them one exchange that two servers claim, and a trace that the application named.
    let more = "
        9001 C front x 50 60 x=9001
        9002 S a x 51 59 x=9001
        9003 S b x 51 59 x=9001
        9004 S a y 61 70 app=77
        9005 S b y 1000 1100 app=77
        9006 C b z 1010 1020 x=9006
        9006 <- 9005 0.9 thread 1010
        9007 S c z 1011 1019 x=9006 sure=0.1";
    let stored = stored(&(story(40) + more));
    let store = &*stored.store;
    let all = walked(store, 1000, Limits::default());
    assert_eq!(all.len(), 40 + 3 + 2);
    for trace in &all {
        let found = find(store, &trace.id.to_string(), Limits::default()).unwrap();
        assert_eq!(found.as_ref(), Some(trace));
    }
    for limit in [1, 3, 50] {
        assert_eq!(walked(store, limit, Limits::default()), all, "pages of {limit}");
    }
}

#[test]
fn a_walk_gives_each_span_also_of_traces_that_are_cut() {
    let stored = stored(&story(40));
    let limits = Limits { spans_max: 3, ..Limits::default() };
    let all = walked(&*stored.store, 1000, limits);
    let spans: BTreeSet<SpanId> =
        all.iter().flat_map(|trace| &trace.spans).map(|it| it.span.id).collect();
    assert_eq!(spans.len(), 40 * 5);
    assert!(all.iter().all(|trace| trace.spans.len() <= 3));
}
