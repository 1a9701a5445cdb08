//! Spans: pairs requests with responses, and gives up what stays open.
//!
//! Within one connection and stream a response answers the oldest open request. After a loss on
//! a connection that never pipelined, it answers the newest: the older one's answer was lost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use deeptrace_bounded::Bounded;
use deeptrace_model::{
    BootTime, Close, ConnectionId, Duration, Event, EventBody, Gap, Incomplete, Message,
    MessageRole, Span, Transport,
};
use deeptrace_redact::Rules;

use crate::assemble::Outcome;
use crate::connection::{Connection, Oldest, Pending};
use crate::emit::Emitter;
use crate::redact::Redactor;

/// Sockets known at once. Beyond, one that was not used lately makes room: only of TCP the end is told.
pub(crate) const CONNECTIONS_MAX: usize = 65_536;
/// How many times longer a TCP socket stays than others: it is alive as long as its end was not told.
const TCP_CHANCES: u8 = 8;
/// When to look at requests: twice as many entries as sockets, as those of sockets that are gone stay.
const EXPIRIES_MAX: usize = 2 * CONNECTIONS_MAX;
/// Requests open at once on one socket. Beyond, the oldest is given up.
const REQUESTS_MAX: usize = 4096;

/// What can be set.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a request waits for its response.
    pub expiry: Duration,
    /// How long a response waits for a request that is recorded after it, and a closed socket
    /// for messages that are still on their way.
    pub hold: Duration,
    /// Distinct span names per service; further ones become `{other}`.
    pub names_per_service: usize,
    /// What must not be kept.
    pub rules: Rules,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            expiry: Duration::from_secs(60),
            hold: Duration::from_millis(50),
            names_per_service: 200,
            rules: Rules::default(),
        }
    }
}

/// What the stage takes. The messages of an event MUST come before the event itself, so that what a
/// closing connection still said is known when it is closed.
#[derive(Debug)]
pub enum Input<'a> {
    /// What the kernel told.
    Event(&'a Event<'a>),
    /// What the parsers cut.
    Message(Box<Message>),
}

/// What comes out. The caller takes it.
#[derive(Debug, Default)]
pub struct Output {
    /// Finished spans.
    pub spans: Vec<Span>,
    /// Times in which events are missing.
    pub gaps: Vec<Gap>,
}

/// Pairs messages into spans.
#[derive(Debug)]
pub struct Spans {
    options: Options,
    emitter: Emitter,
    now: BootTime,
    connections: Bounded<ConnectionId, Connection>,
    /// When to look at a connection's oldest request; one entry for each with open ones.
    expiries: BinaryHeap<Reverse<(BootTime, ConnectionId)>>,
    /// When to give up the early responses of a connection. In order: the wait is constant.
    holds: VecDeque<(BootTime, ConnectionId)>,
    /// When to forget a closed connection. In order: the wait is constant.
    closings: VecDeque<(BootTime, BootTime, Close)>,
    count: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    expired: u64,
    orphans: u64,
    late: u64,
    early: u64,
    interim: u64,
    response_lost: u64,
    requests_shed: u64,
    connections_shed: u64,
}

impl Spans {
    /// With nothing known yet.
    pub fn new(options: Options) -> Self {
        Self {
            emitter: Emitter::new(&options),
            options,
            now: BootTime(0),
            connections: Bounded::new(CONNECTIONS_MAX),
            expiries: BinaryHeap::new(),
            holds: VecDeque::new(),
            closings: VecDeque::new(),
            count: Counts::default(),
        }
    }

    /// Changes what must not be kept; for spans that end from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.emitter.redactor = Redactor::new(rules);
    }

    /// Takes one event or message.
    pub fn feed(&mut self, input: Input<'_>, out: &mut Output) {
        match input {
            Input::Event(event) => self.event(event, out),
            Input::Message(message) => {
                self.now = self.now.max(message.last.time);
                match message.role {
                    MessageRole::Request => self.request(message, out),
                    MessageRole::Response => self.response(message, out),
                    MessageRole::OneWay => self.one_way(message, out),
                }
            }
        }
    }

    /// Gives up what has waited long enough at `now`.
    pub fn tick(&mut self, now: BootTime, out: &mut Output) {
        self.now = self.now.max(now);
        let now = self.now;
        while self.holds.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.holds.pop_front() else { break };
            self.drop_early(id, now.minus(self.options.hold));
        }
        while self.closings.front().is_some_and(|(at, _, _)| *at <= now) {
            let Some((_, time, close)) = self.closings.pop_front() else { break };
            self.closed(&close, time, out);
        }
        while self.expiries.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, id))) = self.expiries.pop() else { break };
            self.expire(id, out);
        }
        let emitter = &mut self.emitter;
        emitter.processes.tick(now);
        out.gaps.extend(emitter.gaps.ended(now, &emitter.clock));
    }

    /// Gives up everything that is open: the source has ended.
    pub fn finish(&mut self, out: &mut Output) {
        while let Some((_, time, close)) = self.closings.pop_front() {
            self.closed(&close, time, out);
        }
        let mut ids: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        for id in ids {
            let Some(connection) = self.connections.remove(id) else { continue };
            self.give_up(id, connection, "no response seen when capture ended", out);
        }
        self.holds.clear();
        self.expiries.clear();
        out.gaps.extend(self.emitter.gaps.finish(&self.emitter.clock));
    }

    /// Names and values of the counters, and of what is held now.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let (count, emitter) = (&self.count, &self.emitter);
        out("span_spans_total", emitter.spans);
        out("span_unanswered_total", emitter.unanswered);
        out("span_expired_total", count.expired);
        out("span_orphan_responses_total", count.orphans);
        out("span_late_responses_total", count.late);
        out("span_early_responses_total", count.early);
        out("span_interim_responses_total", count.interim);
        out("span_lost_responses_total", count.response_lost);
        out("span_failed_connects_total", emitter.failed_connects);
        out("span_requests_shed_total", count.requests_shed);
        out("span_connections_shed_total", count.connections_shed);
        out("span_processes_shed_total", emitter.processes.shed);
        out("span_unix_pairs_shed_total", emitter.pairs.shed);
        out("span_items_shed_total", emitter.items.shed);
        out("span_items_unknown_total", emitter.items.unknown);
        out("span_names_replaced_total", emitter.names.replaced);
        out("span_events_lost_total", emitter.gaps.lost_total);
        out("span_connections", self.connections.len() as u64);
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Output) {
        let before = self.now;
        self.now = self.now.max(event.time);
        self.emitter.event(event, before, out);
        match &event.body {
            EventBody::Open(open) => {
                let lost = self.emitter.gaps.lost_total;
                let connection = Connection::open(open, event.id, event.time, lost);
                self.insert(open.connection, connection, out);
                self.emitter.pairs.open(open);
            }
            EventBody::Call(call) => {
                if !self.connections.touch(call.connection) {
                    return;
                }
                let Some(connection) = self.connections.touched() else { return };
                connection.is_used = true;
                if let Some(pair) = connection.ends.unix_pair {
                    self.emitter.pairs.call(pair, call);
                }
            }
            EventBody::Close(close) => {
                let at = self.now.plus(self.options.hold);
                self.closings.push_back((at, event.time, close.clone()));
            }
            _ => {}
        }
    }

    fn request(&mut self, message: Box<Message>, out: &mut Output) {
        let id = message.stream.connection;
        self.know(id, out);
        let Some(connection) = self.connections.touched() else { return };
        let emitter = &mut self.emitter;
        emitter.items.put(&message);
        let pending = pending(emitter, message);
        connection.is_used = true;
        if let Some(response) = connection.take_early(&pending.message, emitter.gaps.lost_total) {
            self.count.early += 1;
            emitter.emit(id, connection.place(), pending, Outcome::Answered(response), out);
            return;
        }
        let since = pending.message.first.time;
        connection.push(pending);
        let is_queued = std::mem::replace(&mut connection.is_queued, true);
        if connection.requests.len() > REQUESTS_MAX
            && let Some(oldest) = connection.requests.pop_front()
        {
            self.count.requests_shed += 1;
            if let Some(pending) = oldest.pending {
                let outcome = Outcome::GivenUp("too many requests open", self.now);
                emitter.emit(id, connection.place(), pending, outcome, out);
            }
        }
        if !is_queued {
            self.queue(since, id);
        }
    }

    fn response(&mut self, message: Box<Message>, out: &mut Output) {
        if message.interim {
            self.count.interim += 1;
            return;
        }
        let id = message.stream.connection;
        self.know(id, out);
        // What is lost inside it says nothing of the answers before it.
        let inside = u32::from(message.incomplete == Some(Incomplete::Lost));
        if message.lost_events > inside {
            self.resynchronise(&message, out);
        }
        let Some(connection) = self.connections.touched() else { return };
        match connection.take(message.stream.stream, message.direction.opposite()) {
            Oldest::Waiting(pending) => {
                let outcome = Outcome::Answered(message);
                self.emitter.emit(id, connection.place(), pending, outcome, out);
            }
            Oldest::GivenUp => self.count.late += 1,
            Oldest::Nothing => {
                let since = self.now;
                if connection.hold(message).is_some() {
                    self.count.orphans += 1;
                }
                self.holds.push_back((since.plus(self.options.hold), id));
            }
        }
    }

    /// A response came after a loss: which requests can it not answer?
    fn resynchronise(&mut self, response: &Message, out: &mut Output) {
        let id = response.stream.connection;
        let Some(connection) = self.connections.get_mut(id) else { return };
        // On a pipelined connection nobody knows which answers were lost.
        let keep = usize::from(!connection.is_pipelined);
        if keep == 0 && connection.requests.len() <= 1 {
            return;
        }
        let direction = response.direction.opposite();
        for pending in connection.take_all_but(keep, response.stream.stream, direction) {
            self.count.response_lost += 1;
            let outcome = Outcome::GivenUp("the response was lost by capture", self.now);
            self.emitter.emit(id, connection.place(), pending, outcome, out);
        }
    }

    fn one_way(&mut self, message: Box<Message>, out: &mut Output) {
        let id = message.stream.connection;
        self.emitter.items.put(&message);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_used = true;
            let pending = pending(&self.emitter, message);
            self.emitter.emit(id, connection.place(), pending, Outcome::OneWay, out);
        } else {
            let pending = pending(&self.emitter, message);
            let mut unknown = Connection::unknown();
            self.emitter.emit(id, unknown.place(), pending, Outcome::OneWay, out);
        }
    }

    /// Gives up the responses on `id` that are held since `before` or longer.
    fn drop_early(&mut self, id: ConnectionId, before: BootTime) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        while connection.early.front().is_some_and(|early| early.last.time <= before) {
            connection.early.pop_front();
            self.count.orphans += 1;
        }
    }

    fn closed(&mut self, close: &Close, time: BootTime, out: &mut Output) {
        let id = close.connection;
        let Some(mut connection) = self.connections.remove(id) else { return };
        let emitter = &mut self.emitter;
        if let Some(pair) = connection.ends.unix_pair {
            emitter.pairs.close(pair);
        }
        self.count.orphans += connection.early.len() as u64;
        if close.errno != 0 && !connection.is_used {
            emitter.failed_connect(id, &connection.ends, close.errno, time, out);
        }
        while let Some(request) = connection.requests.pop_front() {
            let Some(pending) = request.pending else { continue };
            let outcome = Outcome::Closed(close.errno, time);
            emitter.emit(id, connection.place(), pending, outcome, out);
        }
    }

    /// Gives up requests on `id` that wait too long. Their places stay, so that a late response
    /// does not answer the next request.
    fn expire(&mut self, id: ConnectionId, out: &mut Output) {
        let (now, expiry) = (self.now, self.options.expiry);
        let Some(connection) = self.connections.get_mut(id) else { return };
        let mut expired = Vec::new();
        for request in &mut connection.requests {
            if request.since.plus(expiry) <= now {
                expired.extend(request.pending.take());
            }
        }
        // A request that nobody answered for a long time on a stream of its own leaves no place.
        connection.requests.retain(|r| r.pending.is_some() || r.stream == 0);
        match connection.oldest() {
            Some(oldest) => self.expiries.push(Reverse((oldest.plus(expiry), id))),
            None => connection.is_queued = false,
        }
        for pending in expired {
            self.count.expired += 1;
            let at = pending.message.first.time.plus(expiry);
            let outcome = Outcome::GivenUp("no response seen", at);
            self.emitter.emit(id, connection.place(), pending, outcome, out);
        }
    }

    /// Marks `id` as used, known or not until now.
    fn know(&mut self, id: ConnectionId, out: &mut Output) {
        if !self.connections.touch(id) {
            self.insert(id, Connection::unknown(), out);
        }
    }

    /// Puts a connection in. One that has to go for it is given up; one that was known already, and is
    /// only described again, keeps what waits on it.
    fn insert(&mut self, id: ConnectionId, connection: Connection, out: &mut Output) {
        let is_tcp = connection.ends.transport == Some(Transport::Tcp);
        let chances = if is_tcp { TCP_CHANCES } else { 1 };
        let Some((old_id, old)) = self.connections.insert_lasting(id, connection, chances) else {
            return;
        };
        if old_id != id {
            self.count.connections_shed += 1;
            self.give_up(old_id, old, "too many connections at once", out);
        } else if let Some(new) = self.connections.touched() {
            new.adopt(old);
        }
    }

    /// Gives up all that waits on a connection that was taken out.
    fn give_up(
        &mut self,
        id: ConnectionId,
        mut connection: Connection,
        why: &'static str,
        out: &mut Output,
    ) {
        self.count.orphans += connection.early.len() as u64;
        while let Some(request) = connection.requests.pop_front() {
            let Some(pending) = request.pending else { continue };
            let outcome = Outcome::GivenUp(why, self.now);
            self.emitter.emit(id, connection.place(), pending, outcome, out);
        }
        if let Some(pair) = connection.ends.unix_pair {
            self.emitter.pairs.close(pair);
        }
    }

    /// Looks at `id` again when a request that waits since `since` has waited long enough.
    fn queue(&mut self, since: BootTime, id: ConnectionId) {
        if self.expiries.len() >= EXPIRIES_MAX {
            self.rebuild_expiries();
        } else {
            self.expiries.push(Reverse((since.plus(self.options.expiry), id)));
        }
    }

    /// Drops the entries of connections that are gone: most of them, when there are so many.
    fn rebuild_expiries(&mut self) {
        let expiry = self.options.expiry;
        let waiting = self.connections.iter().filter(|(_, connection)| connection.is_queued);
        let since = waiting.filter_map(|(id, connection)| Some((connection.oldest()?, id)));
        self.expiries = since.map(|(since, id)| Reverse((since.plus(expiry), id))).collect();
    }
}

fn pending(emitter: &Emitter, message: Box<Message>) -> Pending {
    Pending {
        process: emitter.processes.get(message.first.pid).cloned(),
        lost_before: emitter.gaps.lost_total,
        message,
    }
}
