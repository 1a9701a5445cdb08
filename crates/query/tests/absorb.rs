//! What an SDK reported beside what we saw: a story, and the one tree of both.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{collections::BTreeMap, fmt::Write};

use deeptrace_model::{SpanId, Trace};
use deeptrace_query::{Assembly, Limits, Start, View, run, search};
use deeptrace_store::Filter;
use expect_test::{Expect, expect};

mod shop;
use shop::stored;

/// The trace as an indented tree; behind `=` what a span has absorbed.
fn drawn(trace: &Trace) -> String {
    let (mut text, mut depth) = (String::new(), BTreeMap::new());
    for it in &trace.spans {
        let level = it.parent.map_or(0, |parent| depth[&parent] + 1);
        depth.insert(it.span.id, level);
        let (id, service, name) = (it.span.id.0, &it.span.service, &it.span.name);
        write!(text, "{}{id} {service} {name}", "  ".repeat(level)).unwrap();
        it.span.observed().iter().for_each(|id| write!(text, " ={}", id.0).unwrap());
        it.link.iter().for_each(|link| write!(text, " ({})", link.method.as_str()).unwrap());
        text.push('\n');
    }
    text
}

/// Checks the tree from every one of the spans in `from`; that a list has it once; and that both are in
/// the raw view.
fn check(story: &str, from: &[u64], expected: &Expect) {
    let stored = stored(story);
    let tree = |start: &u64, view| {
        let limits = Limits { view, ..Limits::default() };
        run(&*stored.store, Assembly::new(Start::Id(SpanId(*start)), limits)).unwrap().unwrap()
    };
    let merged: Vec<Trace> = from.iter().map(|start| tree(start, View::Merged)).collect();
    expected.assert_eq(&drawn(&merged[0]));
    for (start, trace) in from.iter().zip(&merged) {
        assert_eq!(drawn(trace), drawn(&merged[0]), "from {start}");
    }
    let absorbed = merged[0].spans.iter().filter(|it| it.span.observed().is_some()).count();
    let raw = tree(&from[0], View::Raw);
    assert_eq!(raw.spans.len(), merged[0].spans.len() + absorbed);
    let page = search(&*stored.store, &Filter::default(), None, 10, Limits::default()).unwrap();
    assert_eq!(page.traces.len(), 1, "one trace in a list");
}

/// A client and a server, both with an SDK, and a call that only we see.
const BOTH: &str = "
    1 S front GET/ 0 100
    2 C front GET/users 10 40 x=2 app=7 in=12
    2 <- 1 0.99 thread 10
    3 S users GET/users 11 39 x=2 app=7 in=12
    4 C users SELECT 15 20 x=4
    4 <- 3 0.95 thread 15
    11 S front home 1 99 app=7 sdk
    12 C front requests.get 9 41 app=7 in=11 sdk
    13 S users list 12 38 app=7 in=12 sdk
    14 I users render 21 30 app=7 in=13 sdk";

#[test]
fn each_side_is_one_span_and_what_only_one_saw_stays() {
    check(
        BOTH,
        &[1, 2, 3, 4, 11, 12, 13, 14],
        &expect![[r#"
            11 front home =1
              12 front requests.get =2 (trace-context)
                13 users list =3 (trace-context)
                  4 users SELECT (thread)
                  14 users render (trace-context)
        "#]],
    );
}

#[test]
fn what_only_we_saw_of_a_process_is_of_the_service_that_its_sdk_names() {
    let story = "
        1 S python GET/ 0 100 p=5
        2 C python SELECT 10 40 p=5
        2 <- 1 0.99 thread 10
        3 C python GET 50 60 p=6
        3 <- 1 0.9 inferred 50
        11 S front home 1 99 p=5 app=7 in=1 sdk";
    check(
        story,
        &[1, 2, 3, 11],
        &expect![[r#"
            11 front home =1
              2 front SELECT (thread)
              3 python GET (inferred)
        "#]],
    );
}

#[test]
fn a_proxy_that_hands_the_ids_on_stays_between() {
    let story = "
        2 C front GET 10 40 x=2 app=7 in=12
        3 S proxy GET 11 39 x=2 app=7 in=12
        4 C proxy GET 12 38 x=4 app=7 in=12
        4 <- 3 0.99 thread 12
        5 S users GET 13 37 x=4 app=7 in=12
        12 C front requests.get 9 41 app=7 sdk
        13 S users list 14 36 app=7 in=12 sdk";
    check(
        story,
        &[2, 3, 4, 5, 12, 13],
        &expect![[r#"
            12 front requests.get =2
              3 proxy GET (connection)
                4 proxy GET (thread)
                  13 users list =5 (connection)
        "#]],
    );
}

#[test]
fn several_requests_of_one_span_are_below_it() {
    let story = "
        2 C front GET 10 20 x=2 app=7 in=12
        3 C front GET 21 40 x=3 app=7 in=12
        12 C front with-retry 9 41 app=7 sdk";
    check(
        story,
        &[2, 3, 12],
        &expect![[r#"
            12 front with-retry
              2 front GET (trace-context)
              3 front GET (trace-context)
        "#]],
    );
}

#[test]
fn a_request_that_names_work_inside_of_the_process_is_below_that() {
    let story = "
        2 S front GET 0 50
        3 C front GET 10 20 x=2 app=7 in=12
        3 <- 2 0.9 thread 10
        4 S users GET 11 19 x=2 app=7 in=12
        12 I front work 9 41 app=7 sdk";
    check(
        story,
        &[3, 4, 12],
        &expect![[r#"
            2 front GET
              12 front work (thread)
                3 front GET (trace-context)
                  4 users GET (connection)
        "#]],
    );
}

#[test]
fn where_only_the_client_has_an_sdk_its_span_is_the_parent() {
    let story = "
        4 S users GET 11 19 app=7 in=12
        12 C front requests.get 9 41 app=7 sdk";
    check(
        story,
        &[4, 12],
        &expect![[r#"
            12 front requests.get
              4 users GET (trace-context)
        "#]],
    );
}

#[test]
fn a_call_without_ids_is_absorbed_where_it_can_be_one_only() {
    let story = "
        1 S front GET 0 100
        2 C front SELECT 10 20
        2 <- 1 0.9 thread 10
        3 C front SELECT 30 40
        3 <- 1 0.9 thread 30
        4 C front SELECT 30 40
        4 <- 1 0.9 thread 30
        5 C front GET 50 60 app=7 in=15
        5 <- 1 0.9 thread 50
        11 S front home 1 99 app=7 sdk
        12 C front select 9 21 app=7 in=11 sdk
        13 C front select 29 41 app=7 in=11 sdk
        14 C front select 29 41 app=7 in=11 sdk
        15 C front get 49 61 app=7 in=11 sdk";
    check(
        story,
        &[1, 2, 3, 5, 11, 12],
        &expect![[r#"
            11 front home =1
              12 front select =2 (trace-context)
              13 front select (trace-context)
              14 front select (trace-context)
              3 front SELECT (thread)
              4 front SELECT (thread)
              15 front get =5 (trace-context)
        "#]],
    );
}

#[test]
fn a_first_server_without_ids_is_absorbed_where_it_was_linked() {
    let story = "
        1 C curl GET 0 101 x=1
        2 S front GET 0 100 x=1
        11 S front home 1 99 app=7 sdk
        11 <- 2 1 trace-context 1";
    check(
        story,
        &[1, 2, 11],
        &expect![[r#"
            1 curl GET
              11 front home =2 (connection)
        "#]],
    );
}
