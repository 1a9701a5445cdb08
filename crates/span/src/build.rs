//! Build: the fields of a span, out of its messages and its connection.

use std::borrow::Cow;
use std::net::SocketAddr;

use deeptrace_model::{
    Attributes, Direction, Exchange, ExchangeKind, Incomplete, Message, MessageRole, SpanKind,
    SpanStatus, Transport, Value, hash64,
};

use crate::alignment::Alignment;
use crate::connection::Connection;

/// Confidence of a UNIX exchange whose ends were found half-way and not yet seen aligned: the queue
/// is empty at most moments, so mostly they are.
const UNALIGNED: f32 = 0.9;

/// Which side saw the request.
pub(crate) fn kind(request: &Message) -> SpanKind {
    match (request.role, request.direction) {
        (MessageRole::OneWay, Direction::Sent) => SpanKind::Producer,
        (MessageRole::OneWay, Direction::Received) => SpanKind::Consumer,
        (_, Direction::Sent) => SpanKind::Client,
        (_, Direction::Received) => SpanKind::Server,
    }
}

/// How the exchange ended, with a text and the value of `error.type`.
pub(crate) fn status(
    kind: SpanKind,
    request: &Message,
    response: Option<&Message>,
    end: Option<&End>,
) -> (SpanStatus, Option<String>, Option<Cow<'static, str>>) {
    let Some(response) = response else {
        return match end {
            _ if request.role == MessageRole::OneWay => (SpanStatus::Ok, None, None),
            Some(End::Died(errno)) => died(*errno),
            Some(End::Closed) => unanswered("the connection was closed before a response"),
            Some(End::GivenUp) => unanswered("events were lost; the response may be among them"),
            Some(End::Expired) | None => unanswered("no response was seen in time"),
        };
    };
    if let Some(Incomplete::Closed(errno)) = response.incomplete
        && errno != 0
    {
        return died(errno);
    }
    // HTTP's 4xx blames the client: an error for whoever asked, not for whoever answered
    // (OpenTelemetry, "Semantic conventions for HTTP spans", Status).
    let code = response.attributes.iter().find(|(name, _)| name == "http.response.status_code");
    if let (Some((_, Value::Int(code @ 400..=499))), SpanKind::Client) = (code, kind) {
        return (SpanStatus::Error, None, Some(Cow::Owned(code.to_string())));
    }
    (response.status, response.status_message.clone(), None)
}

/// Why a request has no response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// The connection died with this errno.
    Died(u16),
    /// The connection was closed in order.
    Closed,
    /// Events were lost.
    GivenUp,
    /// It took too long.
    Expired,
}

fn unanswered(why: &str) -> (SpanStatus, Option<String>, Option<Cow<'static, str>>) {
    (SpanStatus::Unset, Some(why.to_owned()), None)
}

/// Names of errno(3) that end connections.
fn died(errno: u16) -> (SpanStatus, Option<String>, Option<Cow<'static, str>>) {
    let (name, text) = match errno {
        32 => ("EPIPE", "the connection was closed by the peer"),
        104 => ("ECONNRESET", "the connection was reset"),
        110 => ("ETIMEDOUT", "the connection timed out"),
        111 => ("ECONNREFUSED", "the connection was refused"),
        113 => ("EHOSTUNREACH", "the host cannot be reached"),
        _ => {
            return (
                SpanStatus::Error,
                Some(format!("errno {errno}")),
                Some(format!("errno_{errno}").into()),
            );
        }
    };
    (SpanStatus::Error, Some(text.to_owned()), Some(name.into()))
}

/// Adds to `attributes`, which come from the messages, what is known of the connection.
pub(crate) fn describe(attributes: &mut Attributes, kind: SpanKind, connection: &Connection) {
    let is_client = matches!(kind, SpanKind::Client | SpanKind::Producer);
    let transport = match connection.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::UnixStream | Transport::UnixDatagram => "unix",
    };
    attributes.push(("network.transport".into(), transport.into()));
    if !connection.path.is_empty() {
        attributes.push(("network.peer.address".into(), connection.path.clone().into()));
        set_default(attributes, "server.address", || connection.path.clone().into());
        return;
    }
    let mut address = |host: &'static str, port: &'static str, end: Option<SocketAddr>| {
        if let Some(end) = end.filter(|end| end.port() != 0) {
            attributes.push((host.into(), end.ip().to_string().into()));
            attributes.push((port.into(), i64::from(end.port()).into()));
        }
    };
    address("network.peer.address", "network.peer.port", connection.remote);
    address("network.local.address", "network.local.port", connection.local);
    let server = if is_client { connection.remote } else { connection.local };
    if let Some(server) = server.filter(|server| server.port() != 0) {
        let named = attributes.iter().any(|(name, _)| name == "server.address");
        if !named {
            attributes.push(("server.address".into(), server.ip().to_string().into()));
        }
        // The port of a named host that names none is the port that was really used.
        set_default(attributes, "server.port", || i64::from(server.port()).into());
    }
    if let (false, Some(peer)) = (is_client, connection.remote) {
        set_default(attributes, "client.address", || peer.ip().to_string().into());
    }
}

fn set_default(attributes: &mut Attributes, name: &'static str, value: impl FnOnce() -> Value) {
    if !attributes.iter().any(|(known, _)| known == name) {
        attributes.push((name.into(), value()));
    }
}

/// Attributes of both messages; the response's win.
pub(crate) fn merge(request: Attributes, response: Option<Attributes>) -> Attributes {
    let Some(response) = response else { return request };
    let mut merged = request;
    merged.reserve(response.len() + 12);
    for (name, value) in response {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => merged.push((name, value)),
        }
    }
    merged
}

/// What the other side of the exchange sees alike.
///
/// Datagrams are named by their bytes and not by addresses: both sides see the same ones, also behind
/// NAT, and the kernel does not tell the peer of an unconnected socket at every hook.
pub(crate) fn exchange(
    connection: &Connection,
    alignment: &Alignment,
    request: &Message,
    response: Option<&Message>,
) -> Exchange {
    let request_hash = hash64(&[request.size, request.head_hash]);
    let mut exchange = Exchange {
        kind: ExchangeKind::Tcp,
        request: request.start & 0xffff_ffff,
        response: response.map(|response| response.start & 0xffff_ffff),
        stream: request.stream.stream,
        request_hash,
        confidence: 1.0,
    };
    match (connection.transport, connection.unix_pair) {
        (Transport::Tcp, _) => {}
        (Transport::UnixStream, Some(pair)) => {
            let place =
                |message: &Message| alignment.position(pair, message.direction, message.start);
            let (position, aligned) = place(request);
            exchange.kind = ExchangeKind::Unix;
            exchange.request = position;
            exchange.response = response.map(|response| place(response).0);
            exchange.confidence = if aligned || connection.is_new { 1.0 } else { UNALIGNED };
        }
        _ => {
            exchange.kind = ExchangeKind::Datagram;
            exchange.request = request_hash;
            exchange.response = response.map(|r| hash64(&[r.size, r.head_hash]));
            exchange.stream = 0;
        }
    }
    exchange
}
