//! The order of the stages: capture → protocol → context → correlate, and protocol → span →
//! correlate. Nothing else knows it.
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

/// All stages of the agent.
pub struct Pipeline {
    protocols: Protocols,
    contexts: Contexts,
    spans: Spans,
    correlator: Correlator,
    parsed: deeptrace_protocol::Output,
    finished: SpanOutput,
    evidence: Vec<Evidence>,
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
            evidence: Vec::new(),
            unwanted: Vec::new(),
            is_redacted: false,
        }
    }

    /// Takes an event. What it finishes goes to `out`; what capture should copy to `demand`.
    pub fn feed(&mut self, event: &Event<'_>, out: &mut Batch, demand: &mut dyn FnMut(Demand)) {
        self.swap_spans(out);
        match &event.body {
            EventBody::Redacted => self.is_redacted = true,
            EventBody::Message(message) => {
                self.message(message.clone(), out);
                return self.swap_spans(out);
            }
            // There is nothing to parse, and what was parsed comes by itself.
            EventBody::Call(_) | EventBody::Plaintext(_) if self.is_redacted => {}
            _ => {
                self.protocols.feed(event, &mut self.parsed);
                self.messages(out, demand);
            }
        }
        // After its messages: what a connection still said is known when it is closed.
        self.contexts.feed(ContextInput::Event(event), &mut self.evidence);
        self.spans(out, |spans, finished| spans.feed(SpanInput::Event(event), finished));
        self.swap_spans(out);
    }

    /// Lets the stages give up what waited for too long. To be called about ten times a second.
    pub fn tick(&mut self, now: BootTime, out: &mut Batch, demand: &mut dyn FnMut(Demand)) {
        self.swap_spans(out);
        self.protocols.tick(now, &mut self.parsed);
        self.messages(out, demand);
        self.contexts.tick(now, &mut self.evidence);
        self.spans(out, |spans, finished| spans.tick(now, finished));
        self.correlator.tick(now, &mut out.links);
        out.roots.append(self.correlator.roots());
        self.swap_spans(out);
    }

    /// Takes what `context` wants of capture since the last time.
    pub fn follows(&mut self, out: &mut dyn FnMut(Follow)) {
        self.contexts.follows(out);
    }

    /// No more events will come: gives out what is known of everything under way.
    pub fn end(&mut self, now: BootTime, out: &mut Batch) {
        self.protocols.end(&mut self.parsed);
        self.messages(out, &mut |_| {});
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

    fn messages(&mut self, out: &mut Batch, demand: &mut dyn FnMut(Demand)) {
        self.parsed.demands.drain(..).for_each(demand);
        let mut messages = std::mem::take(&mut self.parsed.messages);
        for message in messages.drain(..) {
            self.message(message, out);
        }
        // Given back, so that its room is used again.
        self.parsed.messages = messages;
    }

    fn message(&mut self, message: Box<Message>, out: &mut Batch) {
        self.correlator.feed(CorrelateInput::Message(&message), &mut out.links);
        self.contexts.feed(ContextInput::Message(&message), &mut self.evidence);
        self.spans(out, |spans, finished| spans.feed(SpanInput::Message(message), finished));
    }

    /// Spans are finished where they stay, in a batch that is lent to the stage: they are large.
    fn swap_spans(&mut self, out: &mut Batch) {
        std::mem::swap(&mut self.finished.spans, &mut out.spans);
    }

    /// Lets `act` finish spans. Evidence goes before the span of the answer that gave it.
    fn spans(&mut self, out: &mut Batch, act: impl FnOnce(&mut Spans, &mut SpanOutput)) {
        let known = self.finished.spans.len();
        act(&mut self.spans, &mut self.finished);
        self.evidence.retain(|evidence| !self.unwanted.contains(&evidence.kind));
        for evidence in self.evidence.drain(..) {
            self.correlator.feed(CorrelateInput::Evidence(evidence), &mut out.links);
        }
        for span in &self.finished.spans[known..] {
            self.correlator.feed(CorrelateInput::Span(span), &mut out.links);
        }
        out.roots.append(self.correlator.roots());
        if !self.finished.gaps.is_empty() {
            out.gaps.append(&mut self.finished.gaps);
        }
    }
}
