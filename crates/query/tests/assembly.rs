//! Traces as they are assembled: a story, from which span, and the expected tree.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{collections::BTreeMap, fmt::Write};

use deeptrace_model::{Gap, GapCause, SpanId, Trace, TraceId, WallTime};
use deeptrace_query::{Assembly, FindError, Limits, Start, find, run};
use deeptrace_store::{Batch, Store};
use expect_test::{Expect, expect};

mod shop;
use shop::{BEGIN, stored};

/// The trace as an indented tree.
fn drawn(trace: &Trace) -> String {
    let mut text = String::new();
    let mut depth = BTreeMap::new();
    let own = trace.id.0 < 1 << 64;
    writeln!(text, "trace {}", if own { trace.id.to_string() } else { "derived".into() }).unwrap();
    for it in &trace.spans {
        let level = it.parent.map_or(0, |parent| depth[&parent] + 1);
        depth.insert(it.span.id, level);
        let indent = "  ".repeat(level);
        let (id, service, name) = (it.span.id.0, &it.span.service, &it.span.name);
        write!(text, "{indent}{id} {service} {name}").unwrap();
        if let Some((method, relation, confidence)) = it.reason() {
            write!(text, " ({}, {relation:?}, {confidence})", method.as_str()).unwrap();
        }
        text.push('\n');
    }
    trace.gaps.iter().for_each(|gap| writeln!(text, "gap {:?}", gap.cause).unwrap());
    trace.cut_at.iter().for_each(|beyond| writeln!(text, "cut, {beyond} beyond").unwrap());
    text
}

fn tree(store: &dyn Store, start: u64, limits: Limits) -> String {
    let trace = run(store, Assembly::new(Start::Id(SpanId(start)), limits)).unwrap();
    drawn(&trace.unwrap())
}

/// Checks the tree from every one of the spans in `from`.
fn check(story: &str, from: &[u64], expected: &Expect) {
    let stored = stored(story);
    let trees: Vec<String> =
        from.iter().map(|start| tree(&*stored.store, *start, Limits::default())).collect();
    expected.assert_eq(&trees[0]);
    trees.iter().for_each(|tree| assert_eq!(*tree, trees[0]));
}

const SHOP: &str = "
    1 S front GET/ 0 100
    2 C front GET/users 10 40 x=2
    2 <- 1 0.99 thread 10
    3 S users GET/users 11 39 x=2
    4 C users SELECT 12 20 x=4

    5 S db SELECT 13 19 x=4
    4 <- 3 0.95 order 12
    6 C front GET/cart 10 90 x=6
    7 S cart GET/cart 12 89 x=6
    6 <- 1 0.9 order 10
    8 C cart GET 20 21 x=8
    8 <- 7 0.9 order 20
    20 S front GET/ 0 100
    21 C front GET/users 10 40 x=21
    21 <- 20 0.9 thread 10";

#[test]
fn any_span_gives_the_whole_tree_and_nothing_else() {
    let expected = expect![[r#"
        trace derived
        1 front GET/
          2 front GET/users (thread, Child, 0.99)
            3 users GET/users (connection, Child, 1)
              4 users SELECT (order, Child, 0.95)
                5 db SELECT (connection, Child, 1)
          6 front GET/cart (order, Child, 0.9)
            7 cart GET/cart (connection, Child, 1)
              8 cart GET (order, Child, 0.9)
    "#]];
    check(SHOP, &[1, 2, 3, 4, 5, 6, 7, 8], &expected);
}

#[test]
fn the_best_link_decides_if_it_is_sure_enough() {
    let story = "
        1 S a one 0 100
        2 S a two 1 100
        3 C a by-rank 10 20
        3 <- 1 0.9 inferred 10 g=5
        3 <- 2 0.85 thread 10
        4 C a by-generation 11 20
        4 <- 1 0.9 order 11
        4 <- 2 0.9 order 11 g=1
        5 C a unsure 12 20
        5 <- 2 0.79 order 12
        6 C a no-answer-loses 13 20
        6 <- - 0 thread 13 g=7
        6 <- 2 0.8 inferred 13
        7 C a now-unsure 14 20
        7 <- 2 0.9 order 14
        7 <- 2 0.5 order 14 g=1";
    check(
        story,
        &[2, 3, 4, 6],
        &expect![[r#"
        trace derived
        2 a two
          3 a by-rank (thread, Child, 0.85)
          4 a by-generation (order, Child, 0.9)
          6 a no-answer-loses (inferred, Child, 0.8)
    "#]],
    );
    check(
        story,
        &[5],
        &expect![[r#"
        trace derived
        5 a unsure
    "#]],
    );
    check(
        story,
        &[7],
        &expect![[r#"
        trace derived
        7 a now-unsure
    "#]],
    );
    let all = Limits { similarity_threshold: 0.0, ..Limits::default() };
    let stored = stored(story);
    expect![[r#"
        trace derived
        2 a two
          3 a by-rank (thread, Child, 0.85)
          4 a by-generation (order, Child, 0.9)
          5 a unsure (order, Child, 0.79)
          6 a no-answer-loses (inferred, Child, 0.8)
          7 a now-unsure (order, Child, 0.5)
    "#]]
    .assert_eq(&tree(&*stored.store, 5, all));
}

#[test]
fn a_join_is_as_sure_as_its_less_sure_side() {
    let story = "
        1 S a one 0 100
        2 C a sure 10 20 x=2 sure=0.8
        3 S b sure 11 19 x=2
        2 <- 1 0.9 thread 10
        4 C a unsure-sender 30 40 x=4 sure=0.79
        5 S b unsure-sender 31 39 x=4
        4 <- 1 0.9 thread 30
        6 C a unsure-receiver 50 60 x=6
        7 S b unsure-receiver 51 59 x=6 sure=0
        6 <- 1 0.9 thread 50";
    check(
        story,
        &[1, 2, 3, 4, 6],
        &expect![[r#"
        trace derived
        1 a one
          2 a sure (thread, Child, 0.9)
            3 b sure (connection, Child, 0.8)
          4 a unsure-sender (thread, Child, 0.9)
          6 a unsure-receiver (thread, Child, 0.9)
    "#]],
    );
    for (alone, name) in [(5, "unsure-sender"), (7, "unsure-receiver")] {
        let trace = tree(&*stored(story).store, alone, Limits::default());
        assert_eq!(trace, format!("trace derived\n{alone} b {name}\n"));
    }
    let all = Limits { similarity_threshold: 0.0, ..Limits::default() };
    assert!(tree(&*stored(story).store, 7, all).contains("7 b unsure-receiver (connection"));
}

#[test]
fn joins_are_exact_or_not_at_all() {
    // Two of a side, also when asked from the other one; the same side twice; too far apart.
    let story = "
        1 C a x 0 10 x=1
        2 S b x 1 9 x=1
        3 S c x 1 9 x=1
        4 C a x 0 10 x=4
        5 C a x 1 9 x=4
        6 C a x 0 10 x=6
        7 S b x 60011 60012 x=6
        8 C a x 0 10 x=8
        9 S b x 60009 60012 x=8";
    for alone in [1, 2, 3, 4, 5, 6, 7] {
        let stored = stored(story);
        let text = tree(&*stored.store, alone, Limits::default());
        assert_eq!(text.lines().count(), 2, "{text}");
    }
    check(
        story,
        &[8, 9],
        &expect![[r#"
        trace derived
        8 a x
          9 b x (connection, Child, 1)
    "#]],
    );
}

#[test]
fn the_request_joins_where_one_side_saw_no_answer() {
    let story = "
        1 C a lost 0 50 x=1 unanswered
        2 S b lost 1 9 x=1
        3 C a both 0 50 x=3 unanswered
        4 S b both 1 50 x=3 unanswered
        5 C a other 0 50 x=5 r=5
        6 S b other 1 50 x=6 r=5
        7 C a retry 0 10 x=7 unanswered
        8 C a retry 20 30 x=7
        9 S b retry 21 29 x=7";
    check(
        story,
        &[1, 2],
        &expect![[r#"
        trace derived
        1 a lost
          2 b lost (connection, Child, 1)
    "#]],
    );
    check(
        story,
        &[3, 4],
        &expect![[r#"
        trace derived
        3 a both
          4 b both (connection, Child, 1)
    "#]],
    );
    // Both were answered, and not alike: not the same exchange.
    check(
        story,
        &[5],
        &expect![[r#"
        trace derived
        5 a other
    "#]],
    );
    check(
        story,
        &[8, 9],
        &expect![[r#"
        trace derived
        8 a retry
          9 b retry (connection, Child, 1)
    "#]],
    );
    check(
        story,
        &[7],
        &expect![[r#"
        trace derived
        7 a retry
    "#]],
    );
}

#[test]
fn work_that_is_not_waited_for_belongs_to_the_trace() {
    let story = "
        1 S api POST 0 10
        2 P api send 5 6 x=2
        2 <- 1 0.9 thread 5
        3 Q worker take 30 40 x=2
        4 C worker INSERT 9000 9010
        4 <- 3 0.9 order 9000 follows";
    check(
        story,
        &[1, 4],
        &expect![[r#"
        trace derived
        1 api POST
          2 api send (thread, Child, 0.9)
            3 worker take (connection, Follows, 1)
              4 worker INSERT (order, Follows, 0.9)
    "#]],
    );
}

#[test]
fn circles_and_missing_parents_end() {
    let circle = "
        1 C a one 0 10
        2 C a two 1 9
        3 C a three 2 8
        1 <- 3 0.9 order 0
        2 <- 1 0.9 order 1
        3 <- 2 0.9 order 2
        4 C a self 0 5
        4 <- 4 0.9 order 0
        5 C a orphan 0 5
        5 <- 77 0.9 order 0";
    check(
        circle,
        &[1, 2, 3],
        &expect![[r#"
        trace derived
        1 a one
          2 a two (order, Child, 0.9)
            3 a three (order, Child, 0.9)
    "#]],
    );
    check(
        circle,
        &[4],
        &expect![[r#"
        trace derived
        4 a self
    "#]],
    );
    check(
        circle,
        &[5],
        &expect![[r#"
        trace derived
        5 a orphan
    "#]],
    );
}

#[test]
fn the_application_s_trace_id_names_and_joins() {
    let story = "
        1 S front GET/ 0 100
        2 C front GET/a 10 20 x=2 app=171
        2 <- 1 0.9 thread 10
        3 S a GET/a 11 19 x=2 app=171
        4 S b job 30 40 app=171
        5 C b SELECT 31 35
        5 <- 4 0.9 thread 31";
    let expected = expect![[r#"
        trace 000000000000000000000000000000ab
        1 front GET/
          2 front GET/a (thread, Child, 0.9)
            3 a GET/a (connection, Child, 1)
        4 b job
          5 b SELECT (thread, Child, 0.9)
    "#]];
    check(story, &[1, 3, 5], &expected);
    let stored = stored(story);
    let by_id = find(&*stored.store, "000000000000000000000000000000ab", Limits::default());
    expected.assert_eq(&drawn(&by_id.unwrap().unwrap()));
}

#[test]
fn any_id_it_ever_had_finds_the_trace() {
    let stored = stored(SHOP);
    let find = |text: &str| find(&*stored.store, text, Limits::default());
    let root = find(&TraceId::from_root(SpanId(1)).to_string()).unwrap().unwrap();
    assert_eq!((root.id, root.spans.len()), (TraceId::from_root(SpanId(1)), 8));
    // The id that it had before its upper part was known; a span; capitals.
    for text in [TraceId::from_root(SpanId(3)).to_string(), SpanId(8).to_string()] {
        assert_eq!(find(&text).unwrap(), Some(root.clone()));
        assert_eq!(find(&text.to_uppercase()).unwrap(), Some(root.clone()));
    }
    assert_eq!(find("00000000000000000000000000000bad").unwrap(), None);
    assert_eq!(find("0000000000000bad").unwrap(), None);
    for text in ["", "1", "+000000000000001", "zz00000000000000"] {
        assert!(matches!(find(text), Err(FindError::NoId { .. })), "{text:?}");
    }
}

#[test]
fn a_late_span_is_in_the_next_answer() {
    let stored = stored(SHOP);
    let late = shop::span(&["9", "S", "redis", "GET", "20.2", "20.8", "x=8"]);
    stored.store.write(&Batch { spans: vec![late], ..Batch::default() }).unwrap();
    let text = tree(&*stored.store, 1, Limits::default());
    assert!(text.contains("\n        9 redis GET (connection, Child, 1)"), "{text}");
}

#[test]
fn a_limit_cuts_and_says_so_and_the_root_stays() {
    let mut story = String::from("1 S front GET/ 0 1000\n");
    for n in 2..52 {
        story += &format!("{n} C front GET {n} {}\n{n} <- 1 0.9 thread {n}\n", n + 1);
    }
    let stored = stored(&story);
    let limits = Limits { spans_max: 10, ..Limits::default() };
    for start in [1, 30] {
        let assembly = Assembly::new(Start::Id(SpanId(start)), limits);
        let trace = run(&*stored.store, assembly).unwrap().unwrap();
        assert_eq!(trace.spans.len(), 10);
        assert_eq!(trace.spans[0].span.id, SpanId(1));
        // An answer is limited as well, so that no more than this is known.
        assert!(trace.cut_at >= Some(30), "{:?}", trace.cut_at);
    }
}

#[test]
fn gaps_around_a_trace_are_attached() {
    let stored = stored(SHOP);
    let gap = |from: u64, to: u64| Gap {
        from: WallTime(BEGIN + from),
        to: WallTime(BEGIN + to),
        cause: GapCause::RingFull,
        events: 3,
        bytes: 0,
    };
    let (near, far) = (gap(50_000_000, 60_000_000), gap(5_000_000_000, 6_000_000_000));
    let gaps = vec![near.clone(), far];
    stored.store.write(&Batch { gaps, ..Batch::default() }).unwrap();
    let trace = find(&*stored.store, &SpanId(1).to_string(), Limits::default()).unwrap().unwrap();
    assert_eq!(trace.gaps, [near]);
}
