//! Pace: long work in short pieces, so that a watched application on the same processor never waits for
//! the whole of it.
//!
//! The kernel looks for who else wants the processor when somebody wakes up, and else only at its tick,
//! every 1 to 10 ms. A thread that works for longer than a request takes must therefore stop by itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Work after which there is a rest.
const PIECE: Duration = Duration::from_micros(80);
/// The rest is so many times as long as what was worked, so that this thread never has more than a quarter of
/// a processor.
const REST: u32 = 3;

/// No rest is longer than after a piece of this length.
const PIECE_MAX: Duration = Duration::from_millis(50);

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
        let worked = self.begun.elapsed();
        if self.is_gentle && worked >= PIECE {
            // A piece that could not be cut, as compressing for long cannot, rests for as long again and more.
            sleep(worked.min(PIECE_MAX) * REST);
            self.begun = Instant::now();
        }
    }
}
