//! Events and messages into evidence: who worked for whom inside a process, as far as it can be
//! observed without looking at wake-ups.
//!
//! Units are threads for now, or what capture names as the unit of a call. Two rules so far. A unit that
//! reads a request and answers it, with no other request in between, works for that request all that
//! time (`pin`). A call made by the unit that read a request, or by the one that answered it, was made in
//! its context where the two differ (`thread`). Both abstain where units take turns: on event loops, and
//! in processes whose work migrates between threads. Everything is decided when a request is answered.
//!
//! Wake-ups, hand-overs and the units of language runtimes are files to be added beside these.
#![forbid(unsafe_code)]

mod contexts;
mod flow;
mod pin;
mod process;
mod regime;
mod thread;
mod turns;
mod unit;

pub use contexts::{Contexts, Input, Options};
