//! Events and messages into evidence: who worked for whom inside a process, as far as it can be
//! observed without looking at wake-ups.
//!
//! Two rules so far: a unit that reads a request and answers it, with no other request in between,
//! works for that request all that time (a *pin*); and a call that such a unit makes while its only
//! request is answered by somebody else was made in that request's context (*thread*). Both abstain
//! where units take turns: on event loops, and in processes whose work migrates between threads.
//!
//! Wake-ups, hand-overs and the units of language runtimes are files to be added beside these.
#![forbid(unsafe_code)]

mod contexts;
mod pin;
mod process;

pub use contexts::{Contexts, Input, Options};
