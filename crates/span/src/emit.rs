//! Emission: what all spans need to know, and the last steps of each.

use deeptrace_model::{
    Attributes, BootTime, Clock, ConnectionId, Event, EventBody, Host, Message, MessageRole, Touch,
    UnitId, Value,
};

use crate::assemble::{Outcome, Scene};
use crate::connection::{Ends, Pending};
use crate::exchange::Pairs;
use crate::gaps::Gaps;
use crate::items::Items;
use crate::names::Names;
use crate::processes::Processes;
use crate::redact::Redactor;
use crate::spans::{Options, Output};
use crate::surroundings::Surroundings;

/// What is known of the host, its processes and names.
#[derive(Debug)]
pub(crate) struct Emitter {
    pub host: Host,
    pub clock: Clock,
    pub processes: Processes,
    pub pairs: Pairs,
    pub names: Names,
    pub gaps: Gaps,
    pub items: Items,
    pub redactor: Redactor,
    pub spans: u64,
    pub unanswered: u64,
    pub failed_connects: u64,
}

/// What was received unasked, if it may be out of a queue: not what is on its way into one.
fn taken(message: &Message) -> Option<&Message> {
    let operation = message.attributes.get("messaging.operation.type").and_then(Value::as_text);
    (message.role == MessageRole::OneWay && operation != Some("send")).then_some(message)
}

impl Emitter {
    pub fn new(options: &Options) -> Self {
        Self {
            host: Host::default(),
            clock: Clock::default(),
            processes: Processes::default(),
            pairs: Pairs::default(),
            names: Names::new(options.names_per_service),
            gaps: Gaps::default(),
            items: Items::default(),
            redactor: Redactor::new(options.rules.clone()),
            spans: 0,
            unanswered: 0,
            failed_connects: 0,
        }
    }

    /// Takes what an event says of host, clock, processes and losses. `before` is the time
    /// of the event before it.
    pub fn event(&mut self, event: &Event<'_>, before: BootTime, out: &mut Output) {
        match &event.body {
            EventBody::Host(host) => self.host = host.clone(),
            EventBody::Clock(wall) => self.clock = Clock { boot: event.time, wall: *wall },
            EventBody::Process(process) => self.processes.insert(process),
            EventBody::Exit(pid) => self.processes.exit(*pid, event.time),
            EventBody::Lost { cause, count } => {
                let lost = self.gaps.lost(before, event.time, *cause, *count);
                out.gaps.extend(lost.and_then(|lost| lost.closed(&self.clock)));
            }
            EventBody::Open(_)
            | EventBody::Call(_)
            | EventBody::Close(_)
            | EventBody::Plaintext(_)
            | EventBody::HandOver(_)
            | EventBody::Redacted
            | EventBody::Message(_) => {}
        }
    }

    /// Makes the span of `pending` on a socket.
    pub fn emit(
        &mut self,
        connection: ConnectionId,
        (ends, surroundings): (&Ends, &mut Surroundings),
        mut pending: Pending,
        outcome: Outcome,
        out: &mut Output,
    ) {
        let response = match &outcome {
            Outcome::Answered(response) => Some(&**response),
            Outcome::OneWay => None,
            Outcome::Closed(..) | Outcome::GivenUp(..) => {
                self.unanswered += 1;
                None
            }
        };
        let exchange = self.pairs.exchange(connection, ends, &pending.message, response);
        let mut links = Attributes::new();
        if let Some(message) = response.or_else(|| taken(&pending.message)) {
            self.items.take(message, &mut links);
        }
        let process = pending.process.take();
        let process = process.or_else(|| self.processes.get(pending.message.first.pid).cloned());
        let answer_is_value = pending.message.answer_is_value;
        let scene = self.scene();
        let (place, spans) = ((ends, surroundings), &mut out.spans);
        let span = scene.assemble(spans, place, pending, process.as_deref(), exchange, outcome);
        span.attributes.extend(links.iter().cloned());
        self.redactor.span(span, answer_is_value, process.is_some());
        self.names.limit(&span.service, &mut span.name, &mut span.attributes);
        self.spans += 1;
    }

    /// Makes the span of a `connect` that failed at `time`, on a socket that moved no byte.
    pub fn failed_connect(
        &mut self,
        connection: ConnectionId,
        ends: &Ends,
        errno: u16,
        time: BootTime,
        out: &mut Output,
    ) {
        let Some((event, since, pid, tid, start)) = ends.connected else { return };
        let touch = Touch { event, time: since, pid, tid, unit: UnitId(u64::from(tid.0)) };
        let process = self.processes.get(pid).map(|known| &**known);
        let (begun, ended) = ((touch, start), (errno, time));
        let span = self.scene().failed_connect(connection, ends, process, begun, ended);
        self.spans += 1;
        self.failed_connects += 1;
        out.spans.push(span);
    }

    fn scene(&self) -> Scene<'_> {
        Scene { host: &self.host, clock: &self.clock, lost_total: self.gaps.lost_total }
    }
}
