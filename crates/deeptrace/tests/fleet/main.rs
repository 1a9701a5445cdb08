//! Real servers and the senders of real agents, over HTTP.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent;
#[path = "../../../server/benches/store/demo.rs"]
#[expect(dead_code, reason = "the bench of the store needs more of it")]
mod demo;
mod kept;
mod orders;
#[path = "../../../server/tests/parts/mod.rs"]
mod parts;
mod refused;
mod server;
