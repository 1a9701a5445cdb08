//! Real servers and the senders of real agents, over HTTP.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent;
mod orders;
mod server;
