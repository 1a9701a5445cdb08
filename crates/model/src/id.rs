//! Identifiers as newtypes, so that two bare numbers never stand side by side.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Direction;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);
    };
}

number!(
    /// Position of an event in what its source delivered; unique within one run of a source.
    EventId(u64)
);
number!(
    /// One socket of this boot: the kernel's socket cookie. The two ends of a connection on one
    /// host are two sockets and have two ids.
    ConnectionId(u64)
);
number!(
    /// Process id (the kernel's `tgid`) in the initial pid namespace.
    Pid(u32)
);
number!(
    /// Thread id (the kernel's `pid`) in the initial pid namespace.
    Tid(u32)
);
number!(
    /// What ran: the thread, or a runtime's own unit (goroutine, task, context) where one was
    /// read. Unique within its process. A thread's unit is its tid.
    UnitId(u64)
);
number!(
    /// Id of a span: a hash of boot id, socket, direction, start and stream, never zero.
    SpanId(u64)
);
number!(
    /// Id of a trace: the application's own W3C trace id, or one derived from the root span.
    TraceId(u128)
);

/// What a [`UnitId`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitKind {
    /// A thread.
    Thread,
    /// A task of the language's runtime, which receives and sends: a goroutine, virtual thread or
    /// greenlet.
    Task,
    /// A context, which sends; what is received may run in another: CPython's.
    Context,
    /// An object in a queue, which does nothing itself: it carries work.
    Item,
}

impl UnitId {
    /// Of a thread.
    pub fn of(tid: Tid) -> Self {
        Self(u64::from(tid.0))
    }

    /// What it names. Its highest byte says so.
    pub fn kind(self) -> UnitKind {
        match self.0 >> 56 {
            0 => UnitKind::Thread,
            1 => UnitKind::Task,
            2 => UnitKind::Context,
            _ => UnitKind::Item,
        }
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl SpanId {
    /// Id of the span whose request starts at `request_start` (see [`Message::start`]) and goes
    /// in `direction` on `stream`, on the host that booted as `boot`.
    ///
    /// Any stage that sees the request can compute it, so evidence names spans before they exist,
    /// and a span sent twice is stored once.
    ///
    /// [`Message::start`]: crate::Message::start
    pub fn derive(boot: u64, stream: StreamKey, direction: Direction, request_start: u64) -> Self {
        let parts = [boot, stream.connection.0, stream.stream, direction as u64, request_start];
        Self(hash64(&parts).max(1))
    }
}

impl TraceId {
    /// The id of a trace that has no id of its own: derived from its root span, never zero.
    pub fn from_root(root: SpanId) -> Self {
        let (high, low) = (u128::from(mix(root.0 ^ SEED)), u128::from(mix(root.0 ^ STEP)));
        Self((high << 64 | low).max(1))
    }

    /// The span that this id was derived from; `None` for an id of another origin. So a trace is
    /// found by any id it ever had, without an index of ids.
    pub fn root(self) -> Option<SpanId> {
        let root = SpanId(unmix((self.0 >> 64) as u64) ^ SEED);
        (Self::from_root(root) == self).then_some(root)
    }
}

/// A connection, and the stream on it where the protocol has several (HTTP/2 stream id, DNS
/// transaction id); zero where it has one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StreamKey {
    /// The socket.
    pub connection: ConnectionId,
    /// The protocol's own id of the stream or transaction.
    pub stream: u64,
}

number!(
    /// Names an exchange (request and response) alike on both of its sides; see [`Exchange`].
    ///
    /// [`Exchange`]: crate::Exchange
    ExchangeKey(u64)
);
number!(
    /// Names a request alike on both of its sides, for exchanges that one side saw unanswered.
    RequestKey(u64)
);
number!(
    /// Names what is in a queue alike for who puts it there and who takes it: a hash of bytes that are
    /// handed on as they are, and are not the same twice.
    ItemKey(u64)
);

/// A 64-bit hash of `parts` that is the same on every host, build and run.
///
/// Each step multiplies to 128 bits and folds them, as wyhash does (Wang Yi, 2019). Not for
/// adversaries.
pub fn hash64(parts: &[u64]) -> u64 {
    let mut hash = SEED ^ parts.len() as u64;
    for part in parts {
        hash = fold(hash ^ part, STEP);
    }
    fold(hash ^ STEP, SEED)
}

/// [`hash64`] of bytes, sixteen at a time, little-endian, with their length.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ bytes.len() as u64;
    let mut add = |chunk: u128| hash = fold(chunk as u64 ^ hash, (chunk >> 64) as u64 ^ STEP);
    let (whole, rest) = bytes.as_chunks::<16>();
    whole.iter().for_each(|chunk| add(u128::from_le_bytes(*chunk)));
    if !rest.is_empty() {
        // Filled up with zeros; where there is more before it, read with that, which is shifted out.
        add(match bytes.last_chunk::<16>() {
            Some(last) => u128::from_le_bytes(*last) >> (128 - 8 * rest.len()),
            None => {
                let mut last = [0; 16];
                last[..rest.len()].copy_from_slice(rest);
                u128::from_le_bytes(last)
            }
        });
    }
    fold(hash ^ STEP, SEED)
}

/// Odd numbers without pattern: the golden ratio, and a constant of SplitMix64.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const STEP: u64 = 0xbf58_476d_1ce4_e5b9;

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection on 64 bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The inverse of [`mix`]: shifts undone, multiplied with the inverses modulo 2^64.
fn unmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    z ^ (z >> 30) ^ (z >> 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_trace_id_tells_its_root() {
        for root in [1, 2, 0x0feb_140f_dd9c_27a6, u64::MAX] {
            let id = TraceId::from_root(SpanId(root));
            assert_eq!(id.root(), Some(SpanId(root)));
            assert_eq!(TraceId(id.0 ^ 1).root(), None);
        }
    }

    #[test]
    fn hashes_are_pinned_because_they_are_stored() {
        assert_eq!(hash64(&[1, 2, 3]), hash64(&[1, 2, 3]));
        assert_ne!(hash64(&[1, 2, 3]), hash64(&[1, 3, 2]));
        assert_ne!(hash64(&[0]), hash64(&[0, 0]));
        assert_ne!(hash_bytes(b"abc"), hash_bytes(b"abc\0"));
        let stream = StreamKey { connection: ConnectionId(7), stream: 0 };
        assert_eq!(
            SpanId::derive(1, stream, Direction::Received, 42).to_string(),
            "aec387bded1eee4f"
        );
        assert_eq!(hash_bytes(b"GET / HTTP/1.1\r\n"), 6_317_892_764_629_849_785);
    }
}
