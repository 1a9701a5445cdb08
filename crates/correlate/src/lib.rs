//! Spans and evidence into links: which request of a process made a call, how that was found, and how
//! sure it is.
//!
//! [`TABLE`] holds the algorithms; the order is that in which they are shown. `auto` weighs what there
//! is, strongest first; the others are there for comparison and for those who want one. [`Correlator`]
//! is the live stage; [`Offline`] correlates spans of any origin, window by window.
#![forbid(unsafe_code)]

mod algorithm;
mod auto;
mod background;
mod calibration;
mod chain;
mod correlator;
mod deepflow;
mod deeptrace;
mod fifo;
mod inferred;
mod mixture;
mod observation;
mod offline;
mod process;
mod published;
mod strong;
mod traceweaver;
mod tried;
mod vpath;
mod wap5;

pub use algorithm::{Algorithm, Call, Guess, Request, Row, Window};
pub use auto::WITHOUT;
pub use correlator::{Correlator, Input, Options};
pub use inferred::GENERATION as LIVE_GENERATION;
pub use observation::{Answer, Observation, Side};
pub use offline::{Offline, Options as OfflineOptions};
pub use published::{PUBLISHED, Published};
pub use tried::Tried;

/// Every algorithm.
pub const TABLE: &[Row] =
    &[auto::ROW, fifo::ROW, wap5::ROW, vpath::ROW, traceweaver::ROW, deepflow::ROW, deeptrace::ROW];

/// What is used where nobody chooses.
pub const AUTO: &Row = &auto::ROW;

/// The algorithm of that name.
pub fn algorithm(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}
