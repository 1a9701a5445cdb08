//! Told: what methods of AMQP 0-9-1 say, as attributes.

use deeptrace_model::{SpanStatus, Text, Value};

use super::method::{self, Arguments, Method, reply_name};
use super::{attribute, text};
use crate::{Draft, Side, Verdict};

/// What became of a message. Confirms of a server may stand for many and are not told; that a message
/// was not taken is.
pub(super) fn settle(method: &Method, told: &Arguments<'_>, from: Side, len: u64) -> Verdict {
    if from == Side::Server && method.id == method::ACK {
        return Verdict::Skip(len);
    }
    let mut draft = describe(Draft::one_way(""), method.name, None);
    attribute(&mut draft, "messaging.operation.type", "settle");
    if let Some(tag) = told.delivery_tag {
        let tag = Value::Int(tag as i64);
        draft.attributes.push(("messaging.rabbitmq.message.delivery_tag".into(), tag));
    }
    if from == Side::Server {
        draft.status = SpanStatus::Error;
        attribute(&mut draft, "error.type", "nack");
    }
    Verdict::Done { len, draft: Box::new(draft) }
}

/// Name and the attributes that all have.
pub(super) fn describe(mut draft: Draft, operation: &'static str, shown: Option<&str>) -> Draft {
    draft.name = match shown {
        Some(shown) => format!("{operation} {shown}").into(),
        None => Text::new_static(operation),
    };
    attribute(&mut draft, "messaging.system", "rabbitmq");
    attribute(&mut draft, "messaging.operation.name", operation);
    attribute(&mut draft, "network.protocol.name", "amqp");
    attribute(&mut draft, "network.protocol.version", "0.9.1");
    draft
}

/// Adds the exchange or queue.
pub(super) fn destination(draft: &mut Draft, name: &[u8]) {
    if !name.is_empty() {
        draft.attributes.push(("messaging.destination.name".into(), text(name).into()));
    }
}

/// Adds the routing key.
pub(super) fn routing_key(draft: &mut Draft, told: &Arguments<'_>) {
    if !told.routing_key.is_empty() {
        let key = text(told.routing_key);
        draft.attributes.push(("messaging.rabbitmq.destination.routing_key".into(), key.into()));
    }
}

/// Makes it an error with this reply.
pub(super) fn fail(draft: &mut Draft, (code, message): (u16, &[u8])) {
    draft.status = SpanStatus::Error;
    attribute(draft, "error.type", reply_name(code));
    draft.status_message = Some(text(message)).filter(|message| !message.is_empty());
}
