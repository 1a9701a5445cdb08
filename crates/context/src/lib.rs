//! Events and messages into evidence: who worked for whom inside a process, as far as it can be
//! observed.
//!
//! Units are threads, or what capture names as the unit of a call. A unit that reads a request and
//! answers it, with no other request in between, works for that request all that time (`pin`). A call made
//! by the unit that read a request, or by the one that answered it, was made in its context where the two
//! differ (`thread`). Hand-overs between units lead from requests to calls, and results back (`flow`);
//! loops react in order (`turns`). Where many share a connection, each stream is one of its own (`streams`).
//! Each rule abstains where it does not hold. All is decided when a request is answered, on shared
//! connections a little later.
#![forbid(unsafe_code)]

mod contexts;
mod flow;
mod pin;
mod process;
mod regime;
mod streams;
mod thread;
mod turns;
mod unit;

pub use contexts::{Contexts, Input, Options};
