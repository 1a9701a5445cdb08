//! Turns: on an event loop, what is written was caused by what was read right before, where that holds.
//!
//! Whether it holds is checked by every answer: its request is known from its connection. A label goes from
//! the request that was read to the calls written next, and from each response to what is written after
//! it; a chain that leads from an answer back to its own request is closed. While chains close, the calls
//! on them are believed, and at a higher share also those beside them. Loops that react turns later, or
//! after timers, close no chains and get no answer. One load proves nothing for another: shares are
//! counted by how many requests were open.

use std::collections::VecDeque;

use deeptrace_model::{BootTime, Duration, SpanId, UnitId};
use rustc_hash::FxHashMap;

/// Reads of a thread that are remembered: an answer may be written in several parts.
const READS_MAX: usize = 64;
/// Loops, and calls of a process, that are remembered; beyond, nothing is said of new ones.
const THREADS_MAX: usize = 256;
const CALLS_MAX: usize = 16_384;
/// Closed chains of a process that wait until there are enough to judge by, and for how long.
const WAITING_MAX: usize = 256;
const WAIT: Duration = Duration::from_secs(2);
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
    closed: [Share; LOADS],
    waiting: VecDeque<Closed>,
}

const LOADS: usize = 8;

/// A chain that led from an answer back to its own request.
#[derive(Debug)]
struct Closed {
    time: BootTime,
    request: SpanId,
    load: usize,
    /// The calls of the request; whether each is on the chain.
    calls: Vec<(SpanId, bool)>,
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

    /// `None`: too few to judge by.
    fn value(&self) -> Option<f32> {
        (self.all >= ANSWERS_MIN).then(|| self.closed / self.all)
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

    /// `thread` began to write the answer to `request` at `time`, with so many requests open. Tells calls,
    /// each with the request that it was made for, and how sure that is.
    pub(crate) fn answered(
        &mut self,
        thread: UnitId,
        time: BootTime,
        request: SpanId,
        open: usize,
        out: &mut dyn FnMut(SpanId, SpanId, f32),
    ) {
        let source = self.before(thread, time);
        let label = source.and_then(|source| self.label(source));
        let closes = label == Some(request);
        let made = self.made.remove(&request).unwrap_or_default();
        // Alone, everything closes, and what called nobody closes as well.
        let is_case = !made.is_empty() || source != Some(Source::Request(request));
        if open >= 2 && label.is_some() && is_case {
            let load = (open.ilog(4) as usize).min(LOADS - 1);
            // By those before it.
            let share = self.share(load);
            self.closed[load].count(closes);
            if closes {
                let chain = self.chain(thread, time, request, load, source, &made);
                self.believe(chain, share, out);
            }
            self.catch_up(time, out);
        }
        for call in &made {
            self.calls.remove(call);
        }
    }

    fn chain(
        &self,
        thread: UnitId,
        time: BootTime,
        request: SpanId,
        load: usize,
        source: Option<Source>,
        made: &[SpanId],
    ) -> Closed {
        let path = self.path(source);
        let own = made.iter().filter(|call| {
            let known = self.calls.get(call);
            known.is_some_and(|call| call.is_returned && call.thread == thread)
        });
        let calls =
            own.filter(|_| !path.is_empty()).map(|call| (*call, path.contains(call))).collect();
        Closed { time, request, load, calls }
    }

    /// Tells the calls of a closed chain as far as such chains are believed, or keeps it until that is known.
    fn believe(
        &mut self,
        chain: Closed,
        share: Option<f32>,
        out: &mut dyn FnMut(SpanId, SpanId, f32),
    ) {
        let Some(share) = share else {
            if self.waiting.len() >= WAITING_MAX {
                self.waiting.pop_front();
            }
            self.waiting.push_back(chain);
            return;
        };
        for (call, is_on_it) in chain.calls {
            if share >= if is_on_it { CLOSED_MIN } else { BESIDE_MIN } {
                out(call, chain.request, SURE * share.max(0.95));
            }
        }
    }

    /// Tells of chains that waited what is known by now.
    fn catch_up(&mut self, now: BootTime, out: &mut dyn FnMut(SpanId, SpanId, f32)) {
        let since = now.minus(WAIT);
        while let Some(first) = self.waiting.front() {
            let share = self.share(first.load);
            if share.is_none() && first.time >= since {
                break;
            }
            let Some(first) = self.waiting.pop_front() else { break };
            if share.is_some() && first.time >= since {
                self.believe(first, share, out);
            }
        }
    }

    /// The share of chains that closed with about so many requests open; where these are too few, with more:
    /// the fewer there are, the less can be mistaken for one another.
    fn share(&self, load: usize) -> Option<f32> {
        self.closed[load..].iter().find_map(Share::value)
    }

    /// Forgets a request that nobody will answer.
    pub(crate) fn abandoned(&mut self, request: SpanId) {
        for call in self.made.remove(&request).unwrap_or_default() {
            self.calls.remove(&call);
        }
    }

    /// Forgets what is older than `before`.
    pub(crate) fn expire(&mut self, before: BootTime) {
        self.waiting.retain(|chain| chain.time >= before);
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
    /// `>N` answers. Returns what was told in the last round, and how much in all of them.
    fn run(script: &str, open: usize) -> (String, usize) {
        let (mut turns, mut told, thread) = (Turns::default(), String::new(), UnitId(1));
        let (mut now, mut all) = (0, 0);
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
                    _ => turns.answered(thread, time, request, open, &mut |call, parent, _| {
                        assert_eq!(call.0 % 10_000 / 100, parent.0 % 10_000 / 100, "of its round");
                        told += &format!("{}:{} ", call.0 % 100, parent.0 % 100);
                        all += 1;
                    }),
                }
            }
        }
        assert!(turns.calls.len() < 10 && turns.made.len() < 10);
        (told, all)
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
            assert_eq!(run(script, 3).0, *expected, "{name}");
        }
        assert_eq!(run(table[0].1, 1).1, 0, "alone, nothing is proved");
        assert_eq!(run(table[0].1, 3).1, 400, "what came before there was enough to judge by, too");
    }
}
