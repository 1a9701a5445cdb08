//! Spans and evidence into links: which request of a process made a call, how that was found, and how
//! sure it is.
//!
//! [`TABLE`] holds the algorithms; the order is that in which they are shown. `auto` weighs what there
//! is, strongest first; the others are there for comparison and for those who want one.
#![forbid(unsafe_code)]

mod algorithm;
mod auto;
mod background;
mod calibration;
mod correlator;
mod fifo;
mod process;
mod vpath;

pub use algorithm::{Algorithm, Call, Candidate, Guess, Row};
pub use correlator::{Correlator, Input, Options};

/// Every algorithm.
pub const TABLE: &[Row] = &[auto::ROW, fifo::ROW, vpath::ROW];
