//! Assembly: a request and what became of it, as a span with the names of OpenTelemetry's
//! semantic conventions.

use std::borrow::Cow;

use deeptrace_model::{
    Attributes, BootTime, Clock, ConnectionId, Direction, Exchange, ExchangeKind, Host, Incomplete,
    Message, MessageRole, Pid, Process, ProcessKey, Span, SpanId, SpanKind, SpanStatus, Touch,
    Transport, Value,
};

use crate::connection::{Ends, Pending};
use crate::errno;

/// What became of a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is passed on at once, a box would cost more")]
pub(crate) enum Outcome {
    /// It was answered.
    Answered(Message),
    /// It asked for no answer.
    OneWay,
    /// Its connection ended before an answer, with this `errno`.
    Closed(u16, BootTime),
    /// No answer was seen; why, and when it was given up.
    GivenUp(&'static str, BootTime),
}

/// What all spans need to know.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub host: &'a Host,
    pub clock: &'a Clock,
    /// Events lost in all by now.
    pub lost_total: u64,
}

impl Scene<'_> {
    /// The span of `pending` on `connection`.
    pub fn assemble(
        &self,
        connection: ConnectionId,
        ends: &Ends,
        pending: Pending,
        process: Option<&Process>,
        exchange: Exchange,
        outcome: Outcome,
    ) -> Span {
        let Pending { message: request, lost_before, .. } = pending;
        let kind = kind(request.role, request.direction);
        let mut attributes = request.attributes;
        attributes.reserve(16);
        let mut lost = self.lost_total.saturating_sub(lost_before);
        lost = lost.max(u64::from(request.lost_events));
        let mut span = Span {
            id: SpanId::derive(self.host.boot, request.stream, request.direction, request.start),
            kind,
            name: request.name,
            service: service(process, request.first.pid),
            protocol: Cow::Borrowed(request.protocol),
            start: self.clock.wall(request.first.time),
            end: self.clock.wall(request.last.time),
            status: SpanStatus::Unset,
            status_message: None,
            attributes,
            request_size: request.size,
            response_size: 0,
            request_payload: request.payload,
            response_payload: Vec::new(),
            process: process
                .map_or(ProcessKey { pid: request.first.pid, ..Default::default() }, |p| p.key),
            connection,
            exchange,
            request: [request.first, request.last],
            response: None,
            trace_context: request.trace_context,
            unknown: request.unknown.into_iter().map(Cow::Borrowed).collect(),
            truncated: request.truncated,
            lost_events: u32::try_from(lost).unwrap_or(u32::MAX),
        };
        if span.name.is_empty() {
            span.name = span.protocol.clone().into_owned();
        }
        match outcome {
            Outcome::Answered(response) => self.answer(&mut span, response),
            Outcome::OneWay => span.status = one_way_status(request.incomplete),
            Outcome::Closed(0, time) => {
                span.end = self.clock.wall(time.max(request.last.time));
                span.status_message = Some("connection closed before a response".to_owned());
            }
            Outcome::Closed(number, time) => {
                span.end = self.clock.wall(time.max(request.last.time));
                self.cut_off(&mut span, number);
            }
            Outcome::GivenUp(why, time) => {
                span.end = self.clock.wall(time.max(request.last.time));
                span.status_message = Some(why.to_owned());
            }
        }
        self.surroundings(&mut span, ends, process);
        span
    }

    /// A `connect` that failed: no byte went over it.
    pub fn failed_connect(
        &self,
        connection: ConnectionId,
        ends: &Ends,
        process: Option<&Process>,
        (touch, request_start): (Touch, u64),
        (errno, closed): (u16, BootTime),
    ) -> Span {
        let stream = deeptrace_model::StreamKey { connection, stream: 0 };
        let is_unix =
            matches!(ends.transport, Some(Transport::UnixStream | Transport::UnixDatagram));
        let mut span = Span {
            id: SpanId::derive(self.host.boot, stream, Direction::Sent, request_start),
            kind: SpanKind::Client,
            name: "connect".to_owned(),
            service: service(process, touch.pid),
            protocol: Cow::Borrowed(if is_unix { "unix" } else { "tcp" }),
            start: self.clock.wall(touch.time),
            end: self.clock.wall(closed.max(touch.time)),
            status: SpanStatus::Error,
            status_message: None,
            attributes: Attributes::with_capacity(12),
            request_size: 0,
            response_size: 0,
            request_payload: Vec::new(),
            response_payload: Vec::new(),
            process: process.map_or(ProcessKey { pid: touch.pid, ..Default::default() }, |p| p.key),
            connection,
            // Nothing was exchanged that the other side could have seen.
            exchange: Exchange {
                kind: ExchangeKind::Tcp,
                request: request_start & 0xffff_ffff,
                response: None,
                stream: 0,
                request_hash: 0,
                confidence: 0.0,
            },
            request: [touch, touch],
            response: None,
            trace_context: None,
            unknown: Vec::new(),
            truncated: false,
            lost_events: 0,
        };
        self.cut_off(&mut span, errno);
        self.surroundings(&mut span, ends, process);
        span
    }

    fn answer(&self, span: &mut Span, response: Message) {
        span.end = self.clock.wall(response.last.time.max(span.request[1].time));
        span.status = response.status;
        span.status_message = response.status_message;
        for (key, value) in response.attributes {
            set(&mut span.attributes, key, value);
        }
        let first_byte = response.first.time.since(span.request[1].time).0;
        let first_byte = Value::Int(i64::try_from(first_byte).unwrap_or(i64::MAX));
        span.attributes.push((Cow::Borrowed("deeptrace.time_to_first_byte_ns"), first_byte));
        span.response_size = response.size;
        span.response_payload = response.payload;
        span.response = Some([response.first, response.last]);
        for name in response.unknown {
            if !span.unknown.iter().any(|known| known == name) {
                span.unknown.push(Cow::Borrowed(name));
            }
        }
        span.truncated |= response.truncated;
        span.lost_events = span.lost_events.max(response.lost_events);
        judge(span);
        match response.incomplete {
            Some(Incomplete::Closed(0)) => {
                span.status = SpanStatus::Error;
                span.status_message = Some("connection closed inside the response".to_owned());
                set(&mut span.attributes, Cow::Borrowed("error.type"), Value::from("_OTHER"));
            }
            Some(Incomplete::Closed(number)) => self.cut_off(span, number),
            Some(Incomplete::Lost) => span.lost_events = span.lost_events.max(1),
            None => {}
        }
    }

    /// The connection died with `number`.
    fn cut_off(&self, span: &mut Span, number: u16) {
        let (symbol, text) = errno::name(number);
        span.status = SpanStatus::Error;
        span.status_message = Some(text.to_owned());
        set(&mut span.attributes, Cow::Borrowed("error.type"), Value::from(symbol));
    }

    /// Where it happened: network, process, container, host.
    fn surroundings(&self, span: &mut Span, ends: &Ends, process: Option<&Process>) {
        let attributes = &mut span.attributes;
        let transport = match ends.transport {
            Some(Transport::Tcp) => Some("tcp"),
            Some(Transport::Udp) => Some("udp"),
            Some(Transport::UnixStream | Transport::UnixDatagram) => Some("unix"),
            None => None,
        };
        if let Some(transport) = transport {
            attributes.push((Cow::Borrowed("network.transport"), Value::from(transport)));
        }
        let (peer, local) = (ends.remote.told(), ends.local.told());
        end(attributes, ["network.peer.address", "network.peer.port"], peer.0, peer.1);
        end(attributes, ["network.local.address", "network.local.port"], local.0, local.1);
        if matches!(span.kind, SpanKind::Client | SpanKind::Producer) {
            end(attributes, ["server.address", "server.port"], peer.0, peer.1);
        } else {
            end(attributes, ["server.address", "server.port"], local.0, local.1);
            end(attributes, ["client.address", "client.port"], peer.0, peer.1);
        }
        let touch = span.request[1];
        attributes.push((Cow::Borrowed("process.pid"), Value::Int(i64::from(touch.pid.0))));
        attributes.push((Cow::Borrowed("thread.id"), Value::Int(i64::from(touch.tid.0))));
        if let Some(container) = process.and_then(|process| process.container_id.as_ref()) {
            attributes.push((Cow::Borrowed("container.id"), Value::from(container.clone())));
        }
        if !self.host.name.is_empty() {
            attributes.push((Cow::Borrowed("host.name"), Value::from(self.host.name.clone())));
        }
    }
}

/// Address and port under `names`, unless the message told them itself.
fn end(attributes: &mut Attributes, names: [&'static str; 2], address: &str, port: u16) {
    let has = |attributes: &Attributes, name| attributes.iter().any(|(key, _)| key == name);
    if !address.is_empty() && !has(attributes, names[0]) {
        attributes.push((Cow::Borrowed(names[0]), Value::from(address.to_owned())));
    }
    // The port of a named host that names none is the port that was really used.
    if port != 0 && !has(attributes, names[1]) {
        attributes.push((Cow::Borrowed(names[1]), Value::Int(i64::from(port))));
    }
}

/// Semantic conventions, HTTP spans: 5xx is an error on both sides, 4xx on the client's only.
/// Everywhere: an error has an `error.type`.
fn judge(span: &mut Span) {
    let find = |attributes: &Attributes, name: &str| {
        attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let code = match find(&span.attributes, "http.response.status_code") {
        Some(Value::Int(code)) => {
            let is_error = code >= 500 || (code >= 400 && span.kind == SpanKind::Client);
            span.status = if is_error { SpanStatus::Error } else { SpanStatus::Ok };
            if !is_error {
                span.attributes.retain(|(key, _)| key != "error.type");
            }
            Some(Value::from(code.to_string()))
        }
        _ => None,
    };
    if span.status == SpanStatus::Error && find(&span.attributes, "error.type").is_none() {
        let code = code
            .or_else(|| find(&span.attributes, "db.response.status_code"))
            .or_else(|| find(&span.attributes, "rpc.response.status_code"));
        let kind = code.unwrap_or(Value::from("_OTHER"));
        span.attributes.push((Cow::Borrowed("error.type"), kind));
    }
}

/// Which side saw the request. What asks for no answer is an item, sent or taken.
fn kind(role: MessageRole, direction: Direction) -> SpanKind {
    match (role, direction) {
        (MessageRole::OneWay, Direction::Sent) => SpanKind::Producer,
        (MessageRole::OneWay, Direction::Received) => SpanKind::Consumer,
        (_, Direction::Sent) => SpanKind::Client,
        (_, Direction::Received) => SpanKind::Server,
    }
}

fn one_way_status(incomplete: Option<Incomplete>) -> SpanStatus {
    match incomplete {
        None => SpanStatus::Ok,
        Some(Incomplete::Lost) => SpanStatus::Unset,
        Some(Incomplete::Closed(_)) => SpanStatus::Error,
    }
}

fn service(process: Option<&Process>, pid: Pid) -> String {
    match process {
        Some(process) if !process.service.is_empty() => process.service.clone(),
        Some(process) if !process.comm.is_empty() => process.comm.clone(),
        _ => format!("pid-{}", pid.0),
    }
}

fn set(attributes: &mut Attributes, key: Cow<'static, str>, value: Value) {
    match attributes.iter_mut().find(|(known, _)| *known == key) {
        Some(known) => known.1 = value,
        None => attributes.push((key, value)),
    }
}
