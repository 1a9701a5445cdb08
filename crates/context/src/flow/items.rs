//! Items: objects that wait in queues of a process, each with the request that it was put there for.
//!
//! An item is named by its address. One that is put again before it was got (a shared object, `None`) may be
//! got in any order, so nothing is said of it until all of them are gone.

use deeptrace_model::{SpanId, UnitId};
use rustc_hash::FxHashMap;

/// Items that wait at once; beyond, all are forgotten.
const ITEMS_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub(super) struct Items {
    waiting: FxHashMap<UnitId, Item>,
}

#[derive(Debug)]
struct Item {
    count: u32,
    request: Option<SpanId>,
}

impl Items {
    /// `item` was put into a queue for `request`; `None`: for nobody who is known.
    pub(super) fn put(&mut self, item: UnitId, request: Option<SpanId>) {
        if self.waiting.len() >= ITEMS_MAX {
            self.waiting.clear();
        }
        let known = self.waiting.entry(item).or_insert(Item { count: 0, request });
        known.count += 1;
        if known.count > 1 {
            known.request = None;
        }
    }

    /// `item` was got out of a queue: for whom it was put.
    pub(super) fn got(&mut self, item: UnitId) -> Option<SpanId> {
        let known = self.waiting.get_mut(&item)?;
        known.count -= 1;
        let (request, is_last) = (known.request, known.count == 0);
        if is_last {
            self.waiting.remove(&item);
        }
        request
    }

    /// Forgets them all: puts or gets were missed.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_is_put_twice_is_nobodys_until_it_is_gone() {
        let mut items = Items::default();
        let (item, put) = (UnitId(7), |number| Some(SpanId(number)));
        items.put(item, put(1));
        assert_eq!((items.got(item), items.got(item)), (put(1), None));
        items.put(item, None);
        items.put(item, put(2));
        assert_eq!((items.got(item), items.got(item)), (None, None));
        items.put(item, put(3));
        assert_eq!(items.got(item), put(3));
    }
}
