//! Critical paths of stories: which span was worked on when, and what each did by itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shop;

use deeptrace_query::{CriticalPaths, Limits, critical_path, find};
use expect_test::{Expect, expect};
use shop::{BEGIN, stored};

/// The path in milliseconds, and the self time of each span.
#[expect(clippy::needless_pass_by_value, reason = "the macro makes a value")]
fn check(story: &str, expected: Expect) {
    let stored = stored(story);
    let first = story.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    let trace = find(&*stored.store, &format!("{first:016x}"), Limits::default()).unwrap().unwrap();
    let path = critical_path(&trace);
    let mut text = String::new();
    let millis = |ns: u64| ns as f64 / 1e6;
    for piece in &path.pieces {
        let (from, to) = (millis(piece.from.0 - BEGIN), millis(piece.to.0 - BEGIN));
        text += &format!("{from}-{to} {}\n", trace.spans[piece.span].span.name);
    }
    for (span, own) in trace.spans.iter().zip(&path.self_times) {
        text += &format!("{}: {}\n", span.span.name, millis(own.0));
    }
    expected.assert_eq(&text);
    // The pieces follow one another without a hole, from the root's start to its end.
    let root = &trace.spans[0].span;
    let mut at = root.start;
    for piece in &path.pieces {
        assert_eq!(piece.from, at);
        at = piece.to;
    }
    assert_eq!(at, root.end);
}

#[test]
fn one_after_the_other() {
    check(
        "1 S front root 0 100
         2 C front one 10 30
         3 C front two 40 90
         2 <- 1 1.0 thread 10
         3 <- 1 1.0 thread 40",
        expect![[r#"
            0-10 root
            10-30 one
            30-40 root
            40-90 two
            90-100 root
            root: 30
            one: 20
            two: 50
        "#]],
    );
}

#[test]
fn of_those_at_once_the_last_to_end() {
    check(
        "1 S front root 0 100
         2 C front short 10 40
         3 C front long 12 80
         4 C front before 2 9
         2 <- 1 1.0 thread 10
         3 <- 1 1.0 thread 12
         4 <- 1 1.0 thread 2",
        expect![[r#"
            0-2 root
            2-9 before
            9-12 root
            12-80 long
            80-100 root
            root: 23
            before: 7
            short: 30
            long: 68
        "#]],
    );
}

#[test]
fn through_a_call_to_what_the_callee_waited_for() {
    check(
        "1 S front root 0 100
         2 C front call 10 90 x=7
         3 S back serve 12 88 x=7
         4 C back query 20 70
         2 <- 1 1.0 thread 10
         4 <- 3 1.0 thread 20",
        expect![[r#"
            0-10 root
            10-12 call
            12-20 serve
            20-70 query
            70-88 serve
            88-90 call
            90-100 root
            root: 20
            call: 4
            serve: 26
            query: 50
        "#]],
    );
}

#[test]
fn what_the_parent_did_not_wait_for_is_not_on_its_path() {
    check(
        "1 S front root 0 50
         2 C front notify 10 40
         3 C front later 45 90
         4 C front needed 5 20
         2 <- 1 1.0 thread 10 follows
         3 <- 1 1.0 thread 45
         4 <- 1 1.0 thread 5",
        expect![[r#"
            0-5 root
            5-20 needed
            20-50 root
            root: 35
            needed: 15
            notify: 30
            later: 45
        "#]],
    );
}

#[test]
fn a_millisecond_of_slack_is_cut_off() {
    check(
        "1 S front root 0 50
         2 C front within 10 50.9
         3 C front beyond 20 51.1
         2 <- 1 1.0 thread 10
         3 <- 1 1.0 thread 20",
        expect![[r#"
            0-10 root
            10-50 within
            root: 10
            within: 40
            beyond: 31.1
        "#]],
    );
}

#[test]
fn clocks_of_two_hosts_are_laid_over_each_other() {
    check(
        "1 S front root 0 100
         2 C front call 10 90 x=7
         3 S back serve 520 560 x=7
         4 C back query 530 550
         2 <- 1 1.0 thread 10
         4 <- 3 1.0 thread 530",
        expect![[r#"
            0-10 root
            10-30 call
            30-40 serve
            40-60 query
            60-70 serve
            70-90 call
            90-100 root
            root: 20
            call: 40
            serve: 20
            query: 20
        "#]],
    );
}

#[test]
fn operations_are_summed_over_traces() {
    let stored = stored(
        "1 S front root 0 100
         2 C front call 10 90
         11 S front root 200 240
         12 C front call 210 220
         13 C front call 222 238
         2 <- 1 1.0 thread 10
         12 <- 11 1.0 thread 210
         13 <- 11 1.0 thread 222",
    );
    let mut paths = CriticalPaths::default();
    for id in [1_u64, 11] {
        let found = find(&*stored.store, &format!("{id:016x}"), Limits::default());
        paths.add(&found.unwrap().unwrap());
    }
    assert_eq!((paths.traces, paths.total.0), (2, 140_000_000));
    let row = |row: &deeptrace_query::OnPath| {
        (
            row.name.clone(),
            row.traces,
            row.spans,
            row.critical.0 / 1_000_000,
            row.self_time.0 / 1_000_000,
        )
    };
    let rows: Vec<_> = paths.rows().iter().map(row).collect();
    assert_eq!(rows, [("call".to_owned(), 2, 3, 106, 106), ("root".to_owned(), 2, 2, 34, 34)]);
}
