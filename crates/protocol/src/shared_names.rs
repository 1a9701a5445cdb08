//! What parsers of all connections know together: names of ids that stand for one thing wherever they
//! are told. On which connection that is, clients choose; others are understood by it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deeptrace_model::Text;

/// Ids whose names are remembered; the oldest makes room.
const NAMES_MAX: usize = 8192;

/// Names by ids of 128 bits, which MUST never stand for two things. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct SharedNames(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    names: HashMap<u128, Text>,
    /// Oldest first.
    order: VecDeque<u128>,
    shed: u64,
}

impl SharedNames {
    /// What `id` stands for, if a connection told it.
    pub fn name(&self, id: u128) -> Option<Text> {
        self.known().names.get(&id).cloned()
    }

    /// A connection told what `id` stands for.
    pub fn learn(&self, id: u128, name: &str) {
        let mut known = self.known();
        if known.names.insert(id, Text::from(name)).is_some() {
            return;
        }
        known.order.push_back(id);
        if known.order.len() > NAMES_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.names.remove(&oldest);
            known.shed += 1;
        }
    }

    /// Names that made room because there were too many.
    pub(crate) fn shed(&self) -> u64 {
        self.known().shed
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked left a name too few at worst.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_shared() {
        let names = SharedNames::default();
        let others = names.clone();
        for id in 0..=NAMES_MAX as u128 {
            names.learn(id, "orders");
        }
        names.learn(1, "renamed");
        assert_eq!((others.name(0), others.shed()), (None, 1));
        assert_eq!(others.name(1).as_deref(), Some("renamed"));
    }
}
