//! Protocols that the program around this library registers.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use deeptrace_protocol::{Handler, ProtocolMetadata};

static REGISTERED: Mutex<Vec<Handler>> = Mutex::new(Vec::new());

/// Adds a protocol of TCP and UNIX streams to those that [`main`](crate::main) understands; to be
/// called before it. `name` is what spans call it, and must be no other protocol's: `main` fails with
/// the reason if it is.
///
/// `detect` is asked whether the first bytes of a call, of either side, are of this protocol, on
/// connections of which no built-in protocol is sure, and after a loss. `parse` says what the bytes
/// at the front of one direction are, in order and with nothing missing, though perhaps only the
/// first part of a message, or several; it is asked again behind what it has told. Both MUST give the
/// same answer for the same bytes, and MUST return: they run on the thread that captures. A panic is
/// caught, counted (`protocol_handler_panics_total`) and the last thing the handler did, unless the
/// program is built with `panic = "abort"`.
pub fn register_protocol_handler(
    name: &'static str,
    detect: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    parse: impl Fn(&[u8]) -> ProtocolMetadata + Send + Sync + 'static,
) {
    let handler = Handler::new(name, detect, parse);
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner).push(handler);
}

/// What was registered.
pub(crate) fn handlers() -> Result<Vec<Handler>> {
    let handlers = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Handler::check(&handlers).context("a registered protocol cannot be used")?;
    Ok(handlers)
}
