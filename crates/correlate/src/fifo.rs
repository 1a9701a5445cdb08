//! First free: the oldest open request that has not called this callee yet. DeepTrace's baseline
//! (SIGCOMM 2025).
//!
//! Right while work is done in the order in which it came; wholly wrong after one slip, since all that
//! follow are shifted. Where every open request has called the callee it takes those with the fewest
//! calls: the published rule assumes one call per callee.

use deeptrace_model::Method;
use rustc_hash::FxHashMap;

use crate::algorithm::{Algorithm, Guess, Row, Window, each_call};

pub(crate) const ROW: Row = Row {
    name: "fifo",
    title: "the oldest open request without a call to this callee (baseline of SIGCOMM 2025)",
    make: || Box::new(Fifo),
};

struct Fifo;

impl Algorithm for Fifo {
    fn infer(&mut self, window: &Window) -> Vec<Option<Guess>> {
        let mut made: FxHashMap<(usize, u64), u32> = FxHashMap::default();
        each_call(window, |call, open| {
            let calls = |request: &usize| made.get(&(*request, call.callee)).copied().unwrap_or(0);
            let free = || open.iter().copied().min_by_key(calls);
            let request = call.known.or_else(free)?;
            *made.entry((request, call.callee)).or_default() += 1;
            let confidence = 1.0 / open.len().max(1) as f32;
            Some(Guess { request, method: Method::Order, confidence })
        })
    }
}
