//! What a tracer sees of what happened: clocks that differ, sampling, losses; and what is true of it.

use crate::plan::{Server, Workload};
use crate::random::Random;
use crate::simulation::Exchange;

/// A span with what is true of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its place among all.
    pub id: u64,
    /// Its trace.
    pub trace: u32,
    /// Its parent, if that was seen; for a request the call.
    pub parent: Option<u64>,
    /// Whether the request was sent, or else served.
    pub is_call: bool,
    /// Who saw it, and who was at the other end.
    pub service: &'static str,
    /// The same of the other end; `None`: outside.
    pub peer: Option<&'static str>,
    /// Number of the operation.
    pub operation: usize,
    /// Nanoseconds.
    pub start: i64,
    /// Nanoseconds.
    pub end: i64,
    /// Threads at the request and at the response.
    pub threads: [u32; 2],
    /// Both sides share it.
    pub exchange: u64,
    /// Value that goes through all payloads of the trace.
    pub field: Option<u64>,
}

pub(crate) fn observe(workload: &Workload, exchanges: Vec<Exchange>, seed: u64) -> Vec<Seen> {
    let mut random = Random::new(seed ^ 0x5eed);
    let offsets: Vec<i64> = workload
        .services
        .iter()
        .map(|_| (random.share() * workload.clock_offset as f64) as i64)
        .collect();
    let clock = |service: usize, time: u64| {
        let told = time as i64 + offsets[service];
        told - told.rem_euclid(workload.tick.max(1))
    };
    let traces = exchanges.iter().map(|exchange| exchange.trace).max().unwrap_or(0);
    let sampled: Vec<bool> = (0..=traces).map(|_| random.chance(workload.sampled)).collect();
    let field = |trace: u32| {
        (workload.fields > 0)
            .then(|| Random::new(u64::from(trace) ^ seed).next() % u64::from(workload.fields))
    };
    // By exchange: numbers of the two spans, before they are in order.
    let mut numbers: Vec<[Option<usize>; 2]> = vec![[None; 2]; exchanges.len()];
    let mut spans: Vec<(Seen, usize)> = Vec::new();
    for (number, it) in exchanges.iter().enumerate() {
        if !sampled[it.trace as usize] {
            continue;
        }
        let callee = &workload.services[it.service];
        let common = Seen {
            id: 0,
            trace: it.trace,
            parent: None,
            is_call: true,
            service: callee.name,
            peer: None,
            operation: it.operation,
            start: 0,
            end: 0,
            threads: [0; 2],
            exchange: number as u64,
            field: field(it.trace),
        };
        if let Some(caller) = it.caller
            && !random.chance(workload.lost)
        {
            numbers[number][1] = Some(spans.len());
            let [start, end] = it.sent.map(|time| clock(caller, time));
            let service = workload.services[caller].name;
            let peer = Some(callee.name);
            let span = Seen { service, peer, start, end, threads: it.sent_by, ..common.clone() };
            spans.push((span, number));
        }
        if !matches!(callee.server, Server::Store(_)) && !random.chance(workload.lost) {
            numbers[number][0] = Some(spans.len());
            let [start, end] = it.served.map(|time| clock(it.service, time));
            let peer = it.caller.map(|caller| workload.services[caller].name);
            let threads = it.served_by;
            spans.push((Seen { is_call: false, peer, start, end, threads, ..common }, number));
        }
    }
    in_order(spans, &numbers, &exchanges)
}

/// Spans by start, with ids and parents.
fn in_order(
    spans: Vec<(Seen, usize)>,
    numbers: &[[Option<usize>; 2]],
    exchanges: &[Exchange],
) -> Vec<Seen> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|at| (spans[*at].0.start, spans[*at].0.end, spans[*at].0.is_call));
    let mut ids = vec![0; spans.len()];
    for (id, at) in (0_u64..).zip(&order) {
        ids[*at] = id;
    }
    let seen = |at: usize| {
        let (span, number) = &spans[at];
        let [_, call] = numbers[*number];
        let request = exchanges[*number].parent.and_then(|parent| numbers[parent][0]);
        let parent = if span.is_call { request } else { call };
        Seen { id: ids[at], parent: parent.map(|parent| ids[parent]), ..span.clone() }
    };
    order.into_iter().map(seen).collect()
}
