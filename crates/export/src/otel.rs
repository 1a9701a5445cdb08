//! What the formats of others share: how a span reads in OpenTelemetry's terms.
//!
//! Attributes of the process are its resource, the rest are the span's. What OpenTelemetry has no name
//! for is under `deeptrace.`. Payloads stay behind: they are for those who may read them.

use std::borrow::Cow;

use deeptrace_model::{Attributes, Method, Span, SpanStatus, TraceSpan, Value};

/// Beginnings of the names of resource attributes.
const RESOURCE: &[&str] = &["service.", "host.", "process.", "container.", "k8s."];

/// A name with its value.
pub(crate) type Attribute = (Cow<'static, str>, Value);

/// A span in OpenTelemetry's terms.
pub(crate) struct Told {
    /// Of the process.
    pub resource: Vec<Attribute>,
    /// Of the span.
    pub attributes: Vec<Attribute>,
    /// Whether it failed; what says nothing is no failure.
    pub is_error: bool,
    /// Why.
    pub message: Option<String>,
    /// Whether the parent was in another process.
    pub is_remote: bool,
}

impl Told {
    pub(crate) fn new(span: &TraceSpan) -> Self {
        let TraceSpan { span, link, .. } = span;
        let mut all = span.all_attributes();
        // "No answer was seen" is what only this side knows: to others the call has failed.
        if span.status == SpanStatus::Unset && all.get("error.type").is_none() {
            all.push(("error.type".into(), "no_response".into()));
        }
        add_own(span, &mut all);
        if let Some(link) = link {
            let confidence = (f64::from(link.confidence) * 1e6).round() / 1e6;
            all.push(("deeptrace.link.method".into(), link.method.as_str().into()));
            all.push(("deeptrace.link.confidence".into(), Value::Float(confidence)));
            all.push(("deeptrace.link.algorithm".into(), link.algorithm.to_string().into()));
        }
        let (mut resource, attributes): (Vec<Attribute>, _) = all
            .iter()
            .cloned()
            .partition(|(name, _)| RESOURCE.iter().any(|start| name.starts_with(start)));
        resource.insert(0, ("service.name".into(), Value::Text(span.service.clone())));
        Self {
            resource,
            attributes,
            is_error: span.status != SpanStatus::Ok,
            message: span.status_message.clone(),
            is_remote: link.as_ref().is_some_and(|link| {
                matches!(link.method, Method::Connection | Method::TraceContext)
            }),
        }
    }
}

fn add_own(span: &Span, all: &mut Attributes) {
    let number = |bytes: u64| Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX));
    all.push(("deeptrace.protocol".into(), span.protocol.to_string().into()));
    all.push(("deeptrace.request.size".into(), number(span.request_size)));
    all.push(("deeptrace.response.size".into(), number(span.response_size)));
    if !span.unknown.is_empty() {
        let names = span.unknown.iter().map(|name| name.to_string()).collect();
        all.push(("deeptrace.unknown".into(), Value::Texts(names)));
    }
    if span.truncated {
        all.push(("deeptrace.truncated".into(), true.into()));
    }
    if span.lost_events > 0 {
        all.push(("deeptrace.lost_events".into(), number(span.lost_events.into())));
    }
}

/// A value as text, where a format has no other.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Texts(texts) => texts.join(","),
    }
}
