//! Pace: long work in short pieces, so that a watched application on the same processor never waits for
//! the whole of it.
//!
//! The kernel looks for who else wants the processor when somebody wakes up, and else only at its tick,
//! every 1 to 10 ms. A thread that works for longer than a request takes must therefore stop by itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Work after which there is a rest.
const PIECE: Duration = Duration::from_micros(80);
/// The rest: three times as long, so that this thread never has more than a quarter of a processor.
const REST: Duration = Duration::from_micros(240);

/// The pace of one thread.
#[derive(Debug)]
pub(super) struct Pace {
    is_gentle: bool,
    begun: Instant,
}

impl Pace {
    /// Work begins now; it rests at all only where `is_gentle`.
    pub(super) fn new(is_gentle: bool) -> Self {
        Self { is_gentle, begun: Instant::now() }
    }

    /// To be called between steps of a few microseconds.
    pub(super) fn step(&mut self) {
        if self.is_gentle && self.begun.elapsed() >= PIECE {
            sleep(REST);
            self.begun = Instant::now();
        }
    }
}
