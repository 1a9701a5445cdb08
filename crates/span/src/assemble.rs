//! Assembly: a request and what became of it, as a span with the names of OpenTelemetry's
//! semantic conventions.

use std::borrow::Cow;

use deeptrace_model::{
    Attributes, BootTime, Clock, ConnectionId, Direction, Exchange, ExchangeKind, Host, Incomplete,
    Message, MessageRole, Payload, Pid, ProcessKey, Span, SpanId, SpanKind, SpanStatus, Text,
    Touch, Transport, Value,
};

use crate::connection::{Ends, Pending};
use crate::errno;
use crate::judge::judge;
use crate::processes::Known;
use crate::surroundings::Surroundings;

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was answered.
    Answered(Box<Message>),
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
    /// Adds the span of `pending` on a connection to `spans`.
    pub fn assemble<'a>(
        &self,
        spans: &'a mut Vec<Span>,
        (ends, surroundings): (&Ends, &mut Surroundings),
        pending: Pending,
        process: Option<&Known>,
        exchange: Exchange,
        outcome: Outcome,
    ) -> &'a mut Span {
        let Pending { message: request, lost_before, .. } = pending;
        let kind = kind(&request);
        let mut lost = self.lost_total.saturating_sub(lost_before);
        lost = lost.max(u64::from(request.lost_events));
        let begun = Span {
            id: request.span,
            kind,
            name: request.name,
            service: service(process, request.first.pid),
            protocol: Cow::Borrowed(request.protocol),
            start: self.clock.wall(request.first.time),
            end: self.clock.wall(request.last.time),
            status: SpanStatus::Unset,
            status_message: None,
            attributes: request.attributes,
            request_size: request.size,
            response_size: 0,
            request_payload: request.payload,
            response_payload: Payload::default(),
            process: key(process, request.first.pid),
            connection: request.stream.connection,
            exchange,
            request: [request.first, request.last],
            response: None,
            trace_context: request.trace_context,
            unknown: request.unknown.into_iter().map(Cow::Borrowed).collect(),
            truncated: request.truncated,
            lost_events: u32::try_from(lost).unwrap_or(u32::MAX),
        };
        let span = place(spans, begun);
        if span.name.is_empty() {
            span.name = Text::new_static(request.protocol);
        }
        match outcome {
            Outcome::Answered(response) => self.answer(span, response),
            // What asks for no answer may itself tell of an error.
            Outcome::OneWay if request.status == SpanStatus::Error => {
                span.status = SpanStatus::Error;
                span.status_message = request.status_message;
                judge(span);
            }
            Outcome::OneWay => span.status = one_way_status(request.incomplete),
            Outcome::Closed(0, time) => {
                span.end = self.clock.wall(time.max(request.last.time));
                span.status_message = Some("connection closed before a response".to_owned());
            }
            Outcome::Closed(number, time) => {
                span.end = self.clock.wall(time.max(request.last.time));
                self.cut_off(span, number);
            }
            Outcome::GivenUp(why, time) => {
                span.end = self.clock.wall(time.max(request.last.time));
                span.status_message = Some(why.to_owned());
            }
        }
        let who = (span.kind, span.request[1].pid);
        surroundings.add(&mut span.attributes, who, ends, process, self.host);
        span
    }

    /// A `connect` that failed: no byte went over it.
    pub fn failed_connect(
        &self,
        connection: ConnectionId,
        ends: &Ends,
        process: Option<&Known>,
        (touch, request_start): (Touch, u64),
        (errno, closed): (u16, BootTime),
    ) -> Span {
        let stream = deeptrace_model::StreamKey { connection, stream: 0 };
        let is_unix =
            matches!(ends.transport, Some(Transport::UnixStream | Transport::UnixDatagram));
        let mut span = Span {
            id: SpanId::derive(self.host.boot, stream, Direction::Sent, request_start),
            kind: SpanKind::Client,
            name: Text::new_static("connect"),
            service: service(process, touch.pid),
            protocol: Cow::Borrowed(if is_unix { "unix" } else { "tcp" }),
            start: self.clock.wall(touch.time),
            end: self.clock.wall(closed.max(touch.time)),
            status: SpanStatus::Error,
            status_message: None,
            attributes: Attributes::new(),
            request_size: 0,
            response_size: 0,
            request_payload: Payload::default(),
            response_payload: Payload::default(),
            process: key(process, touch.pid),
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
        let who = (span.kind, touch.pid);
        Surroundings::default().add(&mut span.attributes, who, ends, process, self.host);
        span
    }

    fn answer(&self, span: &mut Span, response: Box<Message>) {
        span.end = self.clock.wall(response.last.time.max(span.request[1].time));
        span.status = response.status;
        span.status_message = response.status_message;
        span.attributes.merge(response.attributes);
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
                span.attributes.set(Cow::Borrowed("error.type"), Value::from("_OTHER"));
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
        span.attributes.set(Cow::Borrowed("error.type"), Value::from(symbol));
    }
}

/// Puts a span last and goes on with it there: it is large.
fn place(spans: &mut Vec<Span>, span: Span) -> &mut Span {
    let at = spans.len();
    spans.push(span);
    &mut spans[at]
}

/// Which side saw the request. What asks for no answer is an item, sent or taken; so is what a
/// client gives to a broker (semantic conventions, messaging spans, "Span kind").
fn kind(request: &Message) -> SpanKind {
    let operation = request.attributes.get("messaging.operation.type");
    let is_item = operation.and_then(Value::as_text) == Some("send");
    match (request.role, request.direction) {
        (MessageRole::OneWay, Direction::Received) => SpanKind::Consumer,
        (MessageRole::OneWay, Direction::Sent) => SpanKind::Producer,
        (_, Direction::Sent) if is_item => SpanKind::Producer,
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

fn key(process: Option<&Known>, pid: Pid) -> ProcessKey {
    process.map_or(ProcessKey { pid, ..Default::default() }, |known| known.process.key)
}

fn service(process: Option<&Known>, pid: Pid) -> Text {
    match process {
        Some(known) if !known.service.is_empty() => known.service.clone(),
        _ => format!("pid-{}", pid.0).into(),
    }
}
