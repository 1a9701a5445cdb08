//! The agent: what of a host is watched, within which limits, and what of it can be asked and
//! changed while it runs.
#![forbid(unsafe_code)]

#[cfg(feature = "live")]
pub mod capturing;
pub mod config;
pub mod control;
pub mod http;
pub mod limits;
#[cfg(feature = "live")]
pub mod live;
pub mod pipeline;
pub mod redacting;
pub mod sampling;
pub mod sender;
pub mod sink;
pub mod status;
pub mod written;
