//! Clocks of hosts, by stories in which they differ.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shop;

use deeptrace_query::{Clocks, Limits, find, summary};
use expect_test::{Expect, expect};
use shop::{BEGIN, stored};

/// The clocks in milliseconds, then where each span lies on the first one's, then the whole.
#[expect(clippy::needless_pass_by_value, reason = "the macro makes a value")]
fn check(story: &str, expected: Expect) {
    let stored = stored(story);
    let trace = find(&*stored.store, "0000000000000001", Limits::default()).unwrap().unwrap();
    let clocks = Clocks::of(&trace);
    let millis = |ns: i128| ns as f64 / 1e6;
    let mut text = String::new();
    for clock in clocks.differing() {
        let (ahead, within) = (millis(clock.ahead.into()), millis(clock.uncertainty.into()));
        text += &format!("{}: {ahead} ± {within}, {} exchanges\n", clock.host, clock.exchanges);
    }
    let since = |time: u64| millis(i128::from(time) - i128::from(BEGIN));
    for span in &trace.spans {
        let (start, end) = clocks.stamps(&span.span);
        text += &format!("{} {}-{}\n", span.span.name, since(start), since(end));
    }
    let summary = summary(&trace);
    text += &format!("all {}+{}", since(summary.start.0), millis(summary.duration.0.into()));
    expected.assert_eq(&text);
}

#[test]
fn one_exchange_bounds_from_both_sides() {
    // On its own clock the callee works from 510 to 550, which is 20 to 60 of the caller's.
    check(
        "1 S front root 0 100 host=a
         2 C front call 10 70 x=5 host=a
         3 S back work 510 550 x=5 host=b
         4 C back query 515 520 host=b
         2 <- 1 1.0 thread 10
         4 <- 3 1.0 thread 515",
        expect![[r#"
            b: 490 ± 11, 1 exchanges
            root 0-100
            call 10-70
            work 20-60
            query 25-30
            all 0+100"#]],
    );
}

#[test]
fn more_exchanges_bound_more_tightly_and_a_third_host_is_reached_over_the_second() {
    check(
        "1 S front root 0 100 host=a
         2 C front call 10 70 x=5 host=a
         3 S back work 510 550 x=5 host=b
         5 C front again 75 95 x=6 host=a
         6 S back more 577 593 x=6 host=b
         7 C back deep 520 540 x=7 host=b
         8 S last end 30 45 x=7 host=c
         2 <- 1 1.0 thread 10
         5 <- 1 1.0 thread 75
         7 <- 3 1.0 thread 520",
        expect![[r#"
            b: 499 ± 2, 2 exchanges
            c: 6.5 ± 5.5, 1 exchanges
            root 0-100
            call 10-70
            work 11-51
            deep 21-41
            end 23.5-38.5
            again 75-95
            more 78-94
            all 0+100"#]],
    );
}

#[test]
fn what_may_be_the_same_is_the_same() {
    check(
        "1 S front root 0 100 host=a
         2 C front call 10 70 x=5 host=a
         3 S back work 11 12 x=5 host=b
         2 <- 1 1.0 thread 10",
        expect![[r#"
            root 0-100
            call 10-70
            work 11-12
            all 0+100"#]],
    );
}

#[test]
fn an_unanswered_call_says_nothing() {
    check(
        "1 S front root 0 100 host=a
         2 C front call 10 70 x=5 host=a
         3 S back work 510 550 r=5 unanswered host=b
         2 <- 1 1.0 thread 10",
        expect![[r#"
            root 0-100
            call 10-70
            work 510-550
            all 0+550"#]],
    );
}

#[test]
fn a_clock_that_was_set_meanwhile_is_as_the_tightest_exchange_says() {
    check(
        "1 S front root 0 100 host=a
         2 C front call 10 40 x=5 host=a
         3 S back work 510 535 x=5 host=b
         5 C front again 50 90 x=6 host=a
         6 S back more 255 275 x=6 host=b
         2 <- 1 1.0 thread 10
         5 <- 1 1.0 thread 50",
        expect![[r#"
            b: 497.5 ± 3.5, 2 exchanges
            root 0-100
            call 10-40
            work 12.5-37.5
            again 50-90
            more -242.5--222.5
            all -242.5+342.5"#]],
    );
}
