//! Turns: on an event loop, what is written was caused by what was read right before, where that holds.
//!
//! Whether it holds is checked by every answer: its request is known from its connection. A label goes from
//! the request that was read to the calls written next, and from each response to what is written after
//! it; a chain that leads from an answer back to its own request is closed. While chains close, the calls
//! on them are believed, and at a higher share also those beside them. Loops that react turns later, or
//! after timers, close no chains and get no answer. One load proves nothing for another: shares are
//! counted by how many requests were open.

use std::collections::VecDeque;

use deeptrace_model::{BootTime, SpanId, UnitId};
use rustc_hash::FxHashMap;

/// Reads of a thread that are remembered: an answer may be written in several parts.
const READS_MAX: usize = 64;
/// Loops, and calls of a process, that are remembered; beyond, nothing is said of new ones.
const THREADS_MAX: usize = 256;
const CALLS_MAX: usize = 16_384;
/// Answers that must have been seen with about as many requests open.
const ANSWERS_MIN: f32 = 20.0;
/// Share of chains that must close before the calls on them are believed, and those beside them.
const CLOSED_MIN: f32 = 0.9;
const BESIDE_MIN: f32 = 0.98;
/// Counts are halved when they reach this, so that the last minutes decide.
const COUNT_MAX: f32 = 400.0;
/// How sure a closed chain is at best.
const SURE: f32 = 0.985;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Request(SpanId),
    /// The response to this call.
    Response(SpanId),
}

#[derive(Debug)]
struct Call {
    thread: UnitId,
    start: BootTime,
    request: SpanId,
    source: Source,
    is_returned: bool,
}

/// The loops of one process.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    reads: FxHashMap<UnitId, VecDeque<(BootTime, Source)>>,
    calls: FxHashMap<SpanId, Call>,
    made: FxHashMap<SpanId, Vec<SpanId>>,
    /// By the logarithm of the number of open requests to the base of 4.
    closed: [Share; 8],
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    closed: f32,
    all: f32,
}

impl Share {
    fn count(&mut self, closed: bool) {
        self.closed += f32::from(u8::from(closed));
        self.all += 1.0;
        if self.all > COUNT_MAX {
            self.closed /= 2.0;
            self.all /= 2.0;
        }
    }

    fn value(&self) -> f32 {
        if self.all < ANSWERS_MIN { 0.0 } else { self.closed / self.all }
    }
}

impl Turns {
    /// A request was read by `thread`.
    pub(crate) fn read(&mut self, thread: UnitId, time: BootTime, request: SpanId) {
        self.source(thread, time, Source::Request(request));
    }

    /// The response to `call` was read by `thread`.
    pub(crate) fn returned(&mut self, thread: UnitId, time: BootTime, call: SpanId) {
        if let Some(known) = self.calls.get_mut(&call) {
            known.is_returned = true;
        }
        self.source(thread, time, Source::Response(call));
    }

    /// `thread` sent a call.
    pub(crate) fn called(&mut self, thread: UnitId, time: BootTime, call: SpanId) {
        let Some(source) = self.before(thread, time) else { return };
        let Some(request) = self.label(source) else { return };
        if self.calls.len() < CALLS_MAX {
            self.calls
                .insert(call, Call { thread, start: time, request, source, is_returned: false });
            self.made.entry(request).or_default().push(call);
        }
    }

    /// `thread` began to write the answer to `request` at `time`, with so many requests open. Tells the
    /// calls that were made for it, each with how sure that is.
    pub(crate) fn answered(
        &mut self,
        thread: UnitId,
        time: BootTime,
        request: SpanId,
        open: usize,
        out: &mut dyn FnMut(SpanId, f32),
    ) {
        let source = self.before(thread, time);
        let label = source.and_then(|source| self.label(source));
        let closes = label == Some(request);
        let mut share = 0.0;
        let made = self.made.remove(&request).unwrap_or_default();
        // Alone, everything closes, and what called nobody closes as well.
        let is_case = !made.is_empty() || source != Some(Source::Request(request));
        if open >= 2 && label.is_some() && is_case {
            let shares = &mut self.closed[(open.ilog(4) as usize).min(7)];
            share = shares.value();
            shares.count(closes);
        }
        if closes && share >= CLOSED_MIN {
            let path = self.path(source);
            for call in &made {
                let known = self.calls.get(call);
                let is_own = known.is_some_and(|call| call.is_returned && call.thread == thread);
                let is_beside = share >= BESIDE_MIN && !path.is_empty();
                if is_own && (is_beside || path.contains(call)) {
                    out(*call, SURE * share.max(0.95));
                }
            }
        }
        for call in &made {
            self.calls.remove(call);
        }
    }

    /// Forgets a request that nobody will answer.
    pub(crate) fn abandoned(&mut self, request: SpanId) {
        for call in self.made.remove(&request).unwrap_or_default() {
            self.calls.remove(&call);
        }
    }

    /// Forgets what is older than `before`.
    pub(crate) fn expire(&mut self, before: BootTime) {
        self.reads.retain(|_, reads| reads.back().is_some_and(|(time, _)| *time >= before));
        self.calls.retain(|_, call| call.start >= before);
        let calls = &self.calls;
        self.made.retain(|_, made| {
            made.retain(|call| calls.contains_key(call));
            !made.is_empty()
        });
    }

    fn source(&mut self, thread: UnitId, time: BootTime, source: Source) {
        if self.reads.len() >= THREADS_MAX && !self.reads.contains_key(&thread) {
            return;
        }
        let reads = self.reads.entry(thread).or_default();
        if reads.len() >= READS_MAX {
            reads.pop_front();
        }
        reads.push_back((time, source));
    }

    /// What `thread` had read last at `time`.
    fn before(&self, thread: UnitId, time: BootTime) -> Option<Source> {
        let reads = self.reads.get(&thread)?.iter().rev();
        reads.clone().find(|(read, _)| *read <= time).map(|(_, source)| *source)
    }

    fn label(&self, source: Source) -> Option<SpanId> {
        match source {
            Source::Request(request) => Some(request),
            Source::Response(call) => self.calls.get(&call).map(|call| call.request),
        }
    }

    /// The calls on the way from `source` back to the request.
    fn path(&self, mut source: Option<Source>) -> Vec<SpanId> {
        let mut path = Vec::new();
        while let Some(Source::Response(call)) = source
            && let Some(known) = self.calls.get(&call)
            && path.len() < READS_MAX
        {
            path.push(call);
            source = Some(known.source);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `script` many times over: `<N` reads request N, `+N` sends call N, `-N` reads its response,
    /// `>N` answers. Returns what was told in the last round.
    fn run(script: &str, open: usize) -> String {
        let (mut turns, mut told, thread) = (Turns::default(), String::new(), UnitId(1));
        let mut now = 0;
        for round in 0..100 {
            told.clear();
            for word in script.split(' ') {
                now += 1;
                let number: u64 = word[1..].parse().expect("a number");
                let (time, request) = (BootTime(now), SpanId(round * 100 + number));
                let call = SpanId(1_000_000 + round * 100 + number);
                match &word[..1] {
                    "<" => turns.read(thread, time, request),
                    "+" => turns.called(thread, time, call),
                    "-" => turns.returned(thread, time, call),
                    _ => turns.answered(thread, time, request, open, &mut |call, _| {
                        told += &format!("{}:{number} ", call.0 % 100);
                    }),
                }
            }
        }
        assert!(turns.calls.len() < 10 && turns.made.len() < 10);
        told
    }

    #[test]
    fn loops_that_react_at_once_are_believed_and_others_are_not() {
        let table: &[(&str, &str, &str)] = &[
            ("in turn", "<1 +1 <2 +2 -1 +3 -2 +4 -3 >1 -4 >2", "1:1 3:1 2:2 4:2 "),
            ("two at once", "<1 +1 +2 <2 +3 +4 -1 -3 -4 >2 -2 >1", "3:2 4:2 1:1 2:1 "),
            ("a turn later", "<1 <2 +1 +2 -1 -2 >1 >2", ""),
            ("after timers", "<1 <2 +1 <3 +2 +3 -1 >1 -2 >2 -3 >3", ""),
        ];
        for (name, script, expected) in table {
            assert_eq!(run(script, 3), *expected, "{name}");
        }
        assert_eq!(run(table[0].1, 1), "", "alone, nothing is proved");
    }
}
