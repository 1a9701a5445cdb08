//! The step between processes: the two sides of one exchange.

use std::collections::{BTreeMap, VecDeque};

use deeptrace_model::Method;

use super::Held;
use crate::observation::Side;

/// Clocks of hosts may differ by this much, in nanoseconds, where sides are joined by time.
const CLOCKS_DIFFER: i64 = 5_000_000;
/// Belief in a join by addresses and time.
const BY_TIME: f32 = 0.95;

/// For each request that is held, its call.
pub(super) struct Exchanges {
    /// By index of the request: index of the call, and how sure that is.
    pub(super) calls: BTreeMap<usize, (usize, f32)>,
}

impl Exchanges {
    /// Joins what is held, which is by start.
    pub(super) fn new(held: &[Held]) -> Self {
        let mut sent: BTreeMap<u64, usize> = BTreeMap::new();
        let mut open: BTreeMap<u64, VecDeque<usize>> = BTreeMap::new();
        let mut calls = BTreeMap::new();
        for (at, it) in held.iter().enumerate() {
            if it.seen.side == Side::Sent
                && let Some(exchange) = it.seen.exchange
            {
                sent.entry(exchange).or_insert(at);
            }
        }
        for (at, it) in held.iter().enumerate() {
            match (it.seen.side, it.seen.exchange, it.seen.addresses) {
                (Side::Served, Some(exchange), _) => {
                    if let Some(call) = sent.get(&exchange) {
                        calls.insert(at, (*call, 1.0));
                    }
                }
                (Side::Sent, None, Some(addresses)) => {
                    open.entry(addresses).or_default().push_back(at);
                }
                _ => {}
            }
        }
        // The clock of the one may be behind: all calls are known before requests look for theirs.
        for (at, it) in held.iter().enumerate() {
            if it.seen.side == Side::Served
                && it.seen.exchange.is_none()
                && let Some(waiting) = it.seen.addresses.and_then(|key| open.get_mut(&key))
            {
                let is_over = |call: &usize| held[*call].seen.end + CLOCKS_DIFFER < it.seen.start;
                while waiting.front().is_some_and(is_over) {
                    waiting.pop_front();
                }
                let contains = |call: &usize| {
                    let call = &held[*call].seen;
                    call.start <= it.seen.start + CLOCKS_DIFFER
                        && it.seen.end <= call.end + CLOCKS_DIFFER
                };
                if let Some(found) = waiting.iter().position(contains)
                    && let Some(call) = waiting.remove(found)
                {
                    calls.insert(at, (call, BY_TIME));
                }
            }
        }
        Self { calls }
    }

    /// Gives requests their calls, and the traces of those.
    pub(super) fn arrive(&self, requests: &[usize], held: &mut [Held], cut: i64) {
        for at in requests {
            let Some((call, confidence)) = self.calls.get(at).copied() else { continue };
            let (root, id) = (held[call].root, held[call].seen.id);
            let request = &mut held[*at];
            request.root = root;
            if !request.is_decided && request.seen.start < cut {
                request.parent = Some((id, Method::Connection, confidence));
            }
        }
    }
}
