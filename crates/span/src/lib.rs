//! Messages into spans: pairs requests with responses, gives up on the unanswered, and names each
//! exchange so that its other side names it alike.
//!
//! Does no I/O and reads no clock; the same input gives the same output.
#![forbid(unsafe_code)]

mod alignment;
mod build;
mod connection;
mod counters;
mod names;
mod pairing;
mod spans;

pub use spans::{Input, Options, Output, Spans};
