//! The stage: requests as they open, spans and evidence in, links out.

use std::collections::BTreeMap;

use deeptrace_model::{
    BootTime, Direction, Duration, Evidence, Link, Message, MessageRole, Pid, Span, SpanId,
    SpanKind, Value, hash_bytes, hash64,
};

use crate::AUTO;
use crate::algorithm::Row;
use crate::process::{Process, Rules};

/// How to correlate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// A link is written provisionally when its call waited for so long.
    pub link_wait: Duration,
    /// A request that is open for longer is nobody's parent any more.
    pub expiry: Duration,
    /// Who answers where nothing was observed.
    pub algorithm: &'static Row,
    /// How much of a process's past it looks at together.
    pub window: Duration,
    /// Processes that are remembered; beyond, the lowest pid makes room.
    pub processes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            link_wait: Duration::from_secs(10),
            expiry: Duration::from_secs(60),
            algorithm: AUTO,
            window: Duration::from_secs(1),
            processes_max: 16_384,
        }
    }
}

/// What the stage takes, in the order in which it happens: a request's message before its span, and
/// the evidence that an answer gives before the answered span.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A message: requests that open are what calls may wait for.
    Message(&'a Message),
    /// A finished span.
    Span(&'a Span),
    /// Something observed.
    Evidence(Evidence),
}

/// Finds the parents of calls.
pub struct Correlator {
    options: Options,
    processes: BTreeMap<Pid, Process>,
    links: u64,
    shed: u64,
    passed_over: u64,
    roots: Vec<SpanId>,
}

impl Correlator {
    /// An empty stage.
    pub fn new(options: Options) -> Self {
        let (processes, roots) = (BTreeMap::new(), Vec::new());
        Self { options, processes, links: 0, shed: 0, passed_over: 0, roots }
    }

    /// Changes how long calls wait for their links, and who answers where nothing was observed; what was
    /// learned with another algorithm is forgotten.
    pub fn set_options(&mut self, options: Options) {
        if options.algorithm != self.options.algorithm {
            self.processes
                .values_mut()
                .for_each(|process| process.set_algorithm(options.algorithm));
        }
        self.options = options;
    }

    /// Takes what happened.
    pub fn feed(&mut self, input: Input<'_>, out: &mut Vec<Link>) {
        match input {
            Input::Message(message) => self.message(message),
            Input::Evidence(evidence) => {
                let before = out.len();
                if let Some(process) = self.processes.get_mut(&evidence.pid) {
                    process.observed(evidence, out);
                }
                self.links += (out.len() - before) as u64;
            }
            Input::Span(span) => self.span(span, out),
        }
    }

    /// Decides what waited for too long, and forgets. To be called about ten times a second.
    pub fn tick(&mut self, now: BootTime, out: &mut Vec<Link>) {
        let before = out.len();
        let rules = self.rules();
        for process in self.processes.values_mut() {
            process.decide(now, &rules, out);
            process.settle(now, &rules, out);
            process.infer(now, &rules, out);
            self.passed_over += process.passed_over();
            self.shed += std::mem::take(&mut process.shed);
            self.roots.append(&mut process.roots);
        }
        self.links += (out.len() - before) as u64;
    }

    /// Calls that no request of their process made, as far as was seen, since they were taken last. To be taken
    /// after each [`feed`](Self::feed) and [`tick`](Self::tick).
    pub fn roots(&mut self) -> &mut Vec<SpanId> {
        &mut self.roots
    }

    /// Tells each counter with its value since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("correlate_links_total", self.links);
        out("correlate_shed_total", self.shed);
        out("correlate_not_inferred_total", self.passed_over);
        let busy = self.processes.values().filter(|process| !process.is_idle()).count();
        out("correlate_processes", busy as u64);
    }

    fn process(&mut self, pid: Pid) -> &mut Process {
        if self.processes.len() >= self.options.processes_max && !self.processes.contains_key(&pid)
        {
            self.processes.pop_first();
        }
        let algorithm = self.options.algorithm;
        self.processes.entry(pid).or_insert_with(|| Process::new(algorithm))
    }

    fn rules(&self) -> Rules {
        Rules {
            is_auto: self.options.algorithm == AUTO,
            window: self.options.window,
            link_wait: self.options.link_wait,
            expiry: self.options.expiry,
        }
    }

    fn message(&mut self, message: &Message) {
        if (message.role, message.direction) == (MessageRole::Request, Direction::Received) {
            self.process(message.first.pid).opened(message);
        }
    }

    fn span(&mut self, span: &Span, out: &mut Vec<Link>) {
        let rules = self.rules();
        let process = self.process(span.process.pid);
        let last = span.response.map_or(span.request[1], |[_, last]| last);
        match span.kind {
            SpanKind::Server => process.closed(span),
            SpanKind::Client | SpanKind::Producer => {
                process.called(span, callee(span));
            }
            SpanKind::Consumer | SpanKind::Internal => return,
        }
        let before = out.len();
        process.decide(last.time, &rules, out);
        let roots = std::mem::take(&mut process.roots);
        self.roots.extend(roots);
        self.links += (out.len() - before) as u64;
    }
}

/// What is called: protocol, peer and name.
pub(crate) fn callee(span: &Span) -> u64 {
    let attribute = |wanted: &str| match span.attributes.get(wanted) {
        Some(Value::Text(text)) => hash_bytes(text.as_bytes()),
        Some(Value::Int(number)) => *number as u64,
        _ => 0,
    };
    let (address, port) = (attribute("network.peer.address"), attribute("network.peer.port"));
    hash64(&[hash_bytes(span.protocol.as_bytes()), hash_bytes(span.name.as_bytes()), address, port])
}

#[cfg(test)]
mod tests;
