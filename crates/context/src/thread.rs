//! Thread: a call made by the unit that read a request, or by the one that wrote its answer, where these
//! are two.
//!
//! The reader works for what it read last until it reads the next; the writer works for what it answers
//! since it answered the last. Both are wrong for a unit that has several requests at once, so nothing is
//! said of a unit that had lately. Bias: a pool's thread that works for one request and then answers
//! another, without a sign in between, is not told apart; calls that outlive their request show it, and
//! lower the confidence.

use deeptrace_model::{BootTime, Duration};

use crate::unit::{Made, Unit};

/// A unit that had several requests at once is not believed for so long.
const LOOP_MEMORY: Duration = Duration::from_secs(60);
/// Stamps are taken at the end of calls.
const SLACK: Duration = Duration::from_millis(1);

/// Whether one request at a time can be told for this unit.
pub(crate) fn is_sequential(unit: &Unit, now: BootTime) -> bool {
    unit.shared.is_none_or(|time| now.since(time) > LOOP_MEMORY)
}

/// Whether the call ended before the request that is answered at `time`.
pub(crate) fn is_contained(call: &Made, time: BootTime) -> bool {
    call.returned.is_some_and(|(at, _)| at <= time.plus(SLACK))
}
