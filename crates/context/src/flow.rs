//! Flow: work that goes from unit to unit of a process, and its results that come back.
//!
//! What is observed lies in a log by time. When every request that was open at the start of a call is
//! answered, nothing more can be learned of it: then two passes go over the log. *Forward*, a request
//! gives its unit a context, and each hand-over gives it on. *Backward*, a hand-over into the unit that
//! wrote an answer says whose result the giver had; a saturated pool hides the way to the worker (it takes
//! the next item without having slept), but the way back to the waiting requester is a real wake-up.
//!
//! A unit that wrote an answer is pinned to its request all that time, and no hand-over may say otherwise.
//! Bias: the last call before a result is believed to have made it; where results carry several calls, it is
//! only believed while most do.

mod decide;
mod items;
mod need;
mod passes;
mod pins;
mod words;

use std::collections::VecDeque;

use deeptrace_model::{
    BootTime, ConnectionId, Duration, EvidenceKind, HandOver, HandOverKind, SpanId, Touch, UnitId,
    UnitKind,
};
use rustc_hash::{FxHashMap, FxHashSet};

use self::decide::Trust;
use self::items::Items;
use self::need::{Need, Units};
use self::passes::Held;
use self::pins::Pins;
use self::words::Words;

/// Steps that are held of one process; beyond, the oldest go, and what they could have explained is not.
const STEPS_MAX: usize = 65_536;
/// Answered requests that may lie among those that are needed, beside as many as these: among the open ones, and
/// among all.
const OPEN_SPARE: usize = 64;
const REQUESTS_SPARE: usize = 256;
/// A request that is open for longer holds nobody up: calls are decided without it.
const WAIT: Duration = Duration::from_secs(2);
/// A thread that had several requests at once is a loop for so long.
const LOOP_MEMORY: Duration = Duration::from_secs(60);
/// Requests that must be answered since hand-overs are told, before these are believed where futexes are among
/// them: until then locks are not told from hand-overs.
const ANSWERS_MIN: u64 = 32;

/// What was observed of a unit.
#[derive(Clone, Copy, Debug)]
struct Step {
    time: BootTime,
    thread: UnitId,
    /// What the runtime says ran on the thread, or the thread.
    unit: UnitId,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Read(SpanId),
    Answered(SpanId),
    Called(SpanId),
    Returned(SpanId),
    Handed { to: UnitId, kind: HandOverKind, word: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Request {
    start: BootTime,
    end: Option<BootTime>,
    reader: UnitId,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    start: BootTime,
    end: Option<BootTime>,
    /// Who the forward pass says it was made for, and how surely.
    forward: Option<(SpanId, Held)>,
    /// For whom its unit worked, if that was pinned.
    pinned: Option<(SpanId, UnitKind)>,
}

/// A call that was decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decided {
    pub(crate) call: SpanId,
    pub(crate) parent: SpanId,
    pub(crate) kind: EvidenceKind,
    pub(crate) confidence: f32,
}

/// The flow of work in one process.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    log: VecDeque<Step>,
    /// Steps of `log` that the forward pass has seen.
    passed: usize,
    requests: FxHashMap<SpanId, Request>,
    /// Those that are not decided.
    calls: FxHashMap<SpanId, Call>,
    /// Open requests by start; answered ones stay until they are first, or are more than the others.
    open: VecDeque<(BootTime, SpanId)>,
    /// Length of `open`, and of `requests`, when answered ones were last taken out.
    open_kept: usize,
    requests_kept: usize,
    /// Calls by start, decided ones until they are first.
    pending: VecDeque<(BootTime, SpanId)>,
    /// Units that only carry bytes of shared connections: what goes through them says nothing.
    carriers: FxHashSet<UnitId>,
    /// Until when a thread is taken for a loop.
    loops: FxHashMap<UnitId, BootTime>,
    /// Threads that were woken out of a poll, with one connection that they read from.
    pollers: FxHashMap<UnitId, Option<ConnectionId>>,
    /// Requests that a thread has read and nobody has answered.
    reading: FxHashMap<UnitId, u32>,
    pins: Pins,
    words: Words,
    items: Items,
    forward: FxHashMap<UnitId, (SpanId, Held)>,
    /// Units that a runtime made for a request, if it is known for which, and when.
    born: FxHashMap<UnitId, (Option<SpanId>, BootTime)>,
    trust: Trust,
    lost: Option<BootTime>,
    is_followed: bool,
    /// Since when something beside socket calls of threads is told.
    told: Option<BootTime>,
    has_futexes: bool,
    answers: u64,
    need: Need,
    units: Units,
    pub(crate) shed: u64,
}

impl Flow {
    /// A request was read.
    pub(crate) fn read(
        &mut self,
        span: SpanId,
        start: BootTime,
        connection: ConnectionId,
        touch: &Touch,
    ) {
        self.polls(connection, touch);
        let is_task = touch.unit.kind() == UnitKind::Task;
        let reader = if is_task { touch.unit } else { UnitId::of(touch.tid) };
        let reading = self.reading.entry(reader).or_default();
        *reading += 1;
        if *reading > 1 && !is_task {
            self.loops.insert(reader, touch.time.plus(LOOP_MEMORY));
            if self.units == Units::Unneeded {
                self.units = Units::Needed;
            }
        }
        self.requests.insert(span, Request { start, end: None, reader });
        self.open.push_back((start, span));
        self.log(touch.time, touch, What::Read(span));
    }

    /// A call was sent.
    pub(crate) fn called(&mut self, span: SpanId, touch: &Touch) {
        if self.pended(span, touch.time) {
            self.log(touch.time, touch, What::Called(span));
        }
    }

    /// The response to a call was read.
    pub(crate) fn returned(&mut self, span: SpanId, connection: ConnectionId, touch: &Touch) {
        self.polls(connection, touch);
        if let Some(call) = self.calls.get_mut(&span) {
            call.end = Some(touch.time);
            self.log(touch.time, touch, What::Returned(span));
        }
    }

    /// A call is explained already.
    pub(crate) fn explained(&mut self, span: SpanId) {
        if self.calls.remove(&span).is_some() {
            self.need.calls += 1;
        }
    }

    /// A hand-over happened.
    pub(crate) fn handed(&mut self, time: BootTime, hand_over: &HandOver) {
        let HandOver { tid, kind, from, to, word, .. } = *hand_over;
        let thread = UnitId::of(tid);
        match kind {
            HandOverKind::Write => {
                self.pollers.entry(to).or_default();
                return;
            }
            HandOverKind::Futex => {
                self.words.seen(time, word, thread, to);
                self.has_futexes = true;
            }
            _ => {}
        }
        self.told(time);
        self.push(Step { time, thread, unit: from, what: What::Handed { to, kind, word } });
    }

    /// Hand-overs are known to be missing before `time`.
    pub(crate) fn lost(&mut self, time: BootTime) {
        self.lost = Some(time);
        // Contexts are given on by what may be missing, and their names are used again.
        self.forward.clear();
        self.items.clear();
        self.born.clear();
    }

    /// A request was answered from `first` until `last`.
    pub(crate) fn answered(&mut self, span: SpanId, first: &Touch, last: &Touch) {
        self.gone(span, Some(last.time));
        let Some(request) = self.requests.get(&span).copied() else { return };
        if first.unit.kind() != UnitKind::Thread {
            self.told(last.time);
        }
        self.answers += u64::from(self.is_followed && self.told.is_some());
        let step = Step {
            time: last.time,
            thread: UnitId::of(first.tid),
            unit: first.unit,
            what: What::Answered(span),
        };
        let writer = self.unit(&step);
        if self.is_loop(writer) {
            self.pins.refuse(writer, last.time);
        } else if first.tid == last.tid || first.unit.kind() == UnitKind::Task {
            self.pins.add(writer, (request.start, last.time), span);
        }
        self.push(step);
    }

    /// A request was read from a shared connection, and nobody knows by whom.
    pub(crate) fn opened(&mut self, span: SpanId, start: BootTime) {
        self.requests.insert(span, Request { start, end: None, reader: UnitId(0) });
        self.open.push_back((start, span));
    }

    /// It was answered.
    pub(crate) fn left(&mut self, span: SpanId, end: BootTime) {
        self.gone(span, Some(end));
    }

    /// It is known that `unit` worked for it all that time.
    pub(crate) fn owned(&mut self, span: SpanId, unit: UnitId, time: (BootTime, BootTime)) {
        let Some(request) = self.requests.get_mut(&span) else { return };
        request.reader = unit;
        self.answers += u64::from(self.is_followed);
        self.told.get_or_insert(time.0);
        self.pins.add(unit, time, span);
        self.push(Step { time: time.0, thread: unit, unit, what: What::Read(span) });
        self.push(Step { time: time.1, thread: unit, unit, what: What::Answered(span) });
    }

    /// A call went out, on a shared connection nobody knows by whom. False: it is not followed. Where no request
    /// is known lately there is no parent to find, and nothing that would end the wait for one: a client of
    /// others makes calls without end.
    pub(crate) fn pended(&mut self, span: SpanId, time: BootTime) -> bool {
        if self.requests.is_empty() {
            return false;
        }
        self.calls.insert(span, Call { start: time, end: None, forward: None, pinned: None });
        self.pending.push_back((time, span));
        true
    }

    /// Its response was read.
    pub(crate) fn ended(&mut self, span: SpanId, time: BootTime) {
        if let Some(call) = self.calls.get_mut(&span) {
            call.end = Some(time);
        }
    }

    /// It is known that `unit` made it.
    pub(crate) fn sent(&mut self, span: SpanId, unit: UnitId, time: BootTime) {
        if self.calls.contains_key(&span) {
            self.push(Step { time, thread: unit, unit, what: What::Called(span) });
        }
    }

    /// It is known that `unit` waited for its response.
    pub(crate) fn received(&mut self, span: SpanId, unit: UnitId, time: BootTime) {
        if self.calls.contains_key(&span) {
            self.push(Step { time, thread: unit, unit, what: What::Returned(span) });
        }
    }

    /// Who carries bytes of shared connections.
    pub(crate) fn set_carriers(&mut self, carriers: impl Iterator<Item = UnitId>) {
        self.carriers.clear();
        self.carriers.extend(carriers);
    }

    /// Forgets a request that nobody will answer.
    pub(crate) fn abandoned(&mut self, span: SpanId) {
        self.gone(span, None);
        self.requests.remove(&span);
    }

    /// Forgets what is older than `before`.
    pub(crate) fn expire(&mut self, before: BootTime) {
        while self.log.front().is_some_and(|step| step.time < before) {
            self.pop();
        }
        self.calls.retain(|_, call| call.start >= before);
        self.requests.retain(|_, request| request.end.unwrap_or(request.start) >= before);
        self.open.retain(|(_, span)| self.requests.get(span).is_some_and(|r| r.end.is_none()));
        self.pending.retain(|(_, span)| self.calls.contains_key(span));
        let requests = &self.requests;
        self.born.retain(|_, (request, since)| {
            request.map_or(*since >= before, |request| requests.contains_key(&request))
        });
        self.loops.retain(|_, until| *until >= before);
        self.pins.expire(before);
        if self.log.is_empty() {
            self.forward.clear();
            self.items.clear();
            self.born.clear();
            self.pollers.clear();
        }
    }

    /// A thread that is woken out of its poll and reads from two connections is a loop, unless it reads
    /// requests and answers them one after the other.
    fn polls(&mut self, connection: ConnectionId, touch: &Touch) {
        let thread = UnitId::of(touch.tid);
        let Some(known) = self.pollers.get_mut(&thread) else { return };
        if *known.get_or_insert(connection) != connection && !self.pins.is_owner(thread) {
            self.loops.insert(thread, touch.time.plus(LOOP_MEMORY));
        }
    }

    fn gone(&mut self, span: SpanId, end: Option<BootTime>) {
        let Some(request) = self.requests.get_mut(&span) else { return };
        request.end = end;
        if let Some(count) = self.reading.get_mut(&request.reader) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.reading.remove(&request.reader);
            }
        }
    }

    fn is_loop(&self, thread: UnitId) -> bool {
        self.loops.contains_key(&thread)
    }

    /// What a step is of. A context names what a loop sends; what a loop receives runs in the context of
    /// whoever made the connection.
    fn unit(&self, step: &Step) -> UnitId {
        let is_received = matches!(step.what, What::Read(_) | What::Returned(_));
        match step.unit.kind() {
            UnitKind::Thread | UnitKind::Task | UnitKind::Item => step.unit,
            UnitKind::Context if !is_received && self.is_loop(step.thread) => step.unit,
            UnitKind::Context => step.thread,
        }
    }

    fn log(&mut self, time: BootTime, touch: &Touch, what: What) {
        self.push(Step { time, thread: UnitId::of(touch.tid), unit: touch.unit, what });
    }

    /// Puts a step where it belongs by time: nearly always at the end.
    fn push(&mut self, step: Step) {
        if self.log.len() >= STEPS_MAX {
            self.pop();
            self.shed += 1;
        }
        let mut at = self.log.len();
        while at > self.passed && self.log[at - 1].time > step.time {
            at -= 1;
        }
        self.log.insert(at, step);
    }

    fn pop(&mut self) {
        self.log.pop_front();
        self.passed = self.passed.saturating_sub(1);
    }

    /// Decides the calls for which nothing more can be learned, of those made before `until`.
    pub(crate) fn decide(
        &mut self,
        now: BootTime,
        until: Option<BootTime>,
        out: &mut Vec<Decided>,
    ) {
        let until = until.unwrap_or(BootTime(u64::MAX));
        let gate = self.gate(now, until).min(until);
        while let Some((_, span)) = self.pending.front()
            && !self.calls.contains_key(span)
        {
            self.pending.pop_front();
        }
        let Some((first, _)) = self.pending.front().copied().filter(|(time, _)| *time < gate)
        else {
            self.trim(gate);
            return;
        };
        self.pass_forward(gate);
        let backward =
            if self.is_followed { self.pass_backward(first, gate) } else { Default::default() };
        let believed = self.is_followed && (self.answers >= ANSWERS_MIN || !self.has_futexes);
        while let Some((start, span)) = self.pending.front().copied().filter(|(t, _)| *t < gate) {
            self.pending.pop_front();
            let Some(call) = self.calls.remove(&span) else { continue };
            let is_whole = self.lost.is_none_or(|lost| start > lost)
                && self.told.is_some_and(|told| start > told);
            let decided = self.choose(span, &call, &backward, believed && is_whole);
            self.need.calls += 1;
            self.need.unexplained += 1;
            out.extend(decided);
        }
        self.trim(gate);
    }

    /// When the first request began that is open at `until`, and not for so long that nobody waits for it.
    fn gate(&mut self, now: BootTime, until: BootTime) -> BootTime {
        let requests = &self.requests;
        let is_open = |span: &SpanId| {
            requests.get(span).is_some_and(|request| request.end.is_none_or(|end| end > until))
        };
        while self.open.front().is_some_and(|(_, span)| !is_open(span)) {
            self.open.pop_front();
        }
        // One that nobody answers must not hold all those behind it.
        if self.open.len() > 2 * self.open_kept + OPEN_SPARE {
            self.open.retain(|(_, span)| is_open(span));
            self.open_kept = self.open.len();
        }
        let since = now.minus(WAIT);
        let mut open = self.open.iter().filter(|(start, span)| *start >= since && is_open(span));
        open.next().map_or(BootTime(u64::MAX), |(start, _)| *start)
    }

    /// Forgets the steps that explain nothing any more.
    fn trim(&mut self, gate: BootTime) {
        let first = self.pending.front().map_or(BootTime(u64::MAX), |(time, _)| *time);
        let until = first.min(gate);
        if !self.is_followed {
            // Without hand-overs nobody looks at them.
            self.log.clear();
            self.passed = 0;
        }
        while self.passed > 0 && self.log.front().is_some_and(|step| step.time < until) {
            self.pop();
        }
        self.pins.trim(until.min(self.log.front().map_or(until, |step| step.time)));
        if self.requests.len() > 2 * self.requests_kept + REQUESTS_SPARE {
            let oldest = self.log.front().map_or(until, |step| step.time);
            self.requests.retain(|_, request| request.end.is_none_or(|end| end >= oldest));
            self.requests_kept = self.requests.len();
        }
    }
}

#[cfg(test)]
mod tests;
