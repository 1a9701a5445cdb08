//! Live capture against real sockets, on both hooks. Needs root; says SKIPPED where it cannot run.
#![cfg(feature = "live")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod calls;
mod driver;
mod runtimes;
mod session;
mod uring;
mod watching;

/// No test of its own: the process that plays a scenario starts here.
#[test]
fn driver() {
    driver::play();
}
