//! Processes, those that call before those that are called.

use std::collections::{BTreeMap, BTreeSet};

use super::Held;
use super::exchange::Exchanges;
use crate::observation::Side;

/// One process, with the indices of its spans, by start.
#[derive(Default)]
pub(super) struct Process {
    pub(super) key: u64,
    pub(super) requests: Vec<usize>,
    pub(super) calls: Vec<usize>,
}

/// All processes. Where they call each other in circles, the one that was seen first comes first.
pub(super) fn upstream_first(held: &[Held], exchanges: &Exchanges) -> Vec<Process> {
    let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
    let mut processes: Vec<Process> = Vec::new();
    for (at, it) in held.iter().enumerate() {
        let number = *numbers.entry(it.seen.process).or_insert_with(|| {
            processes.push(Process { key: it.seen.process, ..Process::default() });
            processes.len() - 1
        });
        match it.seen.side {
            Side::Served => processes[number].requests.push(at),
            Side::Sent => processes[number].calls.push(at),
        }
    }
    let number = |at: usize| numbers[&held[at].seen.process];
    let pairs =
        exchanges.calls.iter().map(|(request, (call, _))| (number(*call), number(*request)));
    let pairs: BTreeSet<(usize, usize)> = pairs.filter(|(from, to)| from != to).collect();
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); processes.len()];
    let mut above = vec![0_usize; processes.len()];
    for (from, to) in &pairs {
        below[*from].push(*to);
        above[*to] += 1;
    }
    let mut rest: BTreeSet<(usize, usize)> =
        above.iter().enumerate().map(|(number, above)| (*above, number)).collect();
    let mut ordered = Vec::new();
    while let Some((_, next)) = rest.pop_first() {
        ordered.push(std::mem::take(&mut processes[next]));
        for to in &below[next] {
            if rest.remove(&(above[*to], *to)) {
                above[*to] -= 1;
                rest.insert((above[*to], *to));
            }
        }
    }
    ordered
}
