//! Handler: a protocol that a program registers at run time, as two functions over bytes.
//!
//! It is asked after the table: a row that is sure keeps its connections, rows that only guess give
//! way. Nobody has read these functions, so a panic of one is caught and counted, and the handler is
//! switched off; texts and attributes are bounded.

mod parser;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deeptrace_model::Transport;

use crate::metadata::Kind;
use crate::{CARRIED, Head, Parser, ProtocolMetadata, Recognition, Side, TABLE};

/// Handlers of one stage.
pub const HANDLERS_MAX: usize = 32;

/// Bytes of a name.
const NAME_MAX: usize = 64;

type Detect = dyn Fn(&[u8]) -> bool + Send + Sync;
type Parse = dyn Fn(&[u8]) -> ProtocolMetadata + Send + Sync;

/// A registered protocol. Clones share the functions and the switch.
#[derive(Clone)]
pub struct Handler(Arc<Registered>);

struct Registered {
    name: &'static str,
    detect: Box<Detect>,
    parse: Box<Parse>,
    is_off: AtomicBool,
    panics: AtomicU64,
    /// Texts that were cut and attributes that were dropped.
    cuts: AtomicU64,
}

/// Why a handler is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerError {
    /// The name is empty, too long, or has other characters than it may.
    Name(&'static str),
    /// Another protocol has that name.
    Taken(&'static str),
    /// There are [`HANDLERS_MAX`] already.
    TooMany,
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "protocol `{name}`: a name has 1 to {NAME_MAX} lower-case letters, digits, `_`, \
                 `-` and `.`"
            ),
            Self::Taken(name) => write!(
                f,
                "protocol `{name}`: the name is taken; `deeptrace protocols` lists all names"
            ),
            Self::TooMany => write!(f, "more than {HANDLERS_MAX} protocols are registered"),
        }
    }
}

impl std::error::Error for HandlerError {}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handler").field(&self.name()).finish()
    }
}

impl Handler {
    /// A handler of connections of which `detect` says yes to the first bytes of a call; `parse` then
    /// says what the bytes at the front of one direction are.
    pub fn new(
        name: &'static str,
        detect: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
        parse: impl Fn(&[u8]) -> ProtocolMetadata + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Registered {
            name,
            detect: Box::new(detect),
            parse: Box::new(parse),
            is_off: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        }))
    }

    /// Its name, as in `deeptrace protocols`.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Whether they can work beside the table and beside each other.
    pub fn check(handlers: &[Self]) -> Result<(), HandlerError> {
        if handlers.len() > HANDLERS_MAX {
            return Err(HandlerError::TooMany);
        }
        for (index, handler) in handlers.iter().enumerate() {
            let name = handler.name();
            let fits = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte)
            };
            if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fits) {
                return Err(HandlerError::Name(name));
            }
            let carried = CARRIED.iter().map(|carried| carried.0);
            let mut built_in = TABLE.iter().map(|row| row.name).chain(carried);
            let mut earlier = handlers[..index].iter().map(Self::name);
            if built_in.any(|other| other == name) || earlier.any(|other| other == name) {
                return Err(HandlerError::Taken(name));
            }
        }
        Ok(())
    }

    /// Tells the counters of all handlers.
    pub(crate) fn counters(handlers: &[Self], out: &mut dyn FnMut(&'static str, u64)) {
        let sum = |of: fn(&Registered) -> &AtomicU64| {
            handlers.iter().map(|handler| of(&handler.0).load(Ordering::Relaxed)).sum()
        };
        out("protocol_handler_panics_total", sum(|handler| &handler.panics));
        out("protocol_handler_cuts_total", sum(|handler| &handler.cuts));
    }

    /// Whether the bytes are of this protocol. Which side sent them is what their kind says, where
    /// the opening of the connection was not seen.
    pub(crate) fn recognise(&self, head: &Head<'_>) -> Recognition {
        let is_stream = matches!(head.transport, Transport::Tcp | Transport::UnixStream);
        if !is_stream || !self.detects(head.bytes) {
            return Recognition::No;
        }
        let usual = match self.ask(head.bytes).kind {
            Kind::NotMine => return Recognition::No,
            Kind::Request | Kind::OneWay => Some(Side::Client),
            Kind::Response => Some(Side::Server),
            Kind::Skip | Kind::NeedMore => None,
        };
        head.from.or(usual).map_or(Recognition::No, Recognition::Yes)
    }

    /// A parser for a new connection.
    pub(crate) fn parser(&self) -> Box<dyn Parser> {
        Box::new(parser::Handled::new(self.clone()))
    }

    fn detects(&self, bytes: &[u8]) -> bool {
        self.guarded(|| (self.0.detect)(bytes)).unwrap_or(false)
    }

    fn ask(&self, bytes: &[u8]) -> ProtocolMetadata {
        self.guarded(|| (self.0.parse)(bytes)).unwrap_or_else(ProtocolMetadata::not_mine)
    }

    /// Runs a function of the handler unless it is switched off; a panic switches it off.
    fn guarded<T>(&self, function: impl FnOnce() -> T) -> Option<T> {
        if self.is_off() {
            return None;
        }
        let done = catch_unwind(AssertUnwindSafe(function));
        if done.is_err() {
            self.0.is_off.store(true, Ordering::Relaxed);
            self.0.panics.fetch_add(1, Ordering::Relaxed);
        }
        done.ok()
    }

    fn is_off(&self) -> bool {
        self.0.is_off.load(Ordering::Relaxed)
    }

    fn count_cuts(&self, cuts: u64) {
        if cuts > 0 {
            self.0.cuts.fetch_add(cuts, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
