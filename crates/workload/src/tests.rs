use std::collections::BTreeMap;

use super::*;

#[test]
fn a_seed_gives_the_same_bytes() {
    let bytes = |seed| {
        let (mut all, seen) = (Vec::new(), simulate(&(SETS[0].make)(), seed));
        spans(&mut all, &seen).expect("memory takes all");
        truth(&mut all, &seen).expect("memory takes all");
        all
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

#[test]
fn the_truth_is_possible() {
    for set in SETS {
        let workload = (set.make)();
        let seen = simulate(&workload, 3);
        let by_id: BTreeMap<u64, &Seen> = seen.iter().map(|it| (it.id, it)).collect();
        assert_eq!(by_id.len(), seen.len(), "{}", set.name);
        assert!(seen.is_sorted_by_key(|it| it.start), "{}", set.name);
        let mut parents = 0;
        for it in &seen {
            assert!(it.end >= it.start, "{}: {it:?}", set.name);
            let Some(parent) = it.parent.map(|parent| by_id[&parent]) else { continue };
            parents += 1;
            assert_eq!((parent.trace, parent.is_call), (it.trace, !it.is_call), "{}", set.name);
            if it.is_call {
                assert_eq!(parent.service, it.service, "{}", set.name);
                assert!(parent.start <= it.start, "{}: {parent:?} {it:?}", set.name);
            }
        }
        assert!(parents * 2 > seen.len(), "{}: {parents} of {}", set.name, seen.len());
    }
}

#[test]
fn what_is_lost_has_no_children() {
    let whole = simulate(&Workload { lost: 0.0, ..(SETS[0].make)() }, 5);
    let some = simulate(&Workload { lost: 0.2, ..(SETS[0].make)() }, 5);
    let orphans =
        |seen: &[Seen]| seen.iter().filter(|it| it.is_call && it.parent.is_none()).count();
    assert!(some.len() < whole.len() * 85 / 100 && orphans(&whole) == 0);
    let calls = some.iter().filter(|it| it.is_call).count();
    assert!((calls / 8..calls / 3).contains(&orphans(&some)), "{} of {calls}", orphans(&some));
}
