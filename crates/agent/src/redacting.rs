//! Redacting: events of which the bytes of calls are overwritten at equal length, with the messages that
//! were in them beside them, redacted as spans are. What is recorded so replays to the same spans and
//! links.

use std::collections::{BTreeMap, BTreeSet};

use deeptrace_model::{
    BootTime, Call, ConnectionId, Demand, Event, EventBody, EventId, Message, MessageRole, Payload,
    Pid, Plaintext,
};
use deeptrace_protocol::{Output as Parsed, Protocols};
use deeptrace_redact::{MASK, Rules};

use crate::pipeline::Options;

/// Processes whose verdict is remembered; further ones are taken for excluded, if any is.
const PROCESSES_MAX: usize = 32_768;
/// Connections of which it is remembered that their answers are values; beyond, all answers are.
const CONNECTIONS_MAX: usize = 65_536;

/// Takes events, and gives out what may be recorded of them.
pub struct Redacting {
    protocols: Protocols,
    parsed: Parsed,
    rules: Rules,
    /// Whether payloads of a process are kept.
    keeps: BTreeMap<Pid, bool>,
    /// Connections on which something was asked whose answer is a value.
    asked: BTreeSet<ConnectionId>,
    mask: Vec<u8>,
    is_begun: bool,
}

impl Redacting {
    /// For a recording that begins.
    pub fn new(options: Options) -> Self {
        let protocol = deeptrace_protocol::Options {
            max_payload_size: options.max_payload_size,
            rules: options.rules.clone(),
            handlers: options.handlers,
            ..Default::default()
        };
        Self {
            protocols: Protocols::new(protocol),
            parsed: Parsed::default(),
            rules: options.rules,
            keeps: BTreeMap::new(),
            asked: BTreeSet::new(),
            mask: Vec::new(),
            is_begun: false,
        }
    }

    /// Takes an event; `write` gets what stands for it.
    pub fn feed(
        &mut self,
        event: &Event<'_>,
        demand: &mut dyn FnMut(Demand),
        write: &mut dyn FnMut(&Event<'_>),
    ) {
        if !std::mem::replace(&mut self.is_begun, true) {
            write(&Event { id: event.id, time: event.time, body: EventBody::Redacted });
        }
        if let EventBody::Process(process) = &event.body
            && (self.keeps.len() < PROCESSES_MAX || self.keeps.contains_key(&process.key.pid))
        {
            let name = [&process.service, &process.comm].into_iter().find(|name| !name.is_empty());
            let keeps = name.is_some_and(|name| !self.rules.excludes(name));
            self.keeps.insert(process.key.pid, keeps);
        }
        self.protocols.feed(event, &mut self.parsed);
        self.messages(event.id, event.time, demand, write);
        let body = match &event.body {
            EventBody::Call(call) => EventBody::Call(masked(&mut self.mask, call)),
            EventBody::Plaintext(plain) => EventBody::Plaintext(Plaintext {
                call: masked(&mut self.mask, &plain.call),
                ..plain.clone()
            }),
            _ => return write(event),
        };
        write(&Event { id: event.id, time: event.time, body });
    }

    /// Time has come to `now`; to be called about ten times a second.
    pub fn tick(
        &mut self,
        now: BootTime,
        demand: &mut dyn FnMut(Demand),
        write: &mut dyn FnMut(&Event<'_>),
    ) {
        self.protocols.tick(now, &mut self.parsed);
        self.messages(EventId::default(), now, demand, write);
    }

    fn messages(
        &mut self,
        id: EventId,
        time: BootTime,
        demand: &mut dyn FnMut(Demand),
        write: &mut dyn FnMut(&Event<'_>),
    ) {
        self.parsed.demands.drain(..).for_each(demand);
        let mut messages = std::mem::take(&mut self.parsed.messages);
        for mut message in messages.drain(..) {
            self.redact(&mut message);
            write(&Event { id, time, body: EventBody::Message(message) });
        }
        self.parsed.messages = messages;
    }

    /// Does what is done with spans only when they are whole.
    fn redact(&mut self, message: &mut Message) {
        let keeps = self.keeps.get(&message.first.pid).copied().unwrap_or(false);
        if self.rules.exclude_any() && !keeps {
            message.payload = Payload::default();
        }
        let connection = message.stream.connection;
        if message.answer_is_value && self.asked.len() < CONNECTIONS_MAX {
            self.asked.insert(connection);
        }
        let is_answer = message.role != MessageRole::Request;
        let may_be_value = self.asked.len() >= CONNECTIONS_MAX || self.asked.contains(&connection);
        if is_answer && may_be_value {
            message.payload = Payload::from(vec![MASK; message.payload.len()]);
        }
    }
}

/// A call whose bytes are those of `mask`, as many as they were.
fn masked<'a>(mask: &'a mut Vec<u8>, call: &Call<'_>) -> Call<'a> {
    mask.resize(call.payload.len(), MASK);
    let Call { connection, pid, tid, unit, direction, start, len, payload: _, drained, peer } =
        *call;
    Call { connection, pid, tid, unit, direction, start, len, payload: mask, drained, peer }
}
