//! Rare values that a request shares with its calls: a user, an order number.

use rustc_hash::FxHashMap;

use crate::algorithm::Window;

/// A value is rare that at most this share of the requests carry, or two of them.
const RARE: f32 = 0.1;

/// The window with no other values than rare ones; `None` where there are none at all.
pub(super) fn rare(window: &Window) -> Option<Window> {
    let mut requests: FxHashMap<u64, u32> = FxHashMap::default();
    for token in window.requests.iter().flat_map(|request| &request.tokens) {
        *requests.entry(*token).or_default() += 1;
    }
    if requests.is_empty() {
        return None;
    }
    let most = ((window.requests.len() as f32 * RARE) as u32).max(2);
    let is_rare = |token: &u64| requests.get(token).is_some_and(|some| *some <= most);
    let mut window = window.clone();
    window.requests.iter_mut().for_each(|request| request.tokens.retain(is_rare));
    window.calls.iter_mut().for_each(|call| call.tokens.retain(is_rare));
    Some(window)
}

/// Whether two ordered lists share a value.
pub(super) fn shares(some: &[u64], others: &[u64]) -> bool {
    some.iter().any(|token| others.binary_search(token).is_ok())
}
