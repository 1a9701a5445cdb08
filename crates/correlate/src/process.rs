//! Process: its requests, open and answered, and its calls that wait for a decision.

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::{
    BootTime, Duration, Evidence, Link, Message, Relation, Span, SpanId, TraceContext, WallTime,
};

use crate::algorithm::{Algorithm, Call, Candidate};

/// Requests and calls of one process that are held; beyond, the oldest are let go.
const HELD_MAX: usize = 8192;
/// How long an answered request is held: a call may be reported after its request.
const ANSWERED_HELD: Duration = Duration::from_secs(2);
/// A call may end a little after its request: stamps are taken at the end of calls.
const SLACK: Duration = Duration::from_millis(1);

/// A request.
#[derive(Debug)]
struct Request {
    candidate: Candidate,
}

/// A call that waits.
#[derive(Debug)]
struct Waiting {
    call: Call,
    wall: WallTime,
    arrived: BootTime,
}

/// One process.
pub(crate) struct Process {
    algorithm: Box<dyn Algorithm>,
    /// By start, then by span, so that the order is that of time.
    requests: BTreeMap<(BootTime, SpanId), Request>,
    starts: BTreeMap<SpanId, BootTime>,
    open: BTreeSet<(BootTime, SpanId)>,
    waiting: BTreeMap<(BootTime, SpanId), Waiting>,
    evidence: BTreeMap<SpanId, Evidence>,
    pub(crate) shed: u64,
}

impl Process {
    pub(crate) fn new(algorithm: Box<dyn Algorithm>) -> Self {
        Self {
            algorithm,
            requests: BTreeMap::new(),
            starts: BTreeMap::new(),
            open: BTreeSet::new(),
            waiting: BTreeMap::new(),
            evidence: BTreeMap::new(),
            shed: 0,
        }
    }

    /// Nothing waits and nothing is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.waiting.is_empty()
    }

    /// A request was read.
    pub(crate) fn opened(&mut self, span: SpanId, message: &Message) {
        let start = message.last.time;
        if self.requests.len() >= HELD_MAX
            && let Some((key, _)) = self.requests.pop_first()
        {
            self.open.remove(&key);
            self.starts.remove(&key.1);
            self.shed += 1;
        }
        let candidate = Candidate {
            span,
            start,
            end: None,
            tid: message.last.tid,
            trace_context: message.trace_context,
            made: Vec::new(),
        };
        self.requests.insert((start, span), Request { candidate });
        self.starts.insert(span, start);
        self.open.insert((start, span));
    }

    /// A request was answered, or given up.
    pub(crate) fn closed(&mut self, span: &Span) {
        let Some(start) = self.starts.get(&span.id) else { return };
        let key = (*start, span.id);
        self.open.remove(&key);
        if let Some(request) = self.requests.get_mut(&key) {
            let last = span.response.map_or(span.request[1], |[_, last]| last);
            // Given up: it ended when that was decided, which may be long after its last byte.
            let given_up = span.end.since(span.start);
            request.candidate.end =
                Some(last.time.max(span.response.map_or(start.plus(given_up), |_| last.time)));
        }
    }

    /// A call ended.
    pub(crate) fn called(&mut self, span: &Span, callee: u64, trace_context: Option<TraceContext>) {
        if self.waiting.len() >= HELD_MAX {
            self.waiting.pop_first();
            self.shed += 1;
        }
        let last = span.response.map_or(span.request[1], |[_, last]| last);
        let start = span.request[0].time;
        let call = Call {
            span: span.id,
            start,
            end: last.time,
            tid: span.request[0].tid,
            callee,
            trace_context,
            evidence: None,
        };
        let waiting = Waiting { call, wall: span.start, arrived: last.time };
        self.waiting.insert((start, span.id), waiting);
    }

    /// Something was observed of a call.
    pub(crate) fn observed(&mut self, evidence: Evidence) {
        if self.evidence.len() >= HELD_MAX {
            self.evidence.pop_first();
            self.shed += 1;
        }
        let known = self.evidence.get(&evidence.child);
        if known.is_none_or(|known| evidence.kind < known.kind) {
            self.evidence.insert(evidence.child, evidence);
        }
    }

    /// Decides the calls for which nothing more can be learned: every request that could have made them
    /// has been answered. Others are decided provisionally when they waited for `link_wait`.
    pub(crate) fn decide(
        &mut self,
        now: BootTime,
        wait: Duration,
        algorithm: &'static str,
        out: &mut Vec<Link>,
    ) {
        while let Some((key, waiting)) = self.waiting.first_key_value() {
            let oldest_open = self.open.first().map(|(start, _)| *start);
            let is_final = oldest_open.is_none_or(|start| start > key.0);
            let waited = now.since(waiting.arrived) > wait;
            if !is_final && !waited {
                break;
            }
            if let Some((_, waiting)) = self.waiting.pop_first() {
                self.link(waiting, is_final, algorithm, out);
            }
        }
    }

    fn link(
        &mut self,
        waiting: Waiting,
        is_final: bool,
        algorithm: &'static str,
        out: &mut Vec<Link>,
    ) {
        let mut call = waiting.call;
        call.evidence = self.evidence.remove(&call.span);
        let contains =
            |candidate: &Candidate| candidate.end.is_none_or(|end| call.end <= end.plus(SLACK));
        let before = ..=(call.start, SpanId(u64::MAX));
        let candidates: Vec<Candidate> = self
            .requests
            .range(before)
            .map(|(_, request)| &request.candidate)
            .filter(|candidate| contains(candidate))
            .cloned()
            .collect();
        let Some(guess) = self.algorithm.choose(&call, &candidates) else { return };
        let Some(parent) = candidates.get(guess.candidate) else { return };
        if let Some(request) = self.requests.get_mut(&(parent.start, parent.span)) {
            request.candidate.made.push(call.callee);
        }
        out.push(Link {
            child: call.span,
            parent: Some(parent.span),
            child_start: waiting.wall,
            method: guess.method,
            relation: Relation::Child,
            confidence: guess.confidence.clamp(0.0, 1.0),
            algorithm: algorithm.into(),
            candidates: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
            generation: 0,
            is_final,
        });
    }

    /// Lets go of requests that were answered long ago, and of those open since before `oldest`.
    pub(crate) fn forget(&mut self, now: BootTime, oldest: BootTime) {
        let next_call = self.waiting.first_key_value().map(|((start, _), _)| *start);
        let keep_from = now.minus(ANSWERED_HELD);
        let gone: Vec<(BootTime, SpanId)> = self
            .requests
            .iter()
            .filter(|(key, request)| match request.candidate.end {
                Some(end) => {
                    end < keep_from && next_call.is_none_or(|start| end.plus(SLACK) < start)
                }
                None => key.0 < oldest,
            })
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.requests.remove(&key);
            self.starts.remove(&key.1);
            self.open.remove(&key);
        }
        let stale = |evidence: &Evidence| evidence.time < oldest;
        self.evidence.retain(|_, evidence| !stale(evidence));
    }
}
