//! `otlp`, `otlp-protobuf`: OpenTelemetry's own format, as JSON and as protobuf: a `TracesData` of the
//! OpenTelemetry protocol 1.x (`opentelemetry/proto/trace/v1/trace.proto`).
//!
//! JSON is the mapping of the "OTLP/JSON" section: ids in hex, numbers of 64 bits as text. As lines it
//! is the OTLP file format: one `TracesData` a line. Protobuf has no lines: a `TracesData` may be
//! written in pieces, since repeated fields of a message that follows are appended.

mod reported;

use std::io::{self, Write};

use deeptrace_model::{SpanKind, TraceId, TraceSpan, Value};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, TracesData, span, status::StatusCode,
};
use prost::Message;

use crate::otel::{Attribute, Members, Told};
use crate::{Exporter, Format, Framing, Objects, read};

pub use reported::{Reported, reported};
pub(crate) use reported::{add_rest, attributes, kind_of, scope};

/// `SpanFlags`: the trace was sampled (W3C Trace Context §2.2.4); the next two: it is known whether the
/// parent is in another process, and it is.
const SAMPLED: u32 = 0x001;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Its rows in the table.
pub(crate) const JSON: Format = Format {
    name: "otlp",
    summary: "OpenTelemetry protocol as JSON (TracesData)",
    media_type: "application/json",
    make: |framing| match framing {
        Framing::Document => {
            Objects::boxed(framing, ["{\"resourceSpans\":[", "]}"], |trace, spans, objects, out| {
                resources(trace, spans).iter().try_for_each(|resource| objects.add(resource, out))
            })
        }
        Framing::Lines => Objects::boxed(framing, ["", ""], |trace, spans, objects, out| {
            objects.add(&traces_data(trace, spans), out)
        }),
    },
    read: read::otlp_json,
};
/// The same in protobuf.
pub(crate) const PROTOBUF: Format = Format {
    name: "otlp-protobuf",
    summary: "OpenTelemetry protocol as protobuf (TracesData)",
    media_type: "application/x-protobuf",
    make: |_| Box::new(Protobuf),
    read: read::otlp_protobuf,
};

struct Protobuf;

impl Exporter for Protobuf {
    fn spans(
        &mut self,
        trace: TraceId,
        spans: &[TraceSpan],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        out.write_all(&traces_data(trace, spans).encode_to_vec())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn traces_data(trace: TraceId, spans: &[TraceSpan]) -> TracesData {
    TracesData { resource_spans: resources(trace, spans) }
}

/// The spans of a trace by resource and scope, in the order in which these appear.
pub fn resources(trace: TraceId, spans: &[TraceSpan]) -> Vec<ResourceSpans> {
    let members = Members::new(trace, spans);
    let mut all: Grouped<Vec<Attribute>, (Scope, Vec<Span>)> = Vec::new();
    for span in spans {
        let mut told = Told::new(&members, span);
        let (resource, scope) =
            (std::mem::take(&mut told.resource), std::mem::take(&mut told.scope));
        let span = converted(trace, span, told);
        add(add(&mut all, resource), scope).push(span);
    }
    let of_scope = |([name, version], spans): (Scope, _)| ScopeSpans {
        scope: Some(InstrumentationScope { name, version, ..InstrumentationScope::default() }),
        spans,
        ..ScopeSpans::default()
    };
    let of_resource = |(resource, scopes): (_, Vec<_>)| ResourceSpans {
        resource: Some(Resource { attributes: key_values(resource), ..Resource::default() }),
        scope_spans: scopes.into_iter().map(of_scope).collect(),
        ..ResourceSpans::default()
    };
    all.into_iter().map(of_resource).collect()
}

/// Name and version.
type Scope = [String; 2];

/// What belongs to each key, in the order of the keys.
type Grouped<K, T> = Vec<(K, Vec<T>)>;

/// What belongs to `key`.
fn add<K: PartialEq, T>(list: &mut Grouped<K, T>, key: K) -> &mut Vec<T> {
    let at = list.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        list.push((key, Vec::new()));
        list.len() - 1
    });
    &mut list[at].1
}

fn converted(trace: TraceId, span: &TraceSpan, told: Told) -> Span {
    let TraceSpan { span, parent, .. } = span;
    let remote = if told.is_remote { IS_REMOTE } else { 0 };
    let (message, code) = match told.message {
        message if told.is_error => (message.unwrap_or_default(), StatusCode::Error),
        _ if told.is_ok => (String::new(), StatusCode::Ok),
        _ => (String::new(), StatusCode::Unset),
    };
    Span {
        trace_id: trace.0.to_be_bytes().to_vec(),
        span_id: span.id.0.to_be_bytes().to_vec(),
        parent_span_id: parent.map(|parent| parent.0.to_be_bytes().to_vec()).unwrap_or_default(),
        trace_state: told.trace_state,
        flags: SAMPLED | HAS_IS_REMOTE | remote,
        name: span.name.to_string(),
        kind: kind(span.kind) as i32,
        start_time_unix_nano: span.start.0,
        end_time_unix_nano: span.end.0,
        attributes: key_values(told.attributes),
        events: told.events,
        links: told.links,
        status: (code != StatusCode::Unset).then_some(Status { message, code: code as i32 }),
        ..Span::default()
    }
}

fn kind(kind: SpanKind) -> span::SpanKind {
    match kind {
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
        SpanKind::Producer => span::SpanKind::Producer,
        SpanKind::Consumer => span::SpanKind::Consumer,
        SpanKind::Internal => span::SpanKind::Internal,
    }
}

fn key_values(attributes: Vec<Attribute>) -> Vec<KeyValue> {
    let converted = |(key, value): Attribute| KeyValue {
        key: key.into_owned(),
        value: Some(any_value(value)),
        ..KeyValue::default()
    };
    attributes.into_iter().map(converted).collect()
}

fn any_value(value: Value) -> AnyValue {
    let text = |text: String| AnyValue { value: Some(any_value::Value::StringValue(text)) };
    AnyValue {
        value: Some(match value {
            Value::Text(text) => any_value::Value::StringValue(text.to_string()),
            Value::Int(number) => any_value::Value::IntValue(number),
            Value::Float(number) => any_value::Value::DoubleValue(number),
            Value::Bool(yes) => any_value::Value::BoolValue(yes),
            Value::Texts(texts) => any_value::Value::ArrayValue(ArrayValue {
                values: texts.into_iter().map(text).collect(),
            }),
        }),
    }
}
