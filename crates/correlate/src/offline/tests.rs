//! Offline correlation of three services in a row, with many requests at once.

use super::*;
use crate::TABLE;

const MS: i64 = 1_000_000;

fn observation(id: u64, process: u64, side: Side, times: (i64, i64), exchange: u64) -> Observation {
    Observation {
        id,
        process,
        side,
        start: times.0,
        end: times.1,
        class: process * 10 + u64::from(side == Side::Sent),
        peer: process + 1,
        units: [None; 2],
        exchange: Some(exchange),
        addresses: None,
        in_turn: None,
        tokens: Vec::new(),
        known: None,
    }
}

/// A request to process 1, its call to process 2, and what that serves, every two milliseconds; times
/// jitter by a fixed rule. `name` gives ids.
fn chain(traces: u64, name: impl Fn(u64) -> u64) -> Vec<Observation> {
    let mut spans = Vec::new();
    for trace in 0..traces {
        let start = trace as i64 * 2 * MS;
        let jitter = (trace * 7919 % 97) as i64 * MS / 50;
        let ids = [3 * trace, 3 * trace + 1, 3 * trace + 2].map(&name);
        let end = start + 6 * MS + jitter;
        spans.push(observation(ids[0], 1, Side::Served, (start, end), 1 << 40 | trace));
        let call = (start + MS + jitter / 4, end - MS);
        spans.push(observation(ids[1], 1, Side::Sent, call, trace));
        let served = (call.0 + MS / 10, call.1 - MS / 10);
        spans.push(observation(ids[2], 2, Side::Served, served, trace));
    }
    spans.sort_by_key(|span| span.start);
    spans
}

fn run(spans: &[Observation], algorithm: &'static Row, spans_max: usize) -> Vec<Answer> {
    let mut offline = Offline::new(Options { algorithm, spans_max, window: 0 });
    let mut answers = Vec::new();
    for span in spans {
        offline.feed(span.clone(), &mut answers);
        assert!(offline.held.len() <= spans_max);
    }
    offline.finish(&mut answers);
    answers
}

#[test]
fn every_span_is_answered_once_in_order_and_alike_twice() {
    let spans = chain(300, |id| id);
    for row in TABLE {
        let answers = run(&spans, row, 1000);
        let mut ids: Vec<u64> = answers.iter().map(|answer| answer.id).collect();
        assert_eq!(answers, run(&spans, row, 1000), "{}", row.name);
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(0..900), "{}", row.name);
    }
}

#[test]
fn ids_change_no_answer() {
    let scramble = |id: u64| id.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_003;
    for row in TABLE {
        let plain = run(&chain(300, |id| id), row, 1000);
        let scrambled = run(&chain(300, scramble), row, 1000);
        for (a, b) in plain.iter().zip(&scrambled) {
            assert_eq!((scramble(a.id), a.parent.map(scramble)), (b.id, b.parent), "{}", row.name);
        }
    }
}

#[test]
fn a_window_may_be_cut_anywhere() {
    let spans = chain(2000, |id| id);
    let wrong = |spans_max| {
        let answers = run(&spans, &TABLE[0], spans_max);
        let calls = answers.iter().filter(|answer| answer.id % 3 == 1);
        calls.filter(|answer| answer.parent != Some(answer.id - 1)).count()
    };
    let (whole, cut) = (wrong(100_000), wrong(700));
    assert!(whole < 100 && cut <= whole + 60, "{whole} wrong in one window, {cut} in many");
}

#[test]
fn the_other_side_is_found_by_addresses_and_time() {
    let mut spans = chain(50, |id| id);
    for span in &mut spans {
        // Each exchange on a connection of its own; nobody names it.
        span.addresses = span.exchange.take().map(|exchange| exchange % 7);
    }
    let answers = run(&spans, &TABLE[0], 1000);
    let joined = answers.iter().filter(|answer| answer.id % 3 == 2);
    let right = joined.filter(|answer| answer.parent == Some(answer.id - 1)).count();
    assert!(right >= 45, "{right} of 50");
}
