//! `jaeger`: what Jaeger's query API answers (`model/json/model.go` of Jaeger 1.x) and its page opens as
//! a file; times and durations in microseconds.

use deeptrace_model::{Relation, SpanId, TraceId, TraceSpan, Value};
use opentelemetry_proto::tonic::trace::v1::span;
use serde::Serialize;
use serde_json::json;

use crate::otel::{Attribute, Members, Told};
use crate::otlp::attributes;
use crate::{Format, Objects, read};

/// Its row in the table.
pub(crate) const FORMAT: Format = Format {
    name: "jaeger",
    summary: "Jaeger JSON, as its page opens it",
    media_type: "application/json",
    make: |framing| {
        Objects::boxed(framing, ["{\"data\":[", "]}"], |trace, spans, objects, out| {
            objects.add(&whole(trace, spans), out)
        })
    },
    read: read::jaeger,
};

/// A trace.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<Span>,
    processes: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    flags: u32,
    operation_name: String,
    references: Vec<Reference>,
    start_time: u64,
    duration: u64,
    tags: Vec<Tag>,
    logs: Vec<Log>,
    #[serde(rename = "processID")]
    process_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Serialize)]
struct Log {
    timestamp: u64,
    fields: Vec<Tag>,
}

#[derive(Serialize)]
struct Tag {
    key: String,
    #[serde(rename = "type")]
    kind: &'static str,
    value: serde_json::Value,
}

/// The trace of these spans.
pub fn whole(trace: TraceId, spans: &[TraceSpan]) -> Trace {
    let members = Members::new(trace, spans);
    let mut processes: Vec<Vec<Attribute>> = Vec::new();
    let mut converted_spans = Vec::with_capacity(spans.len());
    for span in spans {
        let mut told = Told::new(&members, span);
        let resource = std::mem::take(&mut told.resource);
        let at = processes.iter().position(|known| *known == resource).unwrap_or_else(|| {
            processes.push(resource);
            processes.len() - 1
        });
        converted_spans.push(converted(trace, span, told, process_id(at)));
    }
    let processes = processes.into_iter().enumerate().map(|(at, it)| (process_id(at), process(it)));
    Trace { trace_id: trace.to_string(), spans: converted_spans, processes: processes.collect() }
}

fn process_id(at: usize) -> String {
    format!("p{}", at + 1)
}

/// The service is a field of its own, the other attributes are tags.
fn process(mut resource: Vec<Attribute>) -> serde_json::Value {
    let service = resource.remove(0).1;
    let tags: Vec<Tag> = resource.into_iter().map(tag).collect();
    json!({ "serviceName": tag((String::new().into(), service)).value, "tags": tags })
}

fn converted(trace: TraceId, span: &TraceSpan, told: Told, process_id: String) -> Span {
    let TraceSpan { span, parent, link } = span;
    let mut tags = vec![text_tag("span.kind", span.kind.as_str())];
    tags.extend(told.attributes.into_iter().map(tag));
    let [scope, version] = &told.scope;
    let texts = [("otel.scope.name", scope), ("otel.scope.version", version)];
    let texts = texts.into_iter().chain([("w3c.tracestate", &told.trace_state)]);
    tags.extend(texts.filter(|(_, text)| !text.is_empty()).map(|(name, it)| text_tag(name, it)));
    if told.is_ok && !told.is_error {
        tags.push(text_tag("otel.status_code", "OK"));
    }
    if told.is_error {
        tags.push(Tag { key: "error".into(), kind: "bool", value: true.into() });
        tags.push(text_tag("otel.status_code", "ERROR"));
        tags.extend(told.message.map(|message| text_tag("otel.status_description", &message)));
    }
    let follows = link.as_ref().is_some_and(|link| link.relation == Relation::Follows);
    let reference = |parent: SpanId| Reference {
        ref_type: if follows { "FOLLOWS_FROM" } else { "CHILD_OF" },
        trace_id: trace.to_string(),
        span_id: parent.to_string(),
    };
    let references = parent.map(reference).into_iter().chain(told.links.iter().map(further));
    Span {
        trace_id: trace.to_string(),
        span_id: span.id.to_string(),
        flags: 1,
        operation_name: span.name.to_string(),
        references: references.collect(),
        start_time: span.start.0 / 1000,
        duration: span.end.since(span.start).0 / 1000,
        tags,
        logs: told.events.into_iter().map(log).collect(),
        process_id,
    }
}

/// A link that is no parent, as OpenTelemetry's translation to Jaeger writes it.
fn further(link: &span::Link) -> Reference {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Reference {
        ref_type: "FOLLOWS_FROM",
        trace_id: hex(&link.trace_id),
        span_id: hex(&link.span_id),
    }
}

fn log(event: span::Event) -> Log {
    let mut fields: Vec<Tag> = Vec::with_capacity(event.attributes.len() + 1);
    if !event.name.is_empty() {
        fields.push(text_tag("event", &event.name));
    }
    fields.extend(attributes(event.attributes).0.iter().cloned().map(tag));
    Log { timestamp: event.time_unix_nano / 1000, fields }
}

fn text_tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), kind: "string", value: value.into() }
}

fn tag((key, value): Attribute) -> Tag {
    let (kind, value) = match value {
        Value::Text(text) => ("string", json!(text.as_str())),
        Value::Int(number) => ("int64", json!(number)),
        Value::Float(number) => ("float64", json!(number)),
        Value::Bool(yes) => ("bool", json!(yes)),
        // Jaeger has no lists: OpenTelemetry's own translation writes them as JSON.
        Value::Texts(texts) => ("string", json!(json!(texts).to_string())),
    };
    Tag { key: key.into_owned(), kind, value }
}
