//! The state of an open request: what it has done, and what it waits for.

use deeptrace_model::hash64;

use crate::algorithm::Call;

/// Calls that may be outstanding at once; more are not remembered.
const OUTSTANDING_MAX: usize = 10;
/// A class that is none: the request's end.
pub(super) const END: u64 = u64::MAX;
/// The same: another request of its trace came.
pub(super) const JOINED: u64 = u64::MAX - 1;
/// The same: one of them was answered.
pub(super) const LEFT: u64 = u64::MAX - 2;
/// The same: the answer to its call came, before it did anything else.
pub(super) const RETURNED: u64 = u64::MAX - 3;

/// The bit of a call in [`State::waits`].
pub(super) fn waits_bit(call: u32) -> u64 {
    1 << (call & 63)
}

/// One request on its walk. What is the same is interchangeable.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Index of the request.
    pub(super) request: u32,
    /// Class of the request, with its arrival.
    class: u64,
    /// When it did something last.
    pub(super) last: i64,
    /// When the last answer comes that it waits for; or when it did something last.
    pub(super) ready: i64,
    /// Thread or context of what it did last; zero: not known.
    pub(super) unit: u64,
    /// Classes of its last three calls, latest first.
    calls: [u64; 3],
    made: u8,
    waits: u8,
    outstanding: [u32; OUTSTANDING_MAX],
    /// What it is looked up by, from the most to the least exact.
    pub(super) keys: [u64; 3],
    /// Of all of it.
    pub(super) hash: u64,
}

impl State {
    pub(super) fn new(request: u32, class: u64, start: i64, unit: Option<u64>) -> Self {
        let mut state = Self {
            request,
            class,
            last: start,
            ready: start,
            unit: unit.unwrap_or(0),
            calls: [0; 3],
            made: 0,
            waits: 0,
            outstanding: [0; OUTSTANDING_MAX],
            keys: [0; 3],
            hash: 0,
        };
        state.seal();
        state
    }

    /// It makes a call.
    pub(super) fn called(&self, at: u32, call: &Call) -> Self {
        let mut next = self.clone();
        let end = if call.end == i64::MAX { call.start } else { call.end };
        next.calls = [call.class, self.calls[0], self.calls[1]];
        next.made = self.made.saturating_add(1);
        next.last = call.start;
        next.ready = self.ready.max(end);
        next.unit = call.units[0].unwrap_or(0);
        if let Some(room) = next.outstanding.get_mut(usize::from(next.waits)) {
            *room = at;
            next.waits += 1;
        }
        next.seal();
        next
    }

    /// Another request of its trace came, or was answered.
    pub(super) fn met(&self, what: u64, time: i64) -> Self {
        let mut next = self.clone();
        next.calls = [what, self.calls[0], self.calls[1]];
        next.made = self.made.saturating_add(1);
        next.last = time;
        next.ready = self.ready.max(time);
        next.seal();
        next
    }

    /// One bit for each call that it waits for; others may have the same.
    pub(super) fn waits(&self) -> u64 {
        self.outstanding[..usize::from(self.waits)].iter().fold(0, |bits, it| bits | waits_bit(*it))
    }

    pub(super) fn waits_for(&self, call: u32) -> bool {
        self.outstanding[..usize::from(self.waits)].contains(&call)
    }

    /// The answer to its call came.
    pub(super) fn returned(&self, call: u32, time: i64, unit: Option<u64>) -> Self {
        let mut next = self.clone();
        let waits = usize::from(self.waits);
        if let Some(at) = self.outstanding[..waits].iter().position(|it| *it == call) {
            next.outstanding.copy_within(at + 1..waits, at);
            next.waits -= 1;
            next.outstanding[usize::from(next.waits)] = 0;
        }
        next.last = time;
        next.ready = self.ready.max(time);
        next.unit = unit.unwrap_or(0);
        next.seal();
        next
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waits > 0
    }

    /// Whether the two stand at the same point of the same walk.
    pub(super) fn is_level_with(&self, other: &Self) -> bool {
        (self.class, self.made, self.calls) == (other.class, other.made, other.calls)
    }

    fn seal(&mut self) {
        let waits = u64::from(self.waits);
        let [latest, second, third] = self.calls;
        self.keys = [
            hash64(&[
                self.class,
                u64::from(self.made.min(15)),
                latest,
                second,
                third,
                waits.min(4),
            ]),
            hash64(&[self.class, latest, u64::from(waits > 0)]),
            hash64(&[self.class, u64::from(waits > 0)]),
        ];
        let mut outstanding = 0_u64;
        for call in &self.outstanding[..usize::from(self.waits)] {
            outstanding = hash64(&[outstanding, u64::from(*call)]);
        }
        let identity = [
            u64::from(self.request),
            self.last as u64,
            self.unit,
            latest,
            second,
            third,
            u64::from(self.made),
            outstanding,
        ];
        self.hash = hash64(&identity);
    }
}
