//! Relay: what agents tell each other of the traces that they keep.

/// The way to the other agents.
///
/// What one publishes every other one receives, once or more, in any order, within a second or so.
/// Neither call may block: the ring buffer fills meanwhile.
pub trait Relay: Send {
    /// Tells keys to the others. What cannot be told MUST come back as `has_missed` of a later
    /// [`receive`](Self::receive).
    fn publish(&mut self, keys: &[u64]);

    /// Gives out the keys that came since the last time.
    fn receive(&mut self, out: &mut dyn FnMut(u64)) -> Reach;

    /// Tells each counter with its value since the start.
    fn counters(&self, _out: &mut dyn FnMut(&'static str, u64)) {}
}

/// How well the others are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There are no others: what is seen here is all.
    Alone,
    /// They are heard, and hear us.
    Joined {
        /// Something may have been lost since the last time, either way.
        has_missed: bool,
    },
    /// They cannot be heard now.
    Apart,
}

/// No other agents: one host, or an agent without a server.
pub struct Alone;

impl Relay for Alone {
    fn publish(&mut self, _: &[u64]) {}

    fn receive(&mut self, _: &mut dyn FnMut(u64)) -> Reach {
        Reach::Alone
    }
}
