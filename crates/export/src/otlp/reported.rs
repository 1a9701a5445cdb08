//! Reported: what SDKs report by the OpenTelemetry protocol, as spans and links of the model. What a span has
//! no field for is kept in attributes, by the names of "OpenTelemetry to non-OTLP" where that has one, so
//! that it leaves as it came.

use std::borrow::Cow;
use std::sync::Arc;

use deeptrace_model::{
    Attribute, AttributeSet, Attributes, ConnectionId, EVENTS, Exchange, LINKS, Link, Method, Pid,
    ProcessKey, REPORTED, RESOURCE_NAMES, Relation, SCOPE_NAME, SCOPE_VERSION, STATUS_CODE, Span,
    SpanId, SpanKind, SpanStatus, TRACE_STATE, Text, Touch, TraceContext, TraceId, Value, WallTime,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, span, status::StatusCode};

use crate::otel::is_resource;

type Told = opentelemetry_proto::tonic::trace::v1::Span;

/// Attributes of one span or resource, its events and its links, each at most: the SDKs' own default.
const ITEMS_MAX: usize = 128;
/// Bytes of a text, at most.
const TEXT_MAX: usize = 16 << 10;
/// Attributes that count what was left out, here and before.
const DROPPED: [&str; 3] =
    ["otel.dropped_attributes_count", "otel.dropped_events_count", "otel.dropped_links_count"];
/// Who decided on the parents of reported spans.
const ALGORITHM: &str = "sdk";

/// Spans that were reported, and what was wrong with others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reported {
    /// In the order in which they came.
    pub spans: Vec<Span>,
    /// The parent of each, or that it has none.
    pub links: Vec<Link>,
    /// Spans that are not valid.
    pub rejected: u64,
    /// What is wrong with the first of them.
    pub reason: &'static str,
}

/// The spans of a report. Takes any input; what is too long is cut, what is too many is counted in the
/// span.
pub fn reported(resources: Vec<ResourceSpans>) -> Reported {
    let mut all = Reported::default();
    for ResourceSpans { resource, scope_spans, .. } in resources {
        let process = Process::new(resource.unwrap_or_default());
        for scope_spans in scope_spans {
            let scope = scope(scope_spans.scope.unwrap_or_default());
            for told in scope_spans.spans {
                match process.span(told, &scope) {
                    Ok(span) => {
                        all.links.push(link(&span));
                        all.spans.push(span);
                    }
                    Err(reason) => {
                        all.reason = if all.rejected == 0 { reason } else { all.reason };
                        all.rejected += 1;
                    }
                }
            }
        }
    }
    all
}

/// Who reports.
struct Process {
    service: Text,
    pid: Pid,
    resource: Arc<AttributeSet>,
}

impl Process {
    fn new(resource: Resource) -> Self {
        let (mut attributes, dropped) = attributes(resource.attributes);
        let pid = attributes.get("process.pid").and_then(Value::as_int);
        let service = attributes.get("service.name").and_then(Value::as_text).map(Text::new);
        attributes.remove("service.name");
        let others = attributes.iter().map(|(name, _)| name.as_ref());
        let others: Vec<String> =
            others.filter(|name| !is_resource(name)).map(str::to_owned).collect();
        if !others.is_empty() {
            attributes.push((RESOURCE_NAMES.into(), Value::Texts(others)));
        }
        count(&mut attributes, "otel.dropped_resource_attributes_count", dropped);
        Self {
            // What the SDKs themselves say where nobody gave a name.
            service: service.unwrap_or_else(|| Text::new_static("unknown_service")),
            pid: Pid(pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)),
            resource: attributes.into_set(),
        }
    }

    fn span(&self, mut told: Told, scope: &[Attribute]) -> Result<Span, &'static str> {
        let id = id(&told.span_id).ok_or("span_id is not 8 bytes, or all zero")?;
        let trace = trace_id(&told.trace_id).ok_or("trace_id is not 16 bytes, or all zero")?;
        let parent = match told.parent_span_id.as_slice() {
            [] => 0,
            bytes => self::id(bytes).map_or(0, |id| id.0),
        };
        if told.start_time_unix_nano == 0 {
            return Err("start_time_unix_nano is missing");
        }
        let start = WallTime(told.start_time_unix_nano);
        let touch = Touch::unseen(self.pid);
        let mut attributes = Attributes::new();
        attributes.share(&self.resource);
        let (own, dropped) = self::attributes(std::mem::take(&mut told.attributes));
        own.iter().chain(scope).cloned().for_each(|(key, value)| attributes.set(key, value));
        add_rest(&told, dropped, &mut attributes);
        let status = told.status.unwrap_or_default();
        Ok(Span {
            id,
            kind: kind_of(told.kind),
            name: Text::new(cut(&told.name)),
            service: self.service.clone(),
            protocol: Cow::Borrowed(REPORTED),
            start,
            end: WallTime(told.end_time_unix_nano).max(start),
            status: match status.code() {
                StatusCode::Error => SpanStatus::Error,
                // Ours says with `Unset` that no answer was seen.
                StatusCode::Ok | StatusCode::Unset => SpanStatus::Ok,
            },
            status_message: (!status.message.is_empty()).then(|| cut(&status.message).to_owned()),
            attributes,
            request_size: 0,
            response_size: 0,
            request_payload: Default::default(),
            response_payload: Default::default(),
            process: ProcessKey::told(self.pid),
            connection: ConnectionId::UNSEEN,
            exchange: Exchange::unseen(id),
            request: [touch; 2],
            response: None,
            trace_context: Some(TraceContext { trace, parent }),
            unknown: Vec::new(),
            truncated: false,
            lost_events: 0,
        })
    }
}

/// Its parent, or that it has none.
fn link(span: &Span) -> Link {
    let parent = span.trace_context.map(|own| own.parent).filter(|parent| *parent != 0);
    Link {
        child: span.id,
        parent: parent.map(SpanId),
        child_start: span.start,
        method: Method::TraceContext,
        relation: match span.kind {
            SpanKind::Consumer => Relation::Follows,
            _ => Relation::Child,
        },
        confidence: if parent.is_some() { 1.0 } else { 0.0 },
        algorithm: ALGORITHM.into(),
        candidates: 1,
        generation: 0,
        is_final: true,
    }
}

/// Adds what a span has no field for, beside its attributes, of which so many were left out.
pub(crate) fn add_rest(told: &Told, dropped: u64, attributes: &mut Attributes) {
    let (events, more_events) = texts(&told.events);
    let (links, more_links) = texts(&told.links);
    let mut add = |name: &'static str, value: Option<Value>| {
        value.into_iter().for_each(|value| attributes.set(name.into(), value));
    };
    add(EVENTS, events);
    add(LINKS, links);
    add(TRACE_STATE, (!told.trace_state.is_empty()).then(|| text(told.trace_state.clone())));
    let is_ok = told.status.as_ref().is_some_and(|status| status.code() == StatusCode::Ok);
    add(STATUS_CODE, is_ok.then(|| "OK".into()));
    let counts = [
        dropped + u64::from(told.dropped_attributes_count),
        more_events + u64::from(told.dropped_events_count),
        more_links + u64::from(told.dropped_links_count),
    ];
    DROPPED.iter().zip(counts).for_each(|(name, more)| count(attributes, name, more));
}

/// Name and version of a scope, where it has them.
pub(crate) fn scope(scope: InstrumentationScope) -> Vec<Attribute> {
    let named = [(SCOPE_NAME, scope.name), (SCOPE_VERSION, scope.version)];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    named.map(|(name, value)| (Cow::Borrowed(name), text(value))).collect()
}

/// Those that there is room for, and how many there were more. Of one name the last counts.
pub(crate) fn attributes(told: Vec<KeyValue>) -> (Attributes, u64) {
    let mut attributes = Attributes::new();
    let dropped = told.len().saturating_sub(ITEMS_MAX) as u64;
    for KeyValue { key, value, .. } in told.into_iter().take(ITEMS_MAX) {
        if let Some(value) = value.and_then(value_of) {
            attributes.set(cut(&key).to_owned().into(), value);
        }
    }
    (attributes, dropped)
}

/// What the model has no type for is text: JSON, as in attributes of "OpenTelemetry to non-OTLP".
fn value_of(value: AnyValue) -> Option<Value> {
    use any_value::Value as Any;
    let value = match value.value? {
        Any::StringValue(told) => text(told),
        Any::BoolValue(yes) => Value::Bool(yes),
        Any::IntValue(number) => Value::Int(number),
        Any::DoubleValue(number) => Value::Float(number),
        Any::ArrayValue(array) => {
            let mut texts = Vec::new();
            for item in array.values.iter().take(ITEMS_MAX) {
                match &item.value {
                    Some(Any::StringValue(told)) => texts.push(cut(told).to_owned()),
                    _ => return Some(json(&array)),
                }
            }
            Value::Texts(texts)
        }
        Any::KvlistValue(list) => json(&list),
        Any::BytesValue(bytes) => json(&bytes),
        Any::StringValueStrindex(_) => return None,
    };
    Some(value)
}

fn json(value: &impl serde::Serialize) -> Value {
    text(serde_json::to_string(value).unwrap_or_default())
}

/// As OTLP/JSON, one text each; `None` if there are none.
fn texts<T: serde::Serialize>(items: &[T]) -> (Option<Value>, u64) {
    let (mut texts, mut dropped) = (Vec::new(), 0);
    for item in items {
        match serde_json::to_string(item) {
            Ok(text) if texts.len() < ITEMS_MAX && text.len() <= TEXT_MAX => texts.push(text),
            _ => dropped += 1,
        }
    }
    ((!texts.is_empty()).then_some(Value::Texts(texts)), dropped)
}

fn count(attributes: &mut Attributes, name: &'static str, more: u64) {
    if more > 0 {
        attributes.set(name.into(), Value::Int(i64::try_from(more).unwrap_or(i64::MAX)));
    }
}

fn text(told: String) -> Value {
    Value::Text(cut(&told).into())
}

/// At most [`TEXT_MAX`] bytes of it.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(TEXT_MAX)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

fn id(bytes: &[u8]) -> Option<SpanId> {
    let id = u64::from_be_bytes(bytes.try_into().ok()?);
    (id != 0).then_some(SpanId(id))
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    let id = u128::from_be_bytes(bytes.try_into().ok()?);
    (id != 0).then_some(TraceId(id))
}

/// Unspecified counts as internal (`trace.proto`).
pub(crate) fn kind_of(number: i32) -> SpanKind {
    match span::SpanKind::try_from(number) {
        Ok(span::SpanKind::Server) => SpanKind::Server,
        Ok(span::SpanKind::Client) => SpanKind::Client,
        Ok(span::SpanKind::Producer) => SpanKind::Producer,
        Ok(span::SpanKind::Consumer) => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}
