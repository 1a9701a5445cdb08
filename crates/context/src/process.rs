//! Process: its open requests, its units, and what an answer proves.

use std::collections::VecDeque;

use deeptrace_model::{
    BootTime, ConnectionId, Duration, Evidence, EvidenceKind, Message, Pid, SpanId, StreamKey,
    UnitId, UnitKind,
};
use rustc_hash::FxHashMap;

use crate::flow::{Decided, Flow};
use crate::regime::Regime;
use crate::streams::{self, Streams};
use crate::turns::Turns;
use crate::unit::{Made, Unit};
use crate::{pin, thread};

/// Open requests of a process; beyond, new ones are not followed.
const REQUESTS_MAX: usize = 4096;
/// Unanswered calls of a process; beyond, new ones are not followed.
const CALLS_MAX: usize = 8192;
/// Units of a process; beyond, new ones are not followed.
const UNITS_MAX: usize = 16_384;

/// A request that was read and not yet answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) span: SpanId,
    pub(crate) stream: StreamKey,
    pub(crate) reader: UnitId,
    pub(crate) start: BootTime,
    /// When its reader went on to another request.
    pub(crate) until: Option<BootTime>,
    /// Its reader had a request of another stream at the same time.
    pub(crate) shared: bool,
    /// It is one of many of its connection, and followed as a stream.
    is_stream: bool,
}

/// A call that waits for its response.
#[derive(Debug)]
struct Sent {
    span: SpanId,
    unit: UnitId,
    time: BootTime,
    /// It is one of many of its connection, and followed as a stream.
    is_stream: bool,
}

/// What was dropped or not told.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) shed: u64,
    pub(crate) abstained: u64,
    pub(crate) orphans: u64,
}

/// One process.
#[derive(Debug, Default)]
pub(crate) struct Process {
    requests: FxHashMap<StreamKey, VecDeque<Request>>,
    open: usize,
    units: FxHashMap<UnitId, Unit>,
    calls: FxHashMap<StreamKey, VecDeque<Sent>>,
    sent: usize,
    regime: Regime,
    /// Calls that an answer may explain, kept for its room.
    found: Vec<Made>,
    pub(crate) flow: Flow,
    turns: Turns,
    pub(crate) streams: Streams,
    decided: Vec<Decided>,
}

impl Process {
    /// A request was read.
    pub(crate) fn read(&mut self, span: SpanId, message: &Message, counts: &mut Counts) {
        let (reader, stream, now) = (message.last.unit, message.stream, message.last.time);
        if self.open >= REQUESTS_MAX || !self.has_room(reader) {
            counts.shed += 1;
            return;
        }
        let start = message.first.time;
        self.open += 1;
        if self.streams.read(span, message, &mut self.flow) {
            let (until, shared, is_stream) = (None, true, true);
            let request = Request { span, stream, reader, start, until, shared, is_stream };
            self.requests.entry(stream).or_default().push_back(request);
            return;
        }
        let unit = self.units.entry(reader).or_default();
        unit.used = now;
        // A pipelined request of the same stream waits its turn; one of another makes this a loop.
        let shared = unit.reading.iter().any(|(other, _)| *other != stream);
        if shared {
            unit.shared = Some(now);
        }
        // In a loop all but the last one are marked already.
        let known = if unit.is_mixed { unit.reading.len().saturating_sub(1) } else { 0 };
        for (other, span) in unit.reading.iter().skip(known) {
            let waiting = self.requests.get_mut(other).into_iter().flatten();
            for request in waiting.filter(|request| request.span == *span) {
                request.shared |= shared;
                request.until.get_or_insert(message.first.time);
            }
        }
        unit.is_mixed |= shared;
        unit.reading.push_back((stream, span));
        self.flow.read(span, start, stream.connection, &message.last);
        self.turns.read(UnitId::of(message.last.tid), now, span);
        let (until, is_stream) = (None, false);
        let request = Request { span, stream, reader, start, until, shared, is_stream };
        self.requests.entry(stream).or_default().push_back(request);
    }

    /// A call was sent; the first one on a new connection was wanted before that was made, and nobody saw
    /// when.
    pub(crate) fn call(
        &mut self,
        span: SpanId,
        message: &Message,
        is_first: bool,
        counts: &mut Counts,
    ) {
        let (unit, time) = (message.first.unit, message.first.time);
        if self.sent >= CALLS_MAX || !self.has_room(unit) {
            counts.shed += 1;
            return;
        }
        self.sent += 1;
        if self.streams.called(span, message, &mut self.flow) {
            let sent = Sent { span, unit, time, is_stream: true };
            self.calls.entry(message.stream).or_default().push_back(sent);
            return;
        }
        self.made(span, unit, time, counts);
        self.flow.called(span, &message.first);
        if message.first.unit.kind() == UnitKind::Thread && !is_first {
            self.turns.called(unit, time, span);
        }
        let sent = Sent { span, unit, time, is_stream: false };
        self.calls.entry(message.stream).or_default().push_back(sent);
    }

    /// A call was made whose response will not be seen: a connect that failed.
    pub(crate) fn made(&mut self, span: SpanId, unit: UnitId, time: BootTime, counts: &mut Counts) {
        if self.has_room(unit) {
            counts.shed += u64::from(self.units.entry(unit).or_default().call(span, time));
        }
    }

    /// The response to a call was read.
    pub(crate) fn returned(&mut self, message: &Message) {
        let Some(waiting) = self.calls.get_mut(&message.stream) else { return };
        let Some(sent) = waiting.pop_front() else { return };
        self.sent -= 1;
        if waiting.is_empty() && message.stream.stream != 0 {
            self.calls.remove(&message.stream);
        }
        self.streams.returned(sent.span, message, &mut self.flow);
        if sent.is_stream {
            return;
        }
        let here = sent.unit == message.last.unit;
        self.regime.returned(here);
        self.flow.returned(sent.span, message.stream.connection, &message.last);
        self.turns.returned(UnitId::of(message.last.tid), message.last.time, sent.span);
        if let Some(unit) = self.units.get_mut(&sent.unit) {
            unit.returned(sent.span, message.last.time, here);
        }
    }

    /// The oldest request of a stream was answered: what does that prove?
    pub(crate) fn answered(
        &mut self,
        pid: Pid,
        message: &Message,
        counts: &mut Counts,
        out: &mut Vec<Evidence>,
    ) {
        let Some(request) = self.pop(message.stream) else {
            counts.orphans += 1;
            return;
        };
        if self.streams.answered(request.span, message, &mut self.flow) {
            return;
        }
        if request.is_stream {
            self.flow.left(request.span, message.last.time);
            return;
        }
        let before = out.len();
        self.threads(pid, &request, message, counts, out);
        self.turns(pid, &request, message, out);
        out[before..].iter().for_each(|evidence| self.flow.explained(evidence.child));
        self.flow.answered(request.span, &message.first, &message.last);
        if !self.streams.is_used() {
            self.flow.decide(message.last.time, None, &mut self.decided);
        }
        self.tell(pid, message.last.time, out);
    }

    /// Looks at shared connections, ten times a second.
    pub(crate) fn tick(&mut self, pid: Pid, now: BootTime, out: &mut Vec<Evidence>) {
        if !self.streams.is_used() {
            return;
        }
        let is_idle = self.open == 0 && self.sent == 0;
        self.streams.settle(now, is_idle, &mut self.flow, &mut self.decided);
        let until = now.minus(streams::LATER);
        self.flow.decide(now, Some(until), &mut self.decided);
        self.tell(pid, now, out);
    }

    fn tell(&mut self, pid: Pid, time: BootTime, out: &mut Vec<Evidence>) {
        out.extend(self.decided.drain(..).map(|decided| {
            let Decided { call, parent, kind, confidence } = decided;
            Evidence { pid, child: call, parent: Some(parent), kind, confidence, time }
        }));
    }

    /// What can be told by the turns of the loop that answered `request`, of calls of which nothing else was
    /// told.
    fn turns(&mut self, pid: Pid, request: &Request, message: &Message, out: &mut Vec<Evidence>) {
        let (thread, first) = (UnitId::of(message.first.tid), message.first.time);
        let (time, known, open) = (message.last.time, out.len(), self.open + 1);
        self.turns.answered(thread, first, request.span, open, &mut |child, parent, confidence| {
            if !out[..known].iter().any(|evidence| evidence.child == child) {
                let (parent, kind) = (Some(parent), EvidenceKind::Turn);
                out.push(Evidence { pid, child, parent, kind, confidence, time });
            }
        });
    }

    /// What can be told of `request` by the threads that worked.
    fn threads(
        &mut self,
        pid: Pid,
        request: &Request,
        message: &Message,
        counts: &mut Counts,
        out: &mut Vec<Evidence>,
    ) {
        let (writer, now) = (message.first.unit, message.last.time);
        let is_reader = writer == request.reader && writer == message.last.unit;
        if writer != request.reader {
            self.unread(request);
        }
        let mut calls = std::mem::take(&mut self.found);
        calls.clear();
        let Some(unit) = self.units.get_mut(&writer) else {
            // It made no call and read nothing: only the reader's calls are left.
            self.regime.answered(false);
            self.reader(request, now, &mut calls, counts);
            self.thread(pid, request, now, &calls, counts, out);
            self.found = calls;
            return;
        };
        if writer == request.reader {
            unit.unread(request.span);
        }
        unit.used = now;
        let pinned = pin::is_pinned(request, is_reader, unit);
        let sequential = thread::is_sequential(unit, now) && unit.reading.is_empty();
        let from = request.start.max(unit.answered);
        counts.abstained += unit.take(from, now, &mut calls);
        unit.answered = now;
        // What else it has read did not have it for itself. In a loop that is marked already.
        let other = unit.reading.front().map(|(stream, _)| *stream);
        if let Some(other) = other.filter(|other| !unit.is_mixed && *other != request.stream) {
            self.requests.get_mut(&other).into_iter().flatten().for_each(|r| r.shared = true);
        }
        self.regime.answered(pinned);
        let lossy = message.lost_events > 0;
        if pinned && !lossy {
            self.pin(pid, request, now, &calls, counts, out);
        } else if is_reader || !sequential || lossy {
            counts.abstained += calls.len() as u64;
        } else {
            self.reader(request, now, &mut calls, counts);
            self.thread(pid, request, now, &calls, counts, out);
        }
        self.found = calls;
    }

    fn pin(
        &self,
        pid: Pid,
        request: &Request,
        now: BootTime,
        calls: &[Made],
        counts: &mut Counts,
        out: &mut Vec<Evidence>,
    ) {
        let holds =
            !self.regime.may_migrate() || self.regime.has_reader() || pin::is_in_sequence(calls);
        match self.regime.pin().filter(|_| holds) {
            Some(sure) => out.extend(
                calls.iter().map(|call| evidence(pid, call, request, EvidenceKind::Pin, sure, now)),
            ),
            None => counts.abstained += calls.len() as u64,
        }
    }

    /// Adds the calls that the reader of `request` made before it read the next one.
    fn reader(
        &mut self,
        request: &Request,
        now: BootTime,
        calls: &mut Vec<Made>,
        counts: &mut Counts,
    ) {
        let Some(unit) = self.units.get_mut(&request.reader) else { return };
        if !request.shared && thread::is_sequential(unit, now) {
            let until = request.until.unwrap_or(now);
            counts.abstained += unit.take(request.start.max(unit.answered), until, calls);
        }
    }

    fn thread(
        &mut self,
        pid: Pid,
        request: &Request,
        now: BootTime,
        calls: &[Made],
        counts: &mut Counts,
        out: &mut Vec<Evidence>,
    ) {
        let sure = self.regime.thread();
        for call in calls {
            let contained = thread::is_contained(call, now);
            self.regime.contained(contained);
            match sure.filter(|_| contained) {
                Some(sure) => {
                    out.push(evidence(pid, call, request, EvidenceKind::Thread, sure, now));
                }
                None => counts.abstained += 1,
            }
        }
    }

    fn pop(&mut self, stream: StreamKey) -> Option<Request> {
        let waiting = self.requests.get_mut(&stream)?;
        let request = waiting.pop_front()?;
        if waiting.is_empty() && stream.stream != 0 {
            self.requests.remove(&stream);
        }
        self.open -= 1;
        Some(request)
    }

    fn unread(&mut self, request: &Request) {
        if let Some(unit) = self.units.get_mut(&request.reader) {
            unit.unread(request.span);
        }
    }

    fn has_room(&self, unit: UnitId) -> bool {
        self.units.len() < UNITS_MAX || self.units.contains_key(&unit)
    }

    /// Streams that anything is kept of, answered ones until the next [`expire`](Self::expire).
    #[cfg(test)]
    pub(crate) fn streams(&self) -> usize {
        self.requests.len().max(self.calls.len())
    }

    /// Whether a request waits on the first stream of `connection`.
    #[cfg(test)]
    pub(crate) fn follows(&self, connection: ConnectionId) -> bool {
        let stream = StreamKey { connection, stream: 0 };
        self.requests.get(&stream).is_some_and(|waiting| !waiting.is_empty())
    }

    /// Forgets what waits on a connection that was closed. Streams beside the first of a connection are
    /// found by [`expire`](Self::expire).
    pub(crate) fn closed(&mut self, connection: ConnectionId, counts: &mut Counts) {
        let stream = StreamKey { connection, stream: 0 };
        for request in self.requests.remove(&stream).into_iter().flatten() {
            self.open -= 1;
            counts.shed += 1;
            self.unread(&request);
            self.flow.abandoned(request.span);
            self.turns.abandoned(request.span);
            self.streams.abandoned(request.span);
        }
        self.sent -= self.calls.remove(&stream).map_or(0, |calls| calls.len());
    }

    /// Forgets what is older than `expiry`. False: nothing is left.
    pub(crate) fn expire(&mut self, now: BootTime, expiry: Duration, counts: &mut Counts) -> bool {
        let before = now.minus(expiry);
        let mut old = Vec::new();
        self.requests.retain(|_, waiting| {
            while waiting.front().is_some_and(|request| request.start < before) {
                old.extend(waiting.pop_front());
            }
            !waiting.is_empty()
        });
        self.open -= old.len();
        counts.shed += old.len() as u64;
        for request in &old {
            self.unread(request);
            self.flow.abandoned(request.span);
            self.turns.abandoned(request.span);
            self.streams.abandoned(request.span);
        }
        self.flow.expire(before);
        self.turns.expire(before);
        self.streams.expire(before);
        counts.shed += std::mem::take(&mut self.flow.shed);
        counts.shed += std::mem::take(&mut self.streams.shed);
        let sent = &mut self.sent;
        self.calls.retain(|_, waiting| {
            while waiting.front().is_some_and(|call| call.time < before) {
                waiting.pop_front();
                *sent -= 1;
            }
            !waiting.is_empty()
        });
        self.units.retain(|_, unit| {
            counts.abstained += unit.expire(before);
            unit.used >= before || !unit.reading.is_empty() || !unit.calls.is_empty()
        });
        !self.units.is_empty()
    }
}

fn evidence(
    pid: Pid,
    call: &Made,
    request: &Request,
    kind: EvidenceKind,
    confidence: f32,
    time: BootTime,
) -> Evidence {
    Evidence { pid, child: call.span, parent: Some(request.span), kind, confidence, time }
}
