//! The stage: events and messages in, evidence out.

use std::collections::BTreeMap;

use deeptrace_model::{
    BootTime, Direction, Duration, Event, EventBody, Evidence, Message, MessageRole, Pid, SpanId,
};

use crate::pin;
use crate::process::Process;

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
#[derive(Debug, Default)]
pub struct Contexts {
    options: Options,
    boot: u64,
    processes: BTreeMap<Pid, Process>,
    evidence: u64,
    abstained: u64,
    shed: u64,
}

impl Contexts {
    /// An empty stage.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Takes an event or a message.
    pub fn feed(&mut self, input: Input<'_>, out: &mut Vec<Evidence>) {
        match input {
            Input::Event(event) => self.event(event),
            Input::Message(message) => self.message(message, out),
        }
    }

    /// Forgets what is open for too long. To be called about once a second.
    pub fn tick(&mut self, now: BootTime, _out: &mut Vec<Evidence>) {
        let before = now.minus(self.options.expiry);
        for process in self.processes.values_mut() {
            self.shed += process.expire(before);
        }
    }

    /// Tells each counter with its value since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("context_evidence_total", self.evidence);
        out("context_abstained_total", self.abstained);
        out("context_shed_requests_total", self.shed);
        out("context_processes", self.processes.len() as u64);
    }

    fn event(&mut self, event: &Event<'_>) {
        match &event.body {
            EventBody::Host(host) => self.boot = host.boot,
            EventBody::Exit(pid) => {
                self.processes.remove(pid);
            }
            EventBody::Close(close) => {
                for process in self.processes.values_mut() {
                    self.shed += process.closed(close.connection);
                }
            }
            _ => {}
        }
    }

    fn message(&mut self, message: &Message, out: &mut Vec<Evidence>) {
        let pid = message.first.pid;
        if !self.processes.contains_key(&pid) {
            if self.processes.len() >= self.options.processes_max {
                self.processes.pop_first();
            }
            self.processes.insert(pid, Process::default());
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let span = || SpanId::derive(self.boot, message.stream, message.direction, message.start);
        let last = message.last;
        match (message.role, message.direction) {
            (MessageRole::Request, Direction::Received) => {
                let followed = process.read(message.stream, span(), last.unit, last.time);
                self.shed += u64::from(!followed);
            }
            (MessageRole::Request, Direction::Sent) => {
                process.call(message.stream, span(), message.first.unit);
            }
            (MessageRole::Response, Direction::Received) if !message.interim => {
                process.returned(message.stream, last.unit);
            }
            (MessageRole::Response, Direction::Sent) if !message.interim => {
                let Some((span, request)) = process.answered(message.stream) else { return };
                let trust = if message.lost_events > 0 { None } else { process.trust() };
                let Some(trust) = trust else {
                    self.abstained += request.calls.len() as u64;
                    return;
                };
                let before = out.len();
                let writer = message.first.unit;
                out.extend(pin::decide(pid, span, &request, writer, trust, last.time));
                self.evidence += (out.len() - before) as u64;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
