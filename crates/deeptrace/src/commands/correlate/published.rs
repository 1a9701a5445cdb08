//! `--published`: the restrictions under which three algorithms were published (see
//! [`deeptrace_correlate::PUBLISHED`]).
//!
//! Processes with several callers are left out, and so are calls to services that served nothing in the
//! file, such as databases. Unlike all else of this command it opens the truth first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use deeptrace_correlate::{Call, PUBLISHED, Request, Side, Window};

use super::record::{Features, Record};
use super::score::each_truth;
use super::source::each_line;
use super::{Answer, Links};

/// Requests and calls of one process, by start, with their ids.
#[derive(Default)]
struct Process {
    requests: Vec<(u64, Request)>,
    calls: Vec<(u64, Call)>,
    callers: BTreeSet<u64>,
}

/// Writes the links of the calls that the published evaluation looks at, and returns these calls.
pub fn correlate(
    name: &str,
    input: &Path,
    truth: &Path,
    links: &mut Links<'_>,
) -> Result<HashSet<u64>> {
    let published = PUBLISHED.iter().find(|row| row.name == name);
    let published = published.with_context(|| {
        let names: Vec<_> = PUBLISHED.iter().map(|row| row.name).collect();
        format!("--published is for --algorithm {}", names.join(", "))
    })?;
    let mut parents = HashMap::new();
    each_truth(truth, |id, _, parent| {
        parents.insert(id, parent);
    })?;
    let mut scored = HashSet::new();
    for process in processes(input)?.into_values().filter(|it| it.callers.len() == 1) {
        let (requests, window): (Vec<u64>, Vec<Request>) = process.requests.into_iter().unzip();
        let (calls, made): (Vec<u64>, Vec<Call>) = process.calls.into_iter().unzip();
        let numbers: HashMap<u64, usize> =
            requests.iter().enumerate().map(|(number, id)| (*id, number)).collect();
        let true_request = |call: &u64| numbers.get(&parents.get(call).copied()??).copied();
        let truth: Vec<Option<usize>> = calls.iter().map(true_request).collect();
        let guesses = (published.infer)(&Window::new(window, made), &truth);
        for (call, guess) in calls.into_iter().zip(guesses) {
            scored.insert(call);
            links.write(&Answer {
                id: call,
                parent: guess.map(|guess| requests[guess.request]),
                method: guess.map(|guess| guess.method),
                confidence: guess.map_or(0.0, |guess| guess.confidence),
            })?;
        }
    }
    Ok(scored)
}

/// All processes of the file, without calls to those that are not in it.
fn processes(input: &Path) -> Result<BTreeMap<u64, Process>> {
    let features = Features { units: false, tokens: false, carried: false };
    let mut processes: BTreeMap<u64, Process> = BTreeMap::new();
    let mut served = BTreeSet::new();
    each_line(input, |line| {
        let record: Record<'_> = serde_json::from_str(line)?;
        let it = record.observation(features)?;
        let process = processes.entry(it.process).or_default();
        match it.side {
            Side::Served => {
                served.insert(record.service());
                process.callers.insert(it.peer);
                let request = Request { start: it.start, end: it.end, ..Request::default() };
                process.requests.push((it.id, request));
            }
            Side::Sent => {
                let (class, callee) = (it.peer, it.peer);
                let call = Call { start: it.start, end: it.end, class, callee, ..Call::default() };
                process.calls.push((it.id, call));
            }
        }
        Ok(())
    })?;
    for process in processes.values_mut() {
        process.calls.retain(|(_, call)| served.contains(&call.callee));
        process.requests.sort_by_key(|(_, it)| it.start);
        process.calls.sort_by_key(|(_, it)| it.start);
    }
    Ok(processes)
}
