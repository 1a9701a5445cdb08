//! Reads `jaeger`: traces as Jaeger's query API answers. Times are to the microsecond; payloads are not
//! in it; logs are not kept.

use std::collections::HashMap;
use std::io::BufRead;

use deeptrace_model::{Attributes, SpanKind, Value, WallTime};
use serde::Deserialize;

use super::plain::{self, Plain};
use super::{ReadError, Take, objects};

#[derive(Deserialize)]
struct Trace {
    spans: Vec<Span>,
    #[serde(default)]
    processes: HashMap<String, Process>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    operation_name: String,
    #[serde(default)]
    references: Vec<Reference>,
    start_time: u64,
    duration: u64,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(rename = "processID", default)]
    process_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Clone, Deserialize)]
struct Tag {
    key: String,
    value: serde_json::Value,
}

pub(crate) fn read(input: &mut dyn BufRead, take: Take<'_>) -> Result<(), ReadError> {
    objects::each(input, Some("data"), &mut |Trace { spans, processes }| {
        for span in spans {
            let process = processes.get(&span.process_id);
            take(whole(span, process)?.finish()).map_err(ReadError::Stopped)?;
        }
        Ok(())
    })
}

fn whole(span: Span, process: Option<&Process>) -> Result<Plain, ReadError> {
    // Others name further causes, of other traces too.
    let parent = span.references.iter().find(|it| it.trace_id == span.trace_id);
    let (trace, id, parent_id) =
        plain::ids(&span.trace_id, &span.span_id, parent.map(|it| it.span_id.as_str()))?;
    let mut attributes = Attributes::new();
    let of_process = process.into_iter().flat_map(|process| process.tags.iter().cloned());
    for Tag { key, value } in of_process.chain(span.tags) {
        if let Some(value) = value_of(value) {
            attributes.set(key.into(), value);
        }
    }
    let mut taken = |name: &str| {
        let value = attributes.get(name).map(crate::otel::text);
        attributes.remove(name);
        value
    };
    let kind = taken("span.kind");
    let code = taken("otel.status_code");
    let is_error =
        taken("error").is_some_and(|text| text == "true") || code.as_deref() == Some("ERROR");
    let message = taken("otel.status_description");
    let service = process.map_or("unknown_service", |process| &process.service_name);
    Ok(Plain {
        trace,
        id,
        parent: parent_id,
        kind: match kind.as_deref() {
            Some("server") => SpanKind::Server,
            Some("client") => SpanKind::Client,
            Some("producer") => SpanKind::Producer,
            Some("consumer") => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
        name: span.operation_name,
        service: service.into(),
        start: WallTime(span.start_time.saturating_mul(1000)),
        end: WallTime(span.start_time.saturating_add(span.duration).saturating_mul(1000)),
        is_error,
        message,
        attributes,
        follows: parent.map(|parent| parent.ref_type == "FOLLOWS_FROM"),
    })
}

fn value_of(value: serde_json::Value) -> Option<Value> {
    Some(match value {
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Bool(yes) => Value::Bool(yes),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64()?),
        },
        _ => return None,
    })
}
