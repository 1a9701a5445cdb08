//! Pace: how often the store is looked at for what other servers have; more often while somebody waits for
//! the answer of an agent that polls another server.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks while somebody waits.
const CLOSE: Duration = Duration::from_millis(100);
/// After a question others are likely for so long.
const FOR: Duration = Duration::from_secs(10);

/// How often it is looked.
#[derive(Default)]
pub struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Until when looks are close together.
    until: Option<Instant>,
    is_now: bool,
}

impl Pace {
    /// Has the next look come at once, and others soon.
    pub fn hurry(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.until = Some(Instant::now() + FOR);
        state.is_now = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Waits for the next look, at most `longest`.
    pub fn rest(&self, longest: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_close = state.until.is_some_and(|until| Instant::now() < until);
        let rest = if is_close { CLOSE.min(longest) } else { longest };
        let rested = self.changed.wait_timeout_while(state, rest, |state| !state.is_now);
        rested.unwrap_or_else(PoisonError::into_inner).0.is_now = false;
    }
}
