//! Process: its open requests, who has read them, and whether its threads can be trusted as units.

use std::collections::{BTreeMap, VecDeque};

use deeptrace_model::{BootTime, ConnectionId, SpanId, StreamKey, UnitId};

/// Open requests of a process; beyond, new ones are not followed.
const REQUESTS_MAX: usize = 4096;
/// Calls of one request that wait for its answer.
const CALLS_MAX: usize = 1024;
/// Share of calls whose response another thread reads, above which threads are no units: work
/// migrates (Go, virtual threads, work-stealing pools).
const MIGRATION_MAX: f32 = 0.05;
/// Calls that must have been seen before the share is believed to be small.
const CALLS_TO_TRUST: f32 = 20.0;
/// Counts are halved when they reach this, so that the last minutes decide.
const COUNT_MAX: f32 = 2000.0;

/// A request that was read and not yet answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) reader: UnitId,
    pub(crate) read: BootTime,
    /// Its reader had another open request at some time.
    pub(crate) shared: bool,
    pub(crate) calls: Vec<Call>,
}

/// A call that was made while a unit had one open request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) span: SpanId,
    pub(crate) unit: UnitId,
}

/// What is remembered of a process.
#[derive(Debug, Default)]
pub(crate) struct Process {
    requests: BTreeMap<SpanId, Request>,
    by_stream: BTreeMap<StreamKey, VecDeque<SpanId>>,
    units: BTreeMap<UnitId, Vec<SpanId>>,
    calls: BTreeMap<StreamKey, VecDeque<UnitId>>,
    stayed: f32,
    migrated: f32,
}

impl Process {
    /// A request was read to its end by `reader`. False: there are too many.
    pub(crate) fn read(
        &mut self,
        stream: StreamKey,
        span: SpanId,
        reader: UnitId,
        read: BootTime,
    ) -> bool {
        if self.requests.len() >= REQUESTS_MAX || self.requests.contains_key(&span) {
            return false;
        }
        let open = self.units.entry(reader).or_default();
        open.push(span);
        let shared = open.len() > 1;
        // With a third one the first two are marked already.
        if let [first, _] = open.as_slice()
            && let Some(request) = self.requests.get_mut(first)
        {
            request.shared = true;
        }
        self.requests.insert(span, Request { reader, read, shared, calls: Vec::new() });
        self.by_stream.entry(stream).or_default().push_back(span);
        true
    }

    /// A call was sent by `unit`.
    pub(crate) fn call(&mut self, stream: StreamKey, span: SpanId, unit: UnitId) {
        let waiting = self.calls.entry(stream).or_default();
        if waiting.len() < CALLS_MAX {
            waiting.push_back(unit);
        }
        if let Some([only]) = self.units.get(&unit).map(Vec::as_slice)
            && let Some(request) = self.requests.get_mut(only)
            && request.calls.len() < CALLS_MAX
        {
            request.calls.push(Call { span, unit });
        }
    }

    /// The response to a call was read by `unit`: did the work stay where it was?
    pub(crate) fn returned(&mut self, stream: StreamKey, unit: UnitId) {
        let Some(waiting) = self.calls.get_mut(&stream) else { return };
        let Some(sender) = waiting.pop_front() else { return };
        if waiting.is_empty() {
            self.calls.remove(&stream);
        }
        let count = if sender == unit { &mut self.stayed } else { &mut self.migrated };
        *count += 1.0;
        if self.stayed + self.migrated > COUNT_MAX {
            self.stayed /= 2.0;
            self.migrated /= 2.0;
        }
    }

    /// The oldest request of a stream was answered.
    pub(crate) fn answered(&mut self, stream: StreamKey) -> Option<(SpanId, Request)> {
        let waiting = self.by_stream.get_mut(&stream)?;
        let span = waiting.pop_front()?;
        if waiting.is_empty() {
            self.by_stream.remove(&stream);
        }
        Some((span, self.forget(span)?))
    }

    /// How far threads can be trusted as units here, between 0 and 1; `None`: not at all.
    pub(crate) fn trust(&self) -> Option<f32> {
        let calls = self.stayed + self.migrated;
        if self.migrated > MIGRATION_MAX * calls.max(CALLS_TO_TRUST) {
            return None;
        }
        // Rule of succession, with the migrations that are tolerated.
        Some((self.stayed + 9.0) / (calls + 10.0))
    }

    /// Forgets requests that were read before `time`; returns how many.
    pub(crate) fn expire(&mut self, time: BootTime) -> u64 {
        let old = |(span, request): (&SpanId, &Request)| (request.read < time).then_some(*span);
        let old: Vec<SpanId> = self.requests.iter().filter_map(old).collect();
        for span in &old {
            self.forget(*span);
        }
        let requests = &self.requests;
        self.by_stream.retain(|_, waiting| {
            waiting.retain(|span| requests.contains_key(span));
            !waiting.is_empty()
        });
        old.len() as u64
    }

    /// Forgets what waits on a connection that was closed; returns how many requests.
    pub(crate) fn closed(&mut self, connection: ConnectionId) -> u64 {
        let all = StreamKey { connection, stream: 0 }..=StreamKey { connection, stream: u64::MAX };
        let streams: Vec<StreamKey> =
            self.by_stream.range(all.clone()).map(|(key, _)| *key).collect();
        let mut gone = 0;
        for stream in streams {
            for span in self.by_stream.remove(&stream).into_iter().flatten() {
                self.forget(span);
                gone += 1;
            }
        }
        let calls: Vec<StreamKey> = self.calls.range(all).map(|(key, _)| *key).collect();
        for stream in calls {
            self.calls.remove(&stream);
        }
        gone
    }

    fn forget(&mut self, span: SpanId) -> Option<Request> {
        let request = self.requests.remove(&span)?;
        if let Some(open) = self.units.get_mut(&request.reader) {
            open.retain(|other| *other != span);
            if open.is_empty() {
                self.units.remove(&request.reader);
            }
        }
        Some(request)
    }
}
