//! Field: where in a span a value is looked for.

use std::fmt;

use deeptrace_model::{Span, Value};

/// Attributes that say on whose behalf a request was made (OpenTelemetry, "User" and "Enduser").
pub const USER_ATTRIBUTES: &[&str] = &[
    "user.id",
    "user.name",
    "user.full_name",
    "user.email",
    "user.hash",
    "enduser.id",
    "enduser.pseudo.id",
];

/// Where in a span a value is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `service`: its `service.name` is the value.
    Service,
    /// `trace_id`: it is of the trace of that id.
    TraceId,
    /// `user`: one of [`USER_ATTRIBUTES`] is the value.
    User,
    /// `payload`: the value occurs in what was kept of its request or response.
    Payload,
    /// `any`: the value occurs anywhere in it.
    Any,
    /// Any other name: the attribute of that name is the value.
    Attribute(String),
}

impl Field {
    /// The field of that name; every name is one.
    pub fn of(name: &str) -> Self {
        match name {
            "service" => Self::Service,
            "trace_id" => Self::TraceId,
            "user" => Self::User,
            "payload" => Self::Payload,
            "any" => Self::Any,
            name => Self::Attribute(name.to_owned()),
        }
    }

    /// Whether the value need only occur in what is looked at, and not be all of it.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self, Self::Payload | Self::Any)
    }

    /// Tells the texts of `span` in which the value is looked for, until one is it.
    pub(crate) fn any(&self, span: &Span, is_it: &dyn Fn(&[u8]) -> bool) -> bool {
        let text = |text: &str| is_it(text.as_bytes());
        let named = |name: &str| span.attributes.get(name).is_some_and(|it| each(it, is_it));
        let payload = || is_it(&span.request_payload) || is_it(&span.response_payload);
        match self {
            Self::Service => text(&span.service),
            Self::TraceId => {
                let own = span.trace_context.map(|context| context.trace);
                own.is_some_and(|trace| text(&trace.to_string()))
            }
            Self::User => USER_ATTRIBUTES.iter().any(|name| named(name)),
            Self::Payload => payload(),
            Self::Any => {
                payload()
                    || span.attributes.iter().any(|(_, value)| each(value, is_it))
                    || text(&span.name)
                    || text(&span.service)
                    || span.status_message.as_deref().is_some_and(text)
            }
            Self::Attribute(name) => named(name),
        }
    }
}

/// Tells a value as text; of several each.
fn each(value: &Value, is_it: &dyn Fn(&[u8]) -> bool) -> bool {
    match value {
        Value::Text(text) => is_it(text.as_bytes()),
        Value::Int(number) => is_it(number.to_string().as_bytes()),
        Value::Float(number) => is_it(number.to_string().as_bytes()),
        Value::Bool(yes) => is_it(yes.to_string().as_bytes()),
        Value::Texts(texts) => texts.iter().any(|text| is_it(text.as_bytes())),
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::TraceId => "trace_id",
            Self::User => "user",
            Self::Payload => "payload",
            Self::Any => "any",
            Self::Attribute(name) => name,
        })
    }
}
