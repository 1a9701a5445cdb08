//! DeepTrace as a library: what the binary is made of, for programs that add protocols of their own.
//!
//! Such a program registers them and then is `deeptrace`, with all its commands:
//!
//! ```no_run
//! use deeptrace::{ProtocolMetadata, register_protocol_handler};
//!
//! /// Whether the first bytes of a call are of this protocol.
//! pub fn detect_custom_protocol(payload: &[u8]) -> bool {
//!     payload.starts_with(b"CUST")
//! }
//!
//! /// What the bytes at the front of one direction are: here always a head of eight bytes, which
//! /// ends with the length of what follows.
//! pub fn parse_custom_protocol(payload: &[u8]) -> ProtocolMetadata {
//!     match payload {
//!         [b'C', b'U', b'S', b'T', kind, _, high, low, ..] => {
//!             let length = 8 + usize::from(u16::from_be_bytes([*high, *low]));
//!             match kind {
//!                 0 => ProtocolMetadata::request(length, "ASK"),
//!                 _ => ProtocolMetadata::response(length),
//!             }
//!         }
//!         _ if payload.len() < 8 => ProtocolMetadata::need_more(),
//!         _ => ProtocolMetadata::not_mine(),
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     register_protocol_handler("custom", detect_custom_protocol, parse_custom_protocol);
//!     deeptrace::main()
//! }
//! ```
#![forbid(unsafe_code)]

mod answerer;
mod arguments;
mod audited;
mod cli;
mod client;
mod commands;
pub mod config;
mod custom;
mod duty;
mod keeper;
pub mod kept;
pub mod layers;
mod output;
mod progress;
mod settings;
mod span_log;

pub use cli::main;
use cli::{Cli, Common};
pub use custom::register_protocol_handler;
pub use deeptrace_protocol::ProtocolMetadata;
