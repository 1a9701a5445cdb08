//! Messages into spans: a request with its response, as seen by one side.
//!
//! [`Spans`] pairs messages by connection and stream, gives up what stays unanswered, names the
//! exchange so that both sides find each other ([`deeptrace_model::Exchange`]), and converts boot
//! time to wall time, once. Values are overwritten before they come here; `redact.rs` leaves out what
//! only a span tells that it must not be kept.
#![forbid(unsafe_code)]

mod assemble;
mod connection;
mod emit;
mod errno;
mod exchange;
mod gaps;
mod items;
mod judge;
mod names;
mod processes;
mod redact;
mod spans;
mod surroundings;

pub use spans::{Input, Options, Output, Spans};
