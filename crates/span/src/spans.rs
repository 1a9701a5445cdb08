//! The stage: messages in, spans out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use deeptrace_model::{
    BootTime, Call, Clock, Close, ConnectionId, Direction, Duration, Event, EventBody, Gap,
    GapCause, LossCause, Message, MessageRole, Pid, Process, ProcessKey, Span, SpanId, Value,
};

use crate::alignment::Alignment;
use crate::build::{self, End};
use crate::connection::Connection;
use crate::counters::Counters;
use crate::names::Names;
use crate::pairing::{Met, REQUESTS_MAX};

/// How long and how much to wait.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A request without a response is given up after this.
    pub expiry: Duration,
    /// Sockets that are remembered; beyond, the lowest id (the one not newest) makes room.
    pub connections_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { expiry: Duration::from_secs(60), connections_max: 65_536 }
    }
}

/// What the stage takes. The messages of an event MUST come before the event itself, so that what
/// a closing connection still said is known when it is closed.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is passed on at once, a box would cost more")]
pub enum Input<'a> {
    /// An event.
    Event(&'a Event<'a>),
    /// A message that was cut out of it.
    Message(Message),
}

/// What the stage gives. The caller drains it.
#[derive(Debug, Default)]
pub struct Output {
    /// Finished spans.
    pub spans: Vec<Span>,
    /// Times in which events are missing.
    pub gaps: Vec<Gap>,
}

/// Processes that are remembered.
const PROCESSES_MAX: usize = 65_536;

/// Pairs messages into spans.
#[derive(Debug, Default)]
pub struct Spans {
    options: Options,
    boot: u64,
    clock: Clock,
    last: BootTime,
    processes: BTreeMap<Pid, Process>,
    connections: BTreeMap<ConnectionId, Connection>,
    alignment: Alignment,
    names: Names,
    counters: Counters,
}

impl Spans {
    /// An empty stage.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Takes an event or a message.
    pub fn feed(&mut self, input: Input<'_>, out: &mut Output) {
        match input {
            Input::Event(event) => self.event(event, out),
            Input::Message(message) => self.message(message, out),
        }
    }

    /// Gives up on what waits for too long. To be called about once a second.
    pub fn tick(&mut self, now: BootTime, out: &mut Output) {
        let mut expired = Vec::new();
        for connection in self.connections.values_mut() {
            for queue in connection.queues() {
                self.counters.orphan_responses += queue.drop_orphans(now);
                let late = |m: &Message| now.since(m.last.time) > self.options.expiry;
                while queue.requests.front().is_some_and(late) {
                    expired.extend(queue.requests.pop_front());
                }
            }
        }
        self.counters.expired += expired.len() as u64;
        for request in expired {
            self.finish(request, None, Some(End::Expired), now, out);
        }
    }

    /// Tells each counter with its value since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        self.counters.tell(out);
        out("span_connections", self.connections.len() as u64);
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Output) {
        match &event.body {
            EventBody::Host(host) => self.boot = host.boot,
            EventBody::Clock(wall) => self.clock = Clock { boot: event.time, wall: *wall },
            EventBody::Process(process) => {
                if self.processes.len() >= PROCESSES_MAX {
                    self.processes.pop_first();
                }
                self.processes.insert(process.key.pid, process.clone());
            }
            // What it said last may still be on its way; the next of this pid replaces it.
            EventBody::Exit(_) => {}
            EventBody::Open(open) => {
                self.make_room();
                self.connections.insert(open.connection, Connection::new(open, event.time));
            }
            EventBody::Call(call) => self.call(call),
            EventBody::Close(close) => self.close(close, event.time, out),
            EventBody::Lost { cause, count } => self.lost(*cause, *count, event.time, out),
        }
        self.last = event.time;
    }

    fn make_room(&mut self) {
        if self.connections.len() >= self.options.connections_max {
            self.counters.shed_connections += 1;
            if let Some((_, mut gone)) = self.connections.pop_first() {
                self.counters.shed_requests += gone.drain().len() as u64;
            }
        }
    }

    fn call(&mut self, call: &Call<'_>) {
        let Some(connection) = self.connections.get_mut(&call.connection) else { return };
        connection.connecting = None;
        if let Some(pair) = connection.unix_pair {
            self.alignment.observe(pair, call);
        }
    }

    fn close(&mut self, close: &Close, time: BootTime, out: &mut Output) {
        let Some(mut connection) = self.connections.remove(&close.connection) else { return };
        for queue in connection.queues() {
            self.counters.orphan_responses += queue.orphans();
        }
        let requests = connection.drain();
        let end = if close.errno == 0 { End::Closed } else { End::Died(close.errno) };
        let connecting = connection.connecting.take();
        let pair = connection.unix_pair;
        if let (Some((open, begun)), true) = (connecting, close.errno != 0) {
            let request = connect_request(&open, begun, close);
            self.build(request, None, Some(end), time, &connection, out);
        }
        for request in requests {
            self.build(request, None, Some(end), time, &connection, out);
        }
        if let Some((pair, _)) = pair {
            self.alignment.forget(pair);
        }
    }

    /// Marks what waits at this moment, and tells of the gap.
    fn lost(&mut self, cause: LossCause, count: u64, time: BootTime, out: &mut Output) {
        let gap = match cause {
            LossCause::RingFull | LossCause::MapFull | LossCause::Source => GapCause::RingFull,
            LossCause::Paused => GapCause::Paused,
            // The call itself is known; its span says `truncated`.
            LossCause::CopyFailed => return,
        };
        let events = u32::try_from(count).unwrap_or(u32::MAX);
        for connection in self.connections.values_mut() {
            for request in connection.queues().flat_map(|queue| queue.requests.iter_mut()) {
                request.lost_events = request.lost_events.saturating_add(events);
            }
        }
        let (from, to) = (self.clock.wall(self.last), self.clock.wall(time));
        match out.gaps.last_mut() {
            Some(last) if last.cause == gap => {
                last.to = to;
                last.events += count;
            }
            _ => out.gaps.push(Gap { from, to, cause: gap, events: count, bytes: 0 }),
        }
    }

    fn message(&mut self, message: Message, out: &mut Output) {
        let id = message.stream.connection;
        if !self.connections.contains_key(&id) {
            self.counters.unknown_connections += 1;
            self.make_room();
            self.connections.insert(id, Connection::unknown());
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let stream = message.stream.stream;
        match message.role {
            MessageRole::OneWay => self.finish(message, None, None, BootTime(0), out),
            MessageRole::Request => {
                let direction = message.direction;
                if connection.streams() >= REQUESTS_MAX {
                    self.counters.shed_requests += 1;
                    return;
                }
                let queue = connection.queue(stream, direction);
                if queue.requests.len() >= REQUESTS_MAX {
                    self.counters.shed_requests += 1;
                    queue.requests.pop_front();
                }
                if let Some((request, response)) = queue.request(message) {
                    self.finish(request, Some(response), None, BootTime(0), out);
                }
            }
            MessageRole::Response if message.interim => {}
            MessageRole::Response => self.response(message, out),
        }
    }

    fn response(&mut self, response: Message, out: &mut Output) {
        let Some(connection) = self.connections.get_mut(&response.stream.connection) else {
            return;
        };
        let (stream, direction) = (response.stream.stream, response.direction.opposite());
        let (time, is_new) = (response.first.time, connection.is_new);
        let met = connection.queue(stream, direction).response(response, is_new);
        connection.tidy(stream, direction);
        match met {
            Met::Waits => {}
            Met::Orphan => self.counters.orphan_responses += 1,
            Met::Request { request, response, given_up } => {
                for lost in given_up {
                    self.finish(lost, None, Some(End::GivenUp), time, out);
                }
                self.finish(*request, Some(*response), None, time, out);
            }
        }
    }

    fn finish(
        &mut self,
        request: Message,
        response: Option<Message>,
        end: Option<End>,
        now: BootTime,
        out: &mut Output,
    ) {
        let id = request.stream.connection;
        // Taken out for the time, so that its fields and ours can be used side by side.
        let Some(connection) = self.connections.remove(&id) else { return };
        self.build(request, response, end, now, &connection, out);
        self.connections.insert(id, connection);
    }

    fn build(
        &mut self,
        mut request: Message,
        response: Option<Message>,
        end: Option<End>,
        now: BootTime,
        connection: &Connection,
        out: &mut Output,
    ) {
        let kind = build::kind(&request);
        let exchange = build::exchange(connection, &self.alignment, &request, response.as_ref());
        let (status, status_message, error) =
            build::status(kind, &request, response.as_ref(), end.as_ref());
        let mut lost_events = request.lost_events;
        let mut unknown: Vec<Cow<'static, str>> =
            request.unknown.iter().map(|n| (*n).into()).collect();
        let mut truncated = request.truncated;
        let mut span_end =
            if end.is_some() { now.max(request.last.time) } else { request.last.time };
        let mut touches = None;
        let (mut size, mut payload, mut answered) = (0, Vec::new(), None);
        if let Some(response) = response {
            lost_events = lost_events.saturating_add(response.lost_events);
            unknown.extend(response.unknown.iter().map(|n| Cow::Borrowed(*n)));
            truncated |= response.truncated;
            span_end = response.last.time.max(request.first.time);
            touches = Some([response.first, response.last]);
            (size, payload, answered) =
                (response.size, response.payload, Some(response.attributes));
        }
        let mut attributes = build::merge(std::mem::take(&mut request.attributes), answered);
        build::describe(&mut attributes, kind, connection);
        if let Some(error) = error {
            attributes.retain(|(name, _)| name != "error.type");
            attributes.push(("error.type".into(), Value::Text(error)));
        }
        if let Some([first, _]) = touches {
            let wait = first.time.since(request.last.time).0;
            attributes.push(("deeptrace.time_to_first_byte_ns".into(), (wait as i64).into()));
        }
        attributes.push(("process.pid".into(), i64::from(request.first.pid.0).into()));
        attributes.push(("thread.id".into(), i64::from(request.first.tid.0).into()));
        let (service, process) = self.process(request.first.pid, &mut attributes);
        let (name, folded) = self.names.bound(&service, std::mem::take(&mut request.name));
        self.counters.other_names += u64::from(folded);
        self.counters.spans += 1;
        out.spans.push(Span {
            id: SpanId::derive(self.boot, request.stream, request.direction, request.start),
            kind,
            name,
            service,
            protocol: Cow::Borrowed(request.protocol),
            start: self.clock.wall(request.first.time),
            end: self.clock.wall(span_end),
            status,
            status_message,
            attributes,
            request_size: request.size,
            response_size: size,
            request_payload: request.payload,
            response_payload: payload,
            process,
            connection: request.stream.connection,
            exchange,
            request: [request.first, request.last],
            response: touches,
            trace_context: request.trace_context,
            unknown,
            truncated,
            lost_events,
        });
    }

    /// Service and identity of a process; adds its container.
    fn process(
        &self,
        pid: Pid,
        attributes: &mut Vec<(Cow<'static, str>, Value)>,
    ) -> (String, ProcessKey) {
        match self.processes.get(&pid) {
            Some(process) => {
                if let Some(container) = &process.container_id {
                    attributes.push(("container.id".into(), container.clone().into()));
                }
                (process.service.clone(), process.key)
            }
            None => (format!("pid-{}", pid.0), ProcessKey { pid, started: BootTime(0) }),
        }
    }
}

/// A connect that failed, as a request that nobody answered.
fn connect_request(open: &deeptrace_model::Open, begun: BootTime, close: &Close) -> Message {
    let touch = deeptrace_model::Touch {
        event: deeptrace_model::EventId(0),
        time: begun,
        pid: open.pid,
        tid: open.tid,
        unit: deeptrace_model::UnitId(u64::from(open.tid.0)),
    };
    Message {
        protocol: "tcp",
        stream: deeptrace_model::StreamKey { connection: close.connection, stream: 0 },
        direction: Direction::Sent,
        role: MessageRole::Request,
        start: open.sent,
        size: 0,
        first: touch,
        last: touch,
        name: "connect".to_owned(),
        attributes: Vec::new(),
        status: deeptrace_model::SpanStatus::Unset,
        status_message: None,
        trace_context: None,
        payload: Vec::new(),
        unknown: Vec::new(),
        truncated: false,
        lost_events: 0,
        incomplete: None,
        interim: false,
        head_hash: 0,
    }
}
