//! The stage: events and messages in, evidence out.

use std::collections::BTreeMap;

use deeptrace_bounded::Bounded;
use deeptrace_model::{
    BootTime, ConnectionId, Direction, Duration, Event, EventBody, Evidence, Follow, LossCause,
    Message, MessageRole, Open, Origin, Pid, SpanId, StreamKey, UnitId,
};
use rustc_hash::FxHashMap;

use crate::process::{Counts, Process};

/// Connections whose process is remembered. Beyond, one that was not used lately makes room, and what
/// waits on it is forgotten: of no socket but TCP's the end is told.
const CONNECTIONS_MAX: usize = 65_536;
/// Connects that may still fail.
const CONNECTING_MAX: usize = 4096;
/// How often to look for what is too old.
const SWEEP: Duration = Duration::from_secs(1);
/// How often to look what is wanted of capture.
const LOOK: Duration = Duration::from_millis(200);

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A request that is open for longer is forgotten.
    pub expiry: Duration,
    /// Processes that are remembered; beyond, the lowest pid makes room.
    pub processes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { expiry: Duration::from_secs(60), processes_max: 16_384 }
    }
}

/// What the stage takes. The messages of an event come before the event itself.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// An event.
    Event(&'a Event<'a>),
    /// A message that was cut out of it.
    Message(&'a Message),
}

/// Observes who works for whom.
#[derive(Debug)]
pub struct Contexts {
    options: Options,
    boot: u64,
    processes: BTreeMap<Pid, Process>,
    owners: Bounded<ConnectionId, Pid>,
    /// Sockets that called connect and moved nothing yet.
    connecting: FxHashMap<ConnectionId, (Open, BootTime)>,
    next_sweep: BootTime,
    next_look: BootTime,
    follows: Vec<Follow>,
    evidence: u64,
    connections_shed: u64,
    counts: Counts,
}

impl Contexts {
    /// An empty stage.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            boot: 0,
            processes: BTreeMap::new(),
            owners: Bounded::new(CONNECTIONS_MAX),
            connecting: FxHashMap::default(),
            next_sweep: BootTime(0),
            next_look: BootTime(0),
            follows: Vec::new(),
            evidence: 0,
            connections_shed: 0,
            counts: Counts::default(),
        }
    }

    /// Takes an event or a message.
    pub fn feed(&mut self, input: Input<'_>, out: &mut Vec<Evidence>) {
        match input {
            Input::Event(event) => self.event(event),
            Input::Message(message) => {
                let before = out.len();
                self.message(message, out);
                self.evidence += (out.len() - before) as u64;
            }
        }
    }

    /// Looks at shared connections, and forgets what is open for too long. To be called ten times a second.
    pub fn tick(&mut self, now: BootTime, out: &mut Vec<Evidence>) {
        let before = out.len();
        for (pid, process) in &mut self.processes {
            process.tick(*pid, now, out);
        }
        self.evidence += (out.len() - before) as u64;
        if now >= self.next_look {
            self.next_look = now.plus(LOOK);
            for (pid, process) in &mut self.processes {
                process.flow.wants(*pid, &mut self.follows);
            }
        }
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now.plus(SWEEP);
        let (expiry, counts) = (self.options.expiry, &mut self.counts);
        self.processes.retain(|_, process| process.expire(now, expiry, counts));
        let before = now.minus(expiry);
        self.connecting.retain(|_, (_, time)| *time >= before);
    }

    /// Takes what is wanted of capture since the last time.
    pub fn follows(&mut self, out: &mut dyn FnMut(Follow)) {
        self.follows.drain(..).for_each(out);
    }

    /// Tells each counter with its value since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("context_evidence_total", self.evidence);
        out("context_abstained_total", self.counts.abstained);
        out("context_shed_total", self.counts.shed);
        out("context_orphan_answers_total", self.counts.orphans);
        out("context_connections_shed_total", self.connections_shed);
        out("context_connections", self.owners.len() as u64);
        out("context_processes", self.processes.len() as u64);
    }

    fn event(&mut self, event: &Event<'_>) {
        match &event.body {
            EventBody::Host(host) => self.boot = host.boot,
            EventBody::HandOver(hand_over) => {
                if let Some(process) = self.processes.get_mut(&hand_over.pid) {
                    process.streams.handed(event.time, hand_over);
                    process.flow.handed(event.time, hand_over);
                }
            }
            EventBody::Lost { cause, .. } if *cause != LossCause::CopyFailed => {
                for process in self.processes.values_mut() {
                    process.flow.lost(event.time);
                    process.streams.lost();
                }
            }
            EventBody::Exit(pid) => {
                self.processes.remove(pid);
            }
            EventBody::Open(open)
                if open.origin == Origin::Connected && self.connecting.len() < CONNECTING_MAX =>
            {
                self.connecting.insert(open.connection, (open.clone(), event.time));
            }
            EventBody::Call(call) => {
                if !self.connecting.is_empty() {
                    self.connecting.remove(&call.connection);
                }
                if let Some(process) = self.processes.get_mut(&call.pid) {
                    process.streams.moved(event.time, call);
                }
            }
            EventBody::Close(close) => {
                if let Some(pid) = self.owners.remove(close.connection) {
                    self.closed(close.connection, pid);
                }
                let connecting = self.connecting.remove(&close.connection);
                if let Some((open, time)) = connecting.filter(|_| close.errno != 0) {
                    self.failed(&open, time);
                }
            }
            _ => {}
        }
    }

    /// Forgets what waits on a connection of `pid`.
    fn closed(&mut self, connection: ConnectionId, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.closed(connection, &mut self.counts);
        }
    }

    /// `connection` is used by `pid`.
    fn own(&mut self, connection: ConnectionId, pid: Pid) {
        if let Some(owner) = self.owners.get_mut(connection) {
            *owner = pid;
        } else if let Some((old, owner)) = self.owners.insert(connection, pid) {
            self.connections_shed += 1;
            self.closed(old, owner);
        }
    }

    /// A connect failed: a call like others, only that there was no request.
    fn failed(&mut self, open: &Open, time: BootTime) {
        let stream = StreamKey { connection: open.connection, stream: 0 };
        let span = SpanId::derive(self.boot, stream, Direction::Sent, open.sent);
        if let Some(process) = self.processes.get_mut(&open.pid) {
            process.made(span, UnitId(u64::from(open.tid.0)), time, &mut self.counts);
        }
    }

    fn message(&mut self, message: &Message, out: &mut Vec<Evidence>) {
        let is_taken =
            message.role == MessageRole::OneWay && message.direction == Direction::Received;
        if message.interim || is_taken {
            return;
        }
        let pid = message.first.pid;
        if self.processes.len() >= self.options.processes_max && !self.processes.contains_key(&pid)
        {
            self.processes.pop_first();
        }
        if message.role == MessageRole::Request {
            self.own(message.stream.connection, pid);
        }
        let process = self.processes.entry(pid).or_default();
        let counts = &mut self.counts;
        let span = message.span;
        match (message.role, message.direction) {
            (MessageRole::Request, Direction::Received) => {
                process.read(span, message, counts);
                self.follows.extend(process.flow.needs_units().then_some(Follow::Units(pid)));
            }
            (MessageRole::Request, Direction::Sent) => {
                let is_first = self.connecting.contains_key(&message.stream.connection);
                process.call(span, message, is_first, counts);
            }
            (MessageRole::OneWay, _) => {
                process.made(span, message.first.unit, message.first.time, counts);
            }
            (_, Direction::Received) => process.returned(message),
            (_, Direction::Sent) => process.answered(pid, message, counts, out),
        }
    }
}

#[cfg(test)]
impl Contexts {
    /// What is known of a process.
    pub(crate) fn process(&mut self, pid: Pid) -> Option<&mut Process> {
        self.processes.get_mut(&pid)
    }
}

#[cfg(test)]
mod tests;
