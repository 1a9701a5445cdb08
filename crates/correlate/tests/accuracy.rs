//! How right `auto` is on simulated workloads, with floors; and that it beats first-free there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use deeptrace_correlate::{Answer, Observation, Offline, OfflineOptions, Side, TABLE};
use deeptrace_model::{hash_bytes, hash64};
use deeptrace_workload::{SETS, Seen, simulate};

/// Not the seeds that anything was tuned with, nor that of the bench.
const SEED: u64 = 7;

fn observation(seen: &Seen, has_units: bool) -> Observation {
    let name = |name: &str| hash_bytes(name.as_bytes());
    let peer = seen.peer.map_or(0, name);
    let unit = |thread: u32| (has_units && thread > 0).then_some(u64::from(thread));
    Observation {
        id: seen.id,
        process: name(seen.service),
        side: if seen.is_call { Side::Sent } else { Side::Served },
        start: seen.start,
        end: seen.end,
        class: hash64(&[seen.operation as u64, peer]),
        peer,
        units: seen.threads.map(unit),
        exchange: Some(seen.exchange),
        addresses: None,
        in_turn: None,
        tokens: seen.field.into_iter().collect(),
        known: None,
    }
}

/// Shares of calls that are right: of all, and of those told with 0.9 and more.
fn right(set: &str, algorithm: &str, has_units: bool) -> (f64, f64) {
    let workload = (SETS.iter().find(|it| it.name == set).unwrap().make)();
    let seen = simulate(&workload, SEED);
    let algorithm = TABLE.iter().find(|row| row.name == algorithm).unwrap();
    let mut offline = Offline::new(OfflineOptions { algorithm, spans_max: 65_536, window: 0 });
    let mut answers = Vec::new();
    for it in &seen {
        offline.feed(observation(it, has_units), &mut answers);
    }
    offline.finish(&mut answers);
    let answers: BTreeMap<u64, Answer> = answers.into_iter().map(|it| (it.id, it)).collect();
    let calls: Vec<&Seen> = seen.iter().filter(|it| it.is_call).collect();
    let share = |some: usize, all: usize| some as f64 / all as f64;
    let is_right = |it: &&&Seen| answers[&it.id].parent == it.parent;
    let sure: Vec<&Seen> = calls
        .iter()
        .copied()
        .filter(|it| answers[&it.id].parent.is_some() && answers[&it.id].confidence >= 0.9)
        .collect();
    (
        share(calls.iter().filter(is_right).count(), calls.len()),
        share(sure.iter().filter(is_right).count(), sure.len()),
    )
}

#[test]
fn auto_stays_above_its_floors_and_above_first_free() {
    // Set, whether threads are seen, least share of right calls, and of right among the sure ones.
    let floors = [
        ("few", false, 0.97, 0.995),
        ("caches", false, 0.97, 0.99),
        ("lost-5", true, 0.98, 0.985),
        // Whoever waits for an answer must not look like the cause of what no request caused.
        ("background", false, 0.96, 0.99),
    ];
    for (set, has_units, least, least_sure) in floors {
        let (all, sure) = right(set, "auto", has_units);
        println!("{set:<12} link {all:.4} precision at 0.9 {sure:.4}");
        assert!(all >= least && sure >= least_sure, "{set}: {all} {sure}");
        assert!(all > right(set, "fifo", has_units).0, "{set}: first-free is better");
    }
}
