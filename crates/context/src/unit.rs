//! Unit: what runs, a thread for now, with the requests it has read and the calls it has made.

use std::collections::VecDeque;

use deeptrace_model::{BootTime, SpanId, StreamKey};

/// Calls of one unit that wait for an answer to explain them; beyond, the oldest are forgotten.
const CALLS_MAX: usize = 256;

/// A call that a unit made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) span: SpanId,
    pub(crate) time: BootTime,
    /// When its response was read, and whether by the same unit.
    pub(crate) returned: Option<(BootTime, bool)>,
}

/// One unit.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    /// Requests that it read and nobody has answered yet.
    pub(crate) reading: VecDeque<(StreamKey, SpanId)>,
    /// Whether these are of several streams; then each of them is marked as shared.
    pub(crate) is_mixed: bool,
    /// Calls that no answer has explained yet, oldest first.
    pub(crate) calls: VecDeque<Made>,
    /// When it wrote its last answer: what it did before was not for what it answers next.
    pub(crate) answered: BootTime,
    /// When it last had two requests at once.
    pub(crate) shared: Option<BootTime>,
    /// When it last did anything.
    pub(crate) used: BootTime,
}

impl Unit {
    /// A request that it read was answered or forgotten.
    pub(crate) fn unread(&mut self, span: SpanId) {
        // Mostly the oldest: then nothing moves.
        if let Some(at) = self.reading.iter().position(|(_, other)| *other == span) {
            self.reading.remove(at);
        }
        // Looked at only while that is cheap: a loop with many requests stays one.
        if self.reading.len() <= 8 {
            let first = self.reading.front().map(|first| first.0);
            self.is_mixed = self.reading.iter().any(|other| Some(other.0) != first);
        }
    }

    /// It made a call. True: an older one had to be forgotten.
    pub(crate) fn call(&mut self, span: SpanId, time: BootTime) -> bool {
        self.used = self.used.max(time);
        self.calls.push_back(Made { span, time, returned: None });
        self.calls.len() > CALLS_MAX && self.calls.pop_front().is_some()
    }

    /// The response to one of its calls was read.
    pub(crate) fn returned(&mut self, span: SpanId, time: BootTime, here: bool) {
        if let Some(call) = self.calls.iter_mut().rev().find(|call| call.span == span) {
            call.returned = Some((time, here));
        }
    }

    /// Takes the calls made from `from` until `until`, and forgets earlier ones: nothing explains them.
    /// Returns how many were forgotten.
    pub(crate) fn take(&mut self, from: BootTime, until: BootTime, calls: &mut Vec<Made>) -> u64 {
        let mut forgotten = 0;
        self.calls.retain(|call| {
            if call.time < from {
                forgotten += 1;
            } else if call.time <= until {
                calls.push(*call);
            }
            call.time > until
        });
        forgotten
    }

    /// Forgets calls made before `time`.
    pub(crate) fn expire(&mut self, time: BootTime) -> u64 {
        let before = self.calls.len();
        self.calls.retain(|call| call.time >= time);
        (before - self.calls.len()) as u64
    }
}
