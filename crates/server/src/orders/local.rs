//! Local: the agent in the server's own process, among the others: it tells them which traces it keeps, and
//! hears which they keep.

use std::sync::Arc;

use deeptrace_model::ExchangeKey;
use deeptrace_wire::{KEYS_MAX, Key, Order, Place, decode_orders, encode_orders};

use super::{Orders, To};

/// No id of an agent: those have no such signs.
const NAME: &str = "(local)";

/// The way between the agent of this process and those that poll.
pub struct Local {
    orders: Arc<Orders>,
    last: u64,
    has_begun: bool,
}

impl Orders {
    /// For the agent of this process.
    pub fn local(self: &Arc<Self>) -> Local {
        Local { orders: Arc::clone(self), last: 0, has_begun: false }
    }
}

impl Local {
    /// Tells the other agents that the traces with these exchanges are kept. Never waits.
    pub fn publish(&self, keys: &[u64]) {
        for keys in keys.chunks(KEYS_MAX) {
            let keys = keys.iter().map(|key| Key::Exchange(ExchangeKey(*key))).collect();
            self.orders.post(To::AllBut(NAME), &Order::Keep(keys));
        }
    }

    /// Whether there may be other agents.
    pub fn has_others(&self) -> bool {
        self.orders.is_shared || self.orders.queues().keys().any(|name| name != NAME)
    }

    /// Gives out what the others have published since this was asked last. Whether something was lost meanwhile.
    pub fn received(&mut self, out: &mut dyn FnMut(u64)) -> bool {
        // More agents than a server can have: then there is no place for this one either.
        let Some((queue, is_new)) = self.orders.queue(NAME) else { return true };
        let mut has_missed = is_new && self.has_begun;
        self.has_begun = true;
        if is_new {
            self.last = 0;
        }
        queue.polled(self.last);
        while let Some(taken) = queue.take() {
            let count = taken.records.len() as u64;
            has_missed |= taken.last != self.last + count;
            self.last = taken.last;
            let place = Place::default();
            let bytes = encode_orders(place, taken.records.iter().map(|record| &**record));
            let orders = decode_orders(&bytes).unwrap_or_default().orders.into_iter();
            let kept = orders.filter_map(|order| match order {
                Order::Keep(keys) => Some(keys),
                _ => None,
            });
            for key in kept.flatten() {
                if let Key::Exchange(ExchangeKey(key)) = key {
                    out(key);
                }
            }
            queue.polled(self.last);
        }
        has_missed
    }
}

#[cfg(test)]
mod tests {
    use deeptrace_store::{Mode, Options};

    use super::*;
    use crate::duties::Guarded;

    #[test]
    fn it_hears_the_others_and_they_hear_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new(folder.path().join("data"));
        let store = deeptrace_store::open("embedded", &options, Mode::Write).unwrap();
        let guarded = Arc::new(Guarded::new(store).unwrap());
        let tombstones = guarded.tombstones();
        let orders = Arc::new(Orders::new(guarded, tombstones, false));
        let mut local = orders.local();
        let mut heard = Vec::new();
        let mut hear = |local: &mut Local| local.received(&mut |key| heard.push(key));
        assert!(!hear(&mut local) && !local.has_others());
        let (queue, _) = orders.queue("a").unwrap();
        assert!(local.has_others());
        local.publish(&[1]);
        assert_eq!(queue.take().unwrap().records.len(), 1);
        let kept = Order::Keep(vec![Key::Exchange(ExchangeKey(2))]);
        orders.post(To::AllBut("a"), &kept);
        assert!(!hear(&mut local) && !hear(&mut local));
        // More than there is room for, while it did not ask.
        (0..2_000).for_each(|_| _ = orders.post(To::All, &kept));
        assert!(hear(&mut local) && !hear(&mut local));
        assert!(heard.len() > 1_000 && heard.iter().all(|key| *key == 2));
    }
}
