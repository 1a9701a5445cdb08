//! Pin: a unit read a request and answered it, with no other request in between.
//!
//! Assumes that such a unit works for nobody else meanwhile. Timers and housekeeping on the same thread
//! break it; they are rare on threads that serve requests. Where calls may migrate between
//! threads a pin holds only if its calls came one after the other and each came back to its thread.

use crate::process::Request;
use crate::unit::{Made, Unit};

/// Whether `writer`, which answered `request` from its first byte to its last, is pinned to it.
pub(crate) fn is_pinned(request: &Request, is_reader: bool, writer: &Unit) -> bool {
    // Another request that it reads now, of another stream, makes it a loop.
    let alone = writer.reading.iter().all(|(stream, _)| *stream == request.stream);
    is_reader && !request.shared && alone
}

/// Whether `calls` came one after the other, and each came back to the thread that sent it.
pub(crate) fn is_in_sequence(calls: &[Made]) -> bool {
    let here = |call: &Made| call.returned.is_some_and(|(_, here)| here);
    let ended = |call: &Made, next: &Made| call.returned.is_some_and(|(at, _)| at <= next.time);
    calls.iter().all(here) && calls.windows(2).all(|pair| ended(&pair[0], &pair[1]))
}
