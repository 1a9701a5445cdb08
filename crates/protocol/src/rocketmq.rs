//! RocketMQ's remoting protocol (versions 3 to 5): a length, a header as JSON or in RocketMQ's own
//! form, a body (`RemotingCommand`, `RocketMQSerializable` and `RequestCode` of its sources name the
//! fields; there is no other specification).
//!
//! Requests and responses carry the same opaque number, in either direction, as brokers ask clients
//! too; it is the stream of the span, above 32 bits so that it is never zero. So the parser
//! remembers nothing. A poll that finds nothing is no error. Bodies are passed over.

mod code;
mod header;
mod json;

use deeptrace_model::{SpanStatus, Text, Transport, Value};

use self::header::{Front, Header};
use crate::trace_context::TraceHeaders;
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "rocketmq",
    title: "RocketMQ (remoting)",
    transports: &[Transport::Tcp],
    ports: &[9876, 10909, 10911],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("opaque"),
        errors: "a code other than success",
        context: "properties of messages",
        tls: "",
        limits: &["bodies are passed over"],
    },
    recognise,
    parser: || Box::new(RocketMq),
};

/// Set in streams, so that opaque zero is not the one stream of others.
const STREAM: u64 = 1 << 32;

/// Bytes of a remark that are told.
const REMARK_MAX: usize = 256;

struct RocketMq;

fn recognise(head: &Head<'_>) -> Recognition {
    let is_last = head.call_len > head.bytes.len();
    match Header::read(head.bytes, true) {
        Front::Header(header) => {
            let side = if header.is_response() { Side::Server } else { Side::Client };
            Recognition::Yes(head.from.unwrap_or(side))
        }
        Front::More if is_last && header::is_likely(head.bytes) => {
            head.from.map_or(Recognition::Maybe(Side::Client), Recognition::Yes)
        }
        _ => Recognition::No,
    }
}

impl Parser for RocketMq {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        match Header::read(input.bytes, input.is_last) {
            Front::Header(header) => Verdict::Done {
                len: header.len,
                draft: Box::new(if header.is_response() {
                    response(&header)
                } else {
                    request(&header)
                }),
            },
            Front::More => Verdict::More,
            Front::NotMine => Verdict::NotMine,
        }
    }

    fn is_start(&self, _from: Side, bytes: &[u8]) -> bool {
        match Header::read(bytes, true) {
            Front::Header(_) => true,
            Front::More => header::is_likely(bytes),
            Front::NotMine => false,
        }
    }

    fn lost(&mut self, _from: Side) -> Option<Draft> {
        None
    }
}

fn request(header: &Header<'_>) -> Draft {
    let code = code::request(header.code);
    // Version 2 of sending has names of one letter.
    let is_short = code.name == "SEND_MESSAGE_V2" || code.name == "SEND_BATCH_MESSAGE";
    let field = |long: &str, short: &str| header.field(if is_short { short } else { long });
    let topic = field("topic", "b").or_else(|| header.field("originTopic"));
    let name: Text = match (&topic, code.operation) {
        (Some(topic), Some((operation, _))) => format!("{operation} {topic}").into(),
        (None, Some((operation, _))) => operation.into(),
        (_, None) => code.label(header.code),
    };
    let mut draft = if header.is_one_way() { Draft::one_way(name) } else { Draft::request(name) };
    draft.stream = STREAM | u64::from(header.opaque);
    draft.truncated = header.is_cut;
    draft.redact = header.secrets();
    let mut push = |key: &'static str, value: Value| draft.attributes.push((key.into(), value));
    push("messaging.system", "rocketmq".into());
    let (operation, kind) = code.operation.unzip();
    push(
        "messaging.operation.name",
        operation.map_or_else(|| code.label(header.code), Text::new_static).into(),
    );
    if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
        push("messaging.operation.type", kind.into());
    }
    push("deeptrace.rocketmq.code", code.label(header.code).into());
    let mut text = |key: &'static str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            push(key, value.into());
        }
    };
    text("messaging.destination.name", topic);
    text("messaging.destination.partition.id", field("queueId", "e"));
    text(
        "messaging.consumer.group.name",
        header.field("consumerGroup").or_else(|| header.field("group")),
    );
    text("deeptrace.rocketmq.producer.group", field("producerGroup", "a"));
    let properties = field("properties", "i").unwrap_or_default();
    text("messaging.message.id", property(&properties, "UNIQ_KEY"));
    text("rocketmq.message.tag", property(&properties, "TAGS"));
    if operation == Some("send") {
        let size = i64::try_from(header.body_len).unwrap_or(i64::MAX);
        push("messaging.message.body.size", Value::Int(size));
    }
    let mut trace = TraceHeaders::default();
    for name in ["traceparent", "b3", "X-B3-TraceId", "X-B3-SpanId"] {
        if let Some(value) = property(&properties, name) {
            trace.header(name.as_bytes(), value.as_bytes());
        }
    }
    draft.trace_context = trace.context();
    draft
}

fn response(header: &Header<'_>) -> Draft {
    let (name, is_error) = code::response(header.code);
    let mut draft = Draft::response(SpanStatus::Ok);
    draft.stream = STREAM | u64::from(header.opaque);
    draft.truncated = header.is_cut;
    let mut push = |key: &'static str, value: Value| draft.attributes.push((key.into(), value));
    if let Some(id) = header.field("msgId") {
        push("messaging.message.id", id.into());
    }
    if header.code != 0 {
        push("rpc.response.status_code", name.clone().into());
    }
    if is_error {
        push("error.type", name.into());
        draft.status = SpanStatus::Error;
        let remark = header.remark.as_deref().unwrap_or_default();
        let line = remark.lines().next().unwrap_or_default();
        let text: String = line.chars().take(REMARK_MAX).collect();
        draft.status_message = Some(text).filter(|text| !text.is_empty());
    }
    draft
}

/// A property of a message: `name \x01 value \x02` one after another.
fn property(properties: &str, name: &str) -> Option<String> {
    let mut pairs = properties.split('\u{2}').filter_map(|pair| pair.split_once('\u{1}'));
    pairs.find(|pair| pair.0.eq_ignore_ascii_case(name)).map(|pair| pair.1.to_owned())
}

#[cfg(test)]
mod tests;
