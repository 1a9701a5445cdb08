//! Reads `otlp` and `otlp-protobuf`: `TracesData`, also one a line, also in pieces one behind the other.
//! Payloads are not in it.

use std::io::{BufRead, Read};

use deeptrace_model::{Attributes, LINKED_SPANS, RESOURCE_NAMES, SpanId, TraceId, Value, WallTime};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, span::Link, status::StatusCode};
use prost::Message;

use super::plain::Plain;
use super::{ReadError, Take, objects};
use crate::otel::{SCOPE, is_resource};
use crate::otlp::{add_rest, kind_of, scope};

/// Bytes of the spans of one resource in protobuf, at most.
const RESOURCE_LEN_MAX: u64 = 256 << 20;
/// Field 1 of `TracesData`, a message (encoding.proto: number << 3 | 2).
const RESOURCE_SPANS: u8 = 0x0a;

pub(crate) fn json(input: &mut dyn BufRead, take: Take<'_>) -> Result<(), ReadError> {
    objects::each(input, Some("resourceSpans"), &mut |spans| resource(spans, take))
}

pub(crate) fn protobuf(input: &mut dyn BufRead, take: Take<'_>) -> Result<(), ReadError> {
    let wrong = |said: &str| ReadError::Protobuf(said.to_owned());
    loop {
        let Some(tag) = input.fill_buf()?.first().copied() else { return Ok(()) };
        input.consume(1);
        if tag != RESOURCE_SPANS {
            return Err(wrong("it is no TracesData"));
        }
        let len = varint(input)?.filter(|len| *len <= RESOURCE_LEN_MAX);
        let len = len.ok_or_else(|| wrong("a resource is longer than 256 MiB"))?;
        let mut bytes = Vec::new();
        let read = input.take(len).read_to_end(&mut bytes)?;
        if read as u64 != len {
            return Err(wrong("it is cut"));
        }
        let spans = ResourceSpans::decode(&bytes[..]);
        resource(spans.map_err(|error| ReadError::Protobuf(error.to_string()))?, take)?;
    }
}

/// A number of up to 64 bits; `None` if it has more.
fn varint(input: &mut dyn BufRead) -> Result<Option<u64>, ReadError> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn resource(spans: ResourceSpans, take: Take<'_>) -> Result<(), ReadError> {
    let mut of_process = Attributes::new();
    add(&mut of_process, spans.resource.map(|it| it.attributes).unwrap_or_default());
    let service =
        of_process.get("service.name").and_then(Value::as_text).unwrap_or("unknown_service");
    let service = service.to_owned();
    of_process.remove("service.name");
    let others = of_process.iter().map(|(name, _)| name.as_ref());
    let others: Vec<String> = others.filter(|name| !is_resource(name)).map(str::to_owned).collect();
    if !others.is_empty() {
        of_process.set(RESOURCE_NAMES.into(), Value::Texts(others));
    }
    for scope_spans in spans.scope_spans {
        let told = scope_spans.scope.unwrap_or_default();
        let is_ours = told.name == SCOPE;
        let scope = if is_ours { Vec::new() } else { scope(told) };
        for span in scope_spans.spans {
            let mut attributes = of_process.clone();
            scope.iter().cloned().for_each(|(name, value)| attributes.set(name, value));
            self::span(span, is_ours, &service, attributes, take)?;
        }
    }
    Ok(())
}

/// A span of a process with these attributes; `is_ours`: no SDK has reported it.
fn span(
    mut span: Span,
    is_ours: bool,
    service: &str,
    mut attributes: Attributes,
    take: Take<'_>,
) -> Result<(), ReadError> {
    add(&mut attributes, std::mem::take(&mut span.attributes));
    if is_ours {
        // They were further causes.
        let links = std::mem::take(&mut span.links).into_iter();
        let id = |link: Link| link.span_id.as_slice().try_into().ok().map(u64::from_be_bytes);
        let ids: Vec<String> = links.filter_map(id).map(|id| SpanId(id).to_string()).collect();
        if !ids.is_empty() {
            attributes.set(LINKED_SPANS.into(), Value::Texts(ids));
        }
    }
    add_rest(&span, 0, &mut attributes);
    let wrong = |reason| ReadError::Span { span: format!("{:02x?}", span.span_id), reason };
    let trace = span.trace_id.as_slice().try_into().map(u128::from_be_bytes);
    let id = span.span_id.as_slice().try_into().map(u64::from_be_bytes);
    let parent = match span.parent_span_id.as_slice() {
        [] => Ok(0),
        bytes => bytes.try_into().map(u64::from_be_bytes),
    };
    let status = span.status.unwrap_or_default();
    let plain = Plain {
        trace: TraceId(trace.map_err(|_| wrong("its trace id has not 16 bytes"))?),
        id: SpanId(id.map_err(|_| wrong("its id has not 8 bytes"))?),
        parent: match parent.map_err(|_| wrong("the id of its parent has not 8 bytes"))? {
            0 => None,
            parent => Some(SpanId(parent)),
        },
        kind: kind_of(span.kind),
        name: span.name,
        service: service.into(),
        start: WallTime(span.start_time_unix_nano),
        end: WallTime(span.end_time_unix_nano),
        is_error: status.code() == StatusCode::Error,
        message: (!status.message.is_empty()).then_some(status.message),
        attributes,
        follows: None,
    };
    take(plain.finish()).map_err(ReadError::Stopped)
}

fn add(attributes: &mut Attributes, told: Vec<KeyValue>) {
    for KeyValue { key, value, .. } in told {
        if let Some(value) = value.and_then(value_of) {
            attributes.set(key.into(), value);
        }
    }
}

/// What the model has no type for is JSON as text.
fn value_of(value: AnyValue) -> Option<Value> {
    let as_text = |value: &AnyValue| match &value.value {
        Some(any_value::Value::StringValue(text)) => Some(text.clone()),
        _ => None,
    };
    Some(match value.value? {
        any_value::Value::StringValue(text) => Value::Text(text.into()),
        any_value::Value::BoolValue(yes) => Value::Bool(yes),
        any_value::Value::IntValue(number) => Value::Int(number),
        any_value::Value::DoubleValue(number) => Value::Float(number),
        any_value::Value::ArrayValue(array) => {
            match array.values.iter().map(as_text).collect::<Option<Vec<String>>>() {
                Some(texts) => Value::Texts(texts),
                None => Value::from(serde_json::to_string(&array).unwrap_or_default()),
            }
        }
        other => Value::from(serde_json::to_string(&other).unwrap_or_default()),
    })
}
