//! Repair of slipped responses: on a connection that carries one exchange at a time, a span that ends
//! after the next began was given another's response. Its end is then that of the other side of the
//! exchange, where that is sound, else right before the next began.

use std::collections::{BTreeMap, BTreeSet};

use super::Held;
use crate::observation::Side;

/// Repairs what is held, which is by start.
pub(super) fn repair(held: &mut [Held]) {
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    let mut slipped: BTreeMap<usize, i64> = BTreeMap::new();
    let mut sides: BTreeMap<u64, [Option<usize>; 2]> = BTreeMap::new();
    for (at, it) in held.iter().enumerate() {
        if let Some(connection) = it.seen.in_turn
            && let Some(before) = last.insert(connection, at)
            && held[before].seen.end > it.seen.start
        {
            slipped.insert(before, it.seen.start);
        }
        if let Some(exchange) = it.seen.exchange {
            sides.entry(exchange).or_default()[side(it)] = Some(at);
        }
    }
    if slipped.is_empty() {
        return;
    }
    let is_sound = |at: &usize| !slipped.contains_key(at);
    let end = |at: usize| held[at].seen.end;
    // How much later the caller sees the response; its middle, over the sound ones.
    let both = sides.values().filter_map(|sides| match sides {
        [Some(served), Some(sent)] if is_sound(served) && is_sound(sent) => {
            Some(end(*sent) - end(*served))
        }
        _ => None,
    });
    let mut lags: Vec<i64> = both.collect();
    lags.sort_unstable();
    let lag = lags.get(lags.len() / 2).copied().unwrap_or(0);
    let mut ends: BTreeSet<(usize, i64)> = BTreeSet::new();
    for (at, next) in &slipped {
        let it = &held[*at];
        let exchange = it.seen.exchange.and_then(|exchange| sides.get(&exchange));
        let other = exchange.and_then(|sides| sides[1 - side(it)]).filter(is_sound);
        let told = other.map(|other| end(other) + if side(it) == 1 { lag } else { -lag });
        let end = told.unwrap_or(i64::MAX).min(next - 1).max(it.seen.start);
        ends.insert((*at, end));
    }
    for (at, end) in ends {
        held[at].seen.end = end;
    }
}

fn side(held: &Held) -> usize {
    usize::from(held.seen.side == Side::Sent)
}
