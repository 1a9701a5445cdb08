//! What is to be erased: named by a field and a value ([`Target`]), kept as a [`Tombstone`] that holds a
//! salted hash of the value and never the value, and answered for by a signed [`Receipt`].
//!
//! Depends on the vocabulary only, so that servers, agents and commands can all ask a tombstone.
#![forbid(unsafe_code)]

mod field;
mod hex;
mod needle;
mod receipt;
mod strip;
mod target;
mod tombstone;

pub use field::{Field, USER_ATTRIBUTES};
pub use receipt::{Key, KeyError, Receipt, Statement, VerifyError};
pub use strip::strip;
pub use target::{Target, TargetError};
pub use tombstone::{State, Tombstone};

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("get random bytes from the system: see getrandom(2)")]
pub struct NoRandom;

/// Random bytes.
fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)
        .map_err(|_| NoRandom)?;
    Ok(bytes)
}
