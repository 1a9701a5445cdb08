//! The order of the stages: capture → protocol → context → correlate, and protocol → span →
//! correlate. Nothing else knows it.
//!
//! The code of all stages is larger than a processor's first cache for instructions. So each of them works
//! on some events together before the next one does; what it is told, and in which order, is the same.
//!
//! The pipeline does no I/O and reads no clock, so a recording gives the same spans and links every
//! time, and the whole path can be tested without root.

use deeptrace_context::{Contexts, Input as ContextInput};
pub use deeptrace_correlate::Options as Correlation;
use deeptrace_correlate::{Correlator, Input as CorrelateInput};
use deeptrace_model::{
    BootTime, Demand, Event, EventBody, Evidence, EvidenceKind, Follow, Message,
};
use deeptrace_protocol::{Handler, Protocols};
use deeptrace_redact::Rules;
use deeptrace_span::{Input as SpanInput, Output as SpanOutput, Spans};

use crate::sink::Batch;

/// How the stages work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a message that its span keeps.
    pub max_payload_size: usize,
    /// How parents are found.
    pub correlation: Correlation,
    /// Protocols beside those of the table.
    pub handlers: Vec<Handler>,
    /// What must not be kept.
    pub rules: Rules,
}

/// Steps that stages take together: enough to be worth fetching their code, few enough to stay in the cache.
const TOGETHER: usize = 64;

/// What the stages behind `protocol` take, in this order.
enum Step {
    Message(Box<Message>),
    /// Its bytes were parsed, and are not there any more.
    Event(Event<'static>),
}

/// All stages of the agent.
pub struct Pipeline {
    protocols: Protocols,
    contexts: Contexts,
    spans: Spans,
    correlator: Correlator,
    parsed: deeptrace_protocol::Output,
    finished: SpanOutput,
    steps: Vec<Step>,
    evidence: Vec<Evidence>,
    /// Length of `evidence` after each step.
    told: Vec<usize>,
    unwanted: Vec<EvidenceKind>,
    /// Whether the bytes of calls are overwritten, and messages come beside them.
    is_redacted: bool,
}

impl Pipeline {
    /// Fresh stages.
    pub fn new(options: Options) -> Self {
        let protocol = deeptrace_protocol::Options {
            max_payload_size: options.max_payload_size,
            handlers: options.handlers,
            rules: options.rules.clone(),
            ..Default::default()
        };
        let span = deeptrace_span::Options { rules: options.rules, ..Default::default() };
        Self {
            protocols: Protocols::new(protocol),
            contexts: Contexts::new(Default::default()),
            spans: Spans::new(span),
            correlator: Correlator::new(options.correlation),
            parsed: Default::default(),
            finished: Default::default(),
            steps: Vec::with_capacity(TOGETHER),
            evidence: Vec::new(),
            told: Vec::with_capacity(TOGETHER),
            unwanted: Vec::new(),
            is_redacted: false,
        }
    }

    /// Takes an event. What capture should copy goes to `demand`; what is finished goes to `out`, now or
    /// when it is [settled](Self::settle).
    pub fn feed(&mut self, event: &Event<'_>, out: &mut Batch, demand: &mut dyn FnMut(Demand)) {
        match &event.body {
            EventBody::Redacted => self.is_redacted = true,
            EventBody::Message(message) => {
                return self.push(Step::Message(message.clone()), out);
            }
            // There is nothing to parse, and what was parsed comes by itself.
            EventBody::Call(_) | EventBody::Plaintext(_) if self.is_redacted => {}
            _ => {
                self.protocols.feed(event, &mut self.parsed);
                self.parsed(demand);
            }
        }
        // After its messages: what a connection still said is known when it is closed.
        self.push(Step::Event(event.without_payload()), out);
    }

    /// Finishes what can be of the events so far. To be called when no more are there for now.
    pub fn settle(&mut self, out: &mut Batch) {
        for step in &self.steps {
            let input = match step {
                Step::Message(message) => ContextInput::Message(message),
                Step::Event(event) => ContextInput::Event(event),
            };
            self.contexts.feed(input, &mut self.evidence);
            self.told.push(self.evidence.len());
        }
        self.swap_spans(out);
        let (mut steps, mut told) =
            (std::mem::take(&mut self.steps), std::mem::take(&mut self.told));
        let mut before = 0;
        for (step, until) in steps.drain(..).zip(told.drain(..)) {
            if let Step::Message(message) = &step {
                self.correlator.feed(CorrelateInput::Message(message), &mut out.links);
            }
            let known = self.finished.spans.len();
            match step {
                Step::Message(message) => {
                    self.spans.feed(SpanInput::Message(message), &mut self.finished);
                }
                Step::Event(event) => {
                    self.spans.feed(SpanInput::Event(&event), &mut self.finished);
                }
            }
            self.correlate(before..until, known, out);
            before = until;
        }
        self.end_of_steps(out);
        // Given back, so that their room is used again.
        (self.steps, self.told) = (steps, told);
    }

    /// Lets the stages give up what waited for too long. To be called about ten times a second.
    pub fn tick(&mut self, now: BootTime, out: &mut Batch, demand: &mut dyn FnMut(Demand)) {
        self.protocols.tick(now, &mut self.parsed);
        self.parsed(demand);
        self.settle(out);
        self.contexts.tick(now, &mut self.evidence);
        self.swap_spans(out);
        let known = self.finished.spans.len();
        self.spans.tick(now, &mut self.finished);
        self.correlate(0..self.evidence.len(), known, out);
        self.correlator.tick(now, &mut out.links);
        self.end_of_steps(out);
    }

    /// Takes what `context` wants of capture since the last time.
    pub fn follows(&mut self, out: &mut dyn FnMut(Follow)) {
        self.contexts.follows(out);
    }

    /// No more events will come: gives out what is known of everything under way.
    pub fn end(&mut self, now: BootTime, out: &mut Batch) {
        self.protocols.end(&mut self.parsed);
        self.tick(now, out, &mut |_| {});
    }

    /// Tells each counter of each stage with its value since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        self.protocols.counters(out);
        self.contexts.counters(out);
        self.spans.counters(out);
        self.correlator.counters(out);
    }

    /// Changes how many bytes of a message its span keeps; for messages that begin from now on.
    pub fn set_max_payload_size(&mut self, bytes: usize) {
        self.protocols.set_max_payload_size(bytes);
    }

    /// Changes what must not be kept; for messages and spans that end from now on.
    pub fn set_rules(&mut self, rules: &Rules) {
        self.protocols.set_rules(rules.clone());
        self.spans.set_rules(rules.clone());
    }

    /// Changes how parents are found, from now on.
    pub fn set_correlation(&mut self, correlation: Correlation) {
        self.correlator.set_options(correlation);
    }

    /// Evidence of these kinds is not used.
    pub fn set_unwanted(&mut self, kinds: Vec<EvidenceKind>) {
        self.unwanted = kinds;
    }

    /// What `protocol` has said.
    fn parsed(&mut self, demand: &mut dyn FnMut(Demand)) {
        self.parsed.demands.drain(..).for_each(demand);
        self.steps.extend(self.parsed.messages.drain(..).map(Step::Message));
    }

    fn push(&mut self, step: Step, out: &mut Batch) {
        self.steps.push(step);
        if self.steps.len() >= TOGETHER {
            self.settle(out);
        }
    }

    /// Tells `correlate` of evidence, and of spans that were finished beside the first `known`. Evidence goes
    /// before the span of the answer that gave it.
    fn correlate(&mut self, evidence: std::ops::Range<usize>, known: usize, out: &mut Batch) {
        for evidence in &self.evidence[evidence] {
            if !self.unwanted.contains(&evidence.kind) {
                self.correlator.feed(CorrelateInput::Evidence(*evidence), &mut out.links);
            }
        }
        for span in &self.finished.spans[known..] {
            self.correlator.feed(CorrelateInput::Span(span), &mut out.links);
        }
    }

    fn end_of_steps(&mut self, out: &mut Batch) {
        self.evidence.clear();
        out.roots.append(self.correlator.roots());
        out.gaps.append(&mut self.finished.gaps);
        self.swap_spans(out);
    }

    /// Spans are finished where they stay, in a batch that is lent to the stage: they are large.
    fn swap_spans(&mut self, out: &mut Batch) {
        std::mem::swap(&mut self.finished.spans, &mut out.spans);
    }
}
