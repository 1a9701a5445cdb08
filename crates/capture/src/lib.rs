//! Kernel to events: live capture, recordings, packet captures, process discovery.
//!
//! The product's only C and only `unsafe` code is here, below `live`. Everything else builds and
//! runs without root, clang or libbpf.

pub mod container;
pub mod host;
#[cfg(feature = "live")]
pub mod live;
pub mod pcap;
pub mod process;
pub mod recording;
#[cfg(feature = "live")]
pub mod scheduling;
pub mod service;
mod source;
pub mod watch;

pub use source::{Progress, Source, SourceError};
