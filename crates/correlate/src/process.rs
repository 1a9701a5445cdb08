//! Process: its requests, open and answered, and its calls that wait for a decision.
//!
//! A call is decided when every request that was open at its start is answered: then all that can be
//! observed of it has been. Requests that are open for longer than `link_wait` (long polls) do not hold
//! it up; its link is provisional while one of them might still prove to be the parent.

use std::collections::VecDeque;

use deeptrace_model::{
    BootTime, ConnectionId, Duration, Evidence, Link, Message, Method, Relation, Span, SpanId,
    UnitKind, WallTime,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::AUTO;
use crate::algorithm::{self, Row};
use crate::background::Background;
use crate::inferred::{self, Inferred};
use crate::strong::{self, Call, Candidate, Strong};

/// Requests, calls and pieces of evidence of one process that are held, each.
const HELD_MAX: usize = 8192;
/// How long an answered request is held: calls may be reported a little after the request that made
/// them.
const ANSWERED_HELD: Duration = Duration::from_millis(5);
/// A call may end a little after its request: stamps are taken at the end of calls.
const SLACK: Duration = Duration::from_millis(1);
/// Open requests among which a guess is told. What is observed at such a load is what is easy, and makes
/// guesses at the rest look better than they are.
pub(crate) const GUESSED_AMONG_MAX: usize = 32;
/// A process is taken for one whose runtime tells its units for so long after it did.
const UNITS_MEMORY: Duration = Duration::from_secs(60);
/// Where requests share connections, or observations came after the answer that they are of (streams are
/// looked at a little later), calls wait so much longer for them; until none came late for a minute.
const LATE: Duration = Duration::from_millis(250);
const LATE_MEMORY: Duration = Duration::from_secs(60);
/// How long a guess is remembered, to be set right by what is observed late.
const GUESS_MEMORY: Duration = Duration::from_secs(5);
/// Work whose cost grows with what is held is done this often.
const SWEEP: Duration = Duration::from_millis(5);

/// A call that waits.
#[derive(Debug)]
struct Waiting {
    call: Call,
    /// The same for inference.
    seen: algorithm::Call,
    wall: WallTime,
    arrived: BootTime,
}

/// What is the same for all processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether all that there is decides, and not an algorithm that somebody chose.
    pub(crate) is_auto: bool,
    pub(crate) window: Duration,
    pub(crate) link_wait: Duration,
    pub(crate) expiry: Duration,
}

/// One process.
pub(crate) struct Process {
    strong: Strong,
    /// By start.
    requests: VecDeque<Candidate>,
    open: usize,
    /// So many of the first requests are all answered.
    settled: usize,
    /// By start.
    waiting: VecDeque<Waiting>,
    /// Links that may still change, with when they were written.
    provisional: Vec<(Link, BootTime)>,
    evidence: FxHashMap<SpanId, Evidence>,
    /// Calls that were guessed, or have no parent: when they began, of how many, and when that was decided.
    guessed: FxHashMap<SpanId, (WallTime, u32, BootTime)>,
    /// When something was last observed after its call was guessed.
    late: Option<BootTime>,
    /// Open requests of connections with streams, and whether two of one were ever open at once.
    streams: FxHashMap<ConnectionId, u32>,
    is_shared: bool,
    has_news: bool,
    next_sweep: BootTime,
    background: Background,
    inferred: Inferred,
    /// Until when a runtime's units are believed to be told. What these leave unexplained is not like what they
    /// explain, so that nothing says how right a guess would be.
    has_units: BootTime,
    /// Calls that none of its requests made, since they were taken last.
    pub(crate) roots: Vec<SpanId>,
    pub(crate) shed: u64,
}

impl Process {
    /// `algorithm` answers where nothing was observed.
    pub(crate) fn new(algorithm: &'static Row) -> Self {
        Self {
            strong: Strong::default(),
            requests: VecDeque::new(),
            open: 0,
            settled: 0,
            waiting: VecDeque::new(),
            provisional: Vec::new(),
            evidence: FxHashMap::default(),
            guessed: FxHashMap::default(),
            late: None,
            streams: FxHashMap::default(),
            is_shared: false,
            has_news: false,
            next_sweep: BootTime(0),
            background: Background::default(),
            inferred: Inferred::new(algorithm),
            has_units: BootTime(0),
            roots: Vec::new(),
            shed: 0,
        }
    }

    /// Another algorithm answers from now on.
    pub(crate) fn set_algorithm(&mut self, algorithm: &'static Row) {
        self.inferred = Inferred::new(algorithm);
    }

    /// Nothing waits and nothing is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.waiting.is_empty() && self.provisional.is_empty()
    }

    /// A request was read.
    pub(crate) fn opened(&mut self, message: &Message) {
        let span = message.span;
        if self.requests.len() >= HELD_MAX
            && let Some(gone) = self.requests.pop_front()
        {
            self.shed += 1;
            self.settled = self.settled.saturating_sub(1);
            self.open -= usize::from(gone.end.is_none());
        }
        let start = message.last.time;
        if message.stream.stream != 0 && self.streams.len() < HELD_MAX {
            let open = self.streams.entry(message.stream.connection).or_default();
            *open += 1;
            self.is_shared |= *open >= 2;
        }
        if self.open == 0 {
            self.background.busy_from(start);
        }
        self.open += 1;
        let at = place(&self.requests, (start, span), |r| (r.start, r.span));
        let candidate = Candidate {
            span,
            start,
            end: None,
            trace_context: message.trace_context,
            made: Vec::new(),
        };
        self.requests.insert(at, candidate);
        self.inferred.opened(span, start, message.last.tid.0.into());
        self.settled = self.settled.min(at);
    }

    /// A request was answered, or given up.
    pub(crate) fn closed(&mut self, span: &Span) {
        let start = span.request[1].time;
        if let Some(open) = self.streams.get_mut(&span.connection) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.streams.remove(&span.connection);
            }
        }
        self.settle_first(BootTime(u64::MAX));
        // Mostly the oldest that is open: then there is nothing to search.
        let found = match self.requests.get(self.settled) {
            Some(oldest) if (oldest.start, oldest.span) == (start, span.id) => Some(self.settled),
            _ => find(&self.requests, (start, span.id), |r| (r.start, r.span)),
        };
        let Some(request) = found.and_then(|at| self.requests.get_mut(at)) else { return };
        if request.end.is_some() {
            return;
        }
        let end = match span.response {
            Some([_, last]) => last.time,
            // Given up: it ended when that was decided, which may be long after its last byte.
            None => span.request[0].time.plus(span.end.since(span.start)),
        };
        request.end = Some(end.max(start));
        self.inferred.closed(span, end.max(start));
        self.open -= 1;
        if self.open == 0 {
            self.background.idle_from(end);
        }
    }

    /// A call ended.
    pub(crate) fn called(&mut self, span: &Span, callee: u64) {
        let end = match span.response {
            Some([_, last]) => last.time,
            None => span.request[0].time.plus(span.end.since(span.start)),
        };
        let call = Call {
            span: span.id,
            start: span.request[0].time,
            end,
            callee,
            trace_context: span.trace_context,
            evidence: None,
            background: 0.0,
        };
        if span.request[0].unit.kind() != UnitKind::Thread {
            self.has_units = self.has_units.max(end.plus(UNITS_MEMORY));
        }
        let seen = inferred::call(span, end);
        let at = place(&self.waiting, (call.start, call.span), |w| (w.call.start, w.call.span));
        self.waiting.insert(at, Waiting { call, seen, wall: span.start, arrived: end });
    }

    /// Something was observed of a call; what was guessed of it before is set right.
    pub(crate) fn observed(&mut self, evidence: Evidence, out: &mut Vec<Link>) {
        if let Some((child_start, candidates, _)) = self.guessed.remove(&evidence.child)
            && evidence.parent.is_some()
        {
            self.late = Some(evidence.time);
            out.push(Link {
                child: evidence.child,
                parent: evidence.parent,
                child_start,
                method: strong::method(evidence.kind),
                relation: Relation::Child,
                confidence: evidence.confidence,
                algorithm: AUTO.name.into(),
                candidates,
                generation: 1,
                is_final: true,
            });
            return;
        }
        self.has_news = true;
        let room = self.evidence.len() < HELD_MAX;
        match self.evidence.get_mut(&evidence.child) {
            Some(known) if evidence.kind < known.kind => *known = evidence,
            Some(_) => {}
            None if room => {
                self.evidence.insert(evidence.child, evidence);
            }
            None => self.shed += 1,
        }
    }

    /// Decides the calls for which nothing more can be learned, and those that waited too long.
    pub(crate) fn decide(&mut self, now: BootTime, rules: &Rules, out: &mut Vec<Link>) {
        let since = now.minus(rules.link_wait);
        let was_late = self.late.is_some_and(|late| now.since(late) < LATE_MEMORY);
        let is_late = was_late || self.is_shared;
        let answered = if is_late { now.minus(LATE) } else { BootTime(u64::MAX) };
        let gate = if self.waiting.is_empty() { BootTime(0) } else { self.gate(since, answered) };
        while let Some(first) = self.waiting.front() {
            let is_ready = first.call.start < gate || first.arrived < since;
            if !is_ready && self.waiting.len() <= HELD_MAX {
                break;
            }
            self.shed += u64::from(!is_ready);
            let Some(first) = self.waiting.pop_front() else { break };
            self.link(first, now, rules, out);
        }
        if now >= self.next_sweep {
            self.next_sweep = now.plus(SWEEP);
            if std::mem::take(&mut self.has_news) {
                self.decide_certain(now, rules, out);
            }
            self.forget(now, rules.expiry);
        }
    }

    /// When the first request began that is open, and not for so long that nobody waits for it.
    /// Requests that were not answered before `answered` count as open.
    fn gate(&mut self, since: BootTime, answered: BootTime) -> BootTime {
        if self.open == 0 && answered == BootTime(u64::MAX) {
            return answered;
        }
        self.settle_first(answered);
        let rest = self.requests.range(self.settled.min(self.requests.len())..);
        let is_open = |request: &&Candidate| request.end.is_none_or(|end| end > answered);
        let mut open = rest.filter(|request| is_open(request) && request.start >= since);
        open.next().map_or(BootTime(u64::MAX), |request| request.start)
    }

    /// Passes over the first requests that were answered before `answered`.
    fn settle_first(&mut self, answered: BootTime) {
        let is_over = |request: &Candidate| request.end.is_some_and(|end| end <= answered);
        while self.requests.get(self.settled).is_some_and(is_over) {
            self.settled += 1;
        }
    }

    /// Decides what is held up by slow requests although it is known already.
    fn decide_certain(&mut self, now: BootTime, rules: &Rules, out: &mut Vec<Link>) {
        if self.waiting.is_empty() {
            return;
        }
        for mut waiting in std::mem::take(&mut self.waiting) {
            waiting.call.evidence = self.evidence.get(&waiting.call.span).copied();
            if self.strong.is_certain(&waiting.call) {
                self.link(waiting, now, rules, out);
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    fn link(&mut self, waiting: Waiting, now: BootTime, rules: &Rules, out: &mut Vec<Link>) {
        let mut call = waiting.call;
        call.evidence = self.evidence.remove(&call.span);
        let call_end = call.end;
        let started = self.requests.partition_point(|request| request.start <= call.start);
        let mut candidates: Vec<&Candidate> = Vec::new();
        let within = |slack: Duration| {
            let contains = move |end: BootTime| call_end <= end.plus(slack);
            self.requests.range(..started).filter(move |r| r.end.is_none_or(contains))
        };
        candidates.extend(within(Duration(0)));
        // Only where none contains the call in full: a request that has just ended would stand beside
        // the right one, and make choices look hard that are easy.
        if candidates.is_empty() {
            candidates.extend(within(SLACK));
        }
        self.background.call(call.start, !candidates.is_empty());
        call.background = self.background.share();
        let is_open = candidates.iter().any(|candidate| candidate.end.is_none());
        let is_final = !is_open || self.strong.is_certain(&call);
        // Where requests share connections they are served in any order, and a guess has nothing to go by.
        let is_unlike = call.start < self.has_units || self.is_shared;
        let among = if is_unlike { 1 } else { GUESSED_AMONG_MAX };
        let may_guess = !rules.is_auto || candidates.len() <= among;
        let guess = self.strong.choose(&call, &candidates, rules.is_auto);
        let observed = call.evidence.and_then(|seen| seen.parent);
        let guess = guess.filter(|guess| {
            let is_order = guess.method == Method::Order && self.is_shared;
            let is_guess = guess.method == Method::Inferred || is_order;
            let is_observed =
                candidates.get(guess.candidate).is_some_and(|it| Some(it.span) == observed);
            may_guess || !is_guess || is_observed
        });
        let parent = guess.and_then(|guess| candidates.get(guess.candidate).copied());
        let (Some(guess), Some(parent)) = (guess, parent) else {
            let candidates = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
            self.guess(call.span, waiting.wall, candidates, now);
            self.roots.push(call.span);
            return;
        };
        let (start, parent) = (parent.start, parent.span);
        let link = Link {
            child: call.span,
            parent: Some(parent),
            child_start: waiting.wall,
            method: guess.method,
            relation: Relation::Child,
            confidence: guess.confidence.clamp(0.0, 1.0),
            algorithm: AUTO.name.into(),
            candidates: u32::try_from(candidates.len()).unwrap_or(u32::MAX),
            generation: 0,
            is_final,
        };
        self.inferred.linked(waiting.seen, &link, !inferred::is_guess(&link));
        let found = find(&self.requests, (start, parent), |r| (r.start, r.span));
        if let Some(request) = found.and_then(|at| self.requests.get_mut(at)) {
            request.made.push(call.callee);
        }
        if !is_final {
            if self.provisional.len() < HELD_MAX {
                self.provisional.push((link.clone(), now));
            } else {
                self.shed += 1;
            }
        } else if inferred::is_guess(&link) {
            self.guess(link.child, link.child_start, link.candidates, now);
        }
        out.push(link);
    }

    /// Nothing was observed of a call until now.
    fn guess(&mut self, call: SpanId, start: WallTime, candidates: u32, now: BootTime) {
        if self.guessed.len() < HELD_MAX {
            self.guessed.insert(call, (start, candidates, now));
        }
    }

    /// Answers for calls of which nothing was observed, once in a while. To be called now and then.
    pub(crate) fn infer(&mut self, now: BootTime, rules: &Rules, out: &mut Vec<Link>) {
        let undecided = self.waiting.front().map_or(now, |waiting| waiting.call.start);
        self.inferred.tick(now, undecided, rules.window, out);
    }

    /// Guesses that stayed guesses because too much happened, since it was asked last.
    pub(crate) fn passed_over(&mut self) -> u64 {
        std::mem::take(&mut self.inferred.passed_over)
    }

    /// Writes the last word on provisional links: what was observed since, or that nothing was and
    /// their parent is answered. To be called now and then.
    pub(crate) fn settle(&mut self, now: BootTime, rules: &Rules, out: &mut Vec<Link>) {
        if self.provisional.is_empty() {
            return;
        }
        let evidence = &mut self.evidence;
        let oldest = now.minus(rules.expiry);
        let open = self.requests.iter().filter(|request| request.end.is_none());
        let open: FxHashSet<SpanId> = open.map(|request| request.span).collect();
        self.provisional.retain(|(link, since)| {
            let mut last = Link { generation: link.generation + 1, is_final: true, ..link.clone() };
            if let Some(seen) = evidence.remove(&link.child)
                && seen.parent.is_some()
            {
                last.parent = seen.parent;
                last.method = Method::Thread;
                last.confidence = seen.confidence;
            } else if *since > oldest && link.parent.is_some_and(|parent| open.contains(&parent)) {
                return true;
            }
            out.push(last);
            false
        });
    }

    /// Lets go of requests in which no undecided call can lie, and of those nobody answers.
    fn forget(&mut self, now: BootTime, expiry: Duration) {
        let undecided = self.waiting.front().map_or(now, |waiting| waiting.call.start);
        let answered_before = now.minus(ANSWERED_HELD).min(undecided.minus(SLACK));
        // Their spans come when they expire, so these were shed.
        let open_since = now.minus(expiry).minus(expiry);
        let open = &mut self.open;
        self.settled = 0;
        self.requests.retain(|request| match request.end {
            Some(end) => end >= answered_before,
            None => {
                let keep = request.start >= open_since;
                *open -= usize::from(!keep);
                keep
            }
        });
        if !self.guessed.is_empty() {
            self.guessed.retain(|_, (.., time)| now.since(*time) < GUESS_MEMORY);
        }
        let oldest = now.minus(expiry);
        if self.evidence.len() > HELD_MAX / 2 || !self.has_news {
            self.evidence.retain(|_, evidence| evidence.time >= oldest);
        }
    }
}

/// Where `key` is in `list`, which is ordered: mostly near its end, so that is where the search begins.
fn find<T, K: Ord>(list: &VecDeque<T>, key: K, of: impl Fn(&T) -> K) -> Option<usize> {
    let (mut to, mut step) = (list.len(), 1);
    let from = loop {
        let at = to.saturating_sub(step);
        match list.get(at).map(&of) {
            Some(here) if here > key && at > 0 => (to, step) = (at, step * 2),
            _ => break at,
        }
    };
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        if of(&list[middle]) < key { low = middle + 1 } else { high = middle }
    }
    list.get(low).is_some_and(|item| of(item) == key).then_some(low)
}

/// Where `key` belongs in `list`, which is ordered: nearly always at its end.
fn place<T, K: Ord>(list: &VecDeque<T>, key: K, of: impl Fn(&T) -> K) -> usize {
    match list.back() {
        Some(last) if of(last) > key => list.partition_point(|item| of(item) <= key),
        _ => list.len(),
    }
}
