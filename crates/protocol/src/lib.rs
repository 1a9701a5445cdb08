//! Bytes of socket calls into messages: recognition, reassembly, one file per protocol.
#![forbid(unsafe_code)]

mod parser;

pub use parser::{CopyPolicy, Draft, Head, Input, Parser, Protocol, Recognition, Side, Verdict};

/// All protocols, in the order in which they are asked.
pub const TABLE: &[Protocol] = &[];
