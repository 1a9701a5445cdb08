//! `zipkin`: an array of spans of Zipkin's API v2 (`zipkin2-api.yaml`); times and durations in
//! microseconds, values of tags as text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use deeptrace_model::{SpanKind, TraceId, TraceSpan, Value};
use opentelemetry_proto::tonic::trace::v1::span::Event;
use serde::Serialize;
use serde_json::json;

use crate::json::AttributesJson;
use crate::otel::{Attribute, Members, Told, text};
use crate::{Format, Objects, read};

/// Its row in the table.
pub(crate) const FORMAT: Format = Format {
    name: "zipkin",
    summary: "Zipkin v2 JSON, an array of spans",
    media_type: "application/json",
    make: |framing| {
        Objects::boxed(framing, ["[", "]"], |trace, spans, objects, out| {
            let members = Members::new(trace, spans);
            let mut spans = spans.iter();
            spans.try_for_each(|span| objects.add(&converted(&members, trace, span), out))
        })
    },
    read: read::zipkin,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    name: String,
    timestamp: u64,
    duration: u64,
    local_endpoint: Endpoint,
    #[serde(skip_serializing_if = "Endpoint::is_empty")]
    remote_endpoint: Endpoint,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation>,
    tags: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Annotation {
    timestamp: u64,
    value: String,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<i64>,
}

impl Endpoint {
    /// The one end of a connection: `local` or `peer`.
    fn of(end: &str, attributes: &[Attribute]) -> Self {
        let named = |part: &str| {
            let name = format!("network.{end}.{part}");
            attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let address = named("address").map(text).and_then(|text| text.parse::<IpAddr>().ok());
        let port = match named("port") {
            Some(Value::Int(port)) => Some(*port),
            _ => None,
        };
        Self {
            service_name: None,
            ipv4: address.filter(IpAddr::is_ipv4).map(|it| it.to_string()),
            ipv6: address.filter(IpAddr::is_ipv6).map(|it| it.to_string()),
            port,
        }
    }

    fn is_empty(&self) -> bool {
        self.ipv4.is_none() && self.ipv6.is_none() && self.port.is_none()
    }
}

fn converted(members: &Members, trace: TraceId, span: &TraceSpan) -> Span {
    let told = Told::new(members, span);
    let Told { resource, attributes, is_error, message, events, links, .. } = told;
    let TraceSpan { span, parent, .. } = span;
    let local = Endpoint::of("local", &attributes);
    let remote = Endpoint::of("peer", &attributes);
    let all = resource.iter().chain(&attributes);
    let mut tags: BTreeMap<String, String> =
        all.map(|(name, value)| (name.to_string(), text(value))).collect();
    // Zipkin has no links; OpenTelemetry's translation makes them tags of these names.
    for (at, link) in links.iter().enumerate() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (trace, span) = (hex(&link.trace_id), hex(&link.span_id));
        tags.insert(format!("otlp.link.{at}"), format!("{trace}|{span}"));
    }
    if is_error {
        // Zipkin's rule: the tag marks an error, its value says more.
        tags.insert("error".into(), message.unwrap_or_default());
    }
    Span {
        trace_id: trace.to_string(),
        id: span.id.to_string(),
        parent_id: parent.map(|parent| parent.to_string()),
        kind: kind(span.kind),
        name: span.name.to_string(),
        timestamp: span.start.0 / 1000,
        duration: (span.end.since(span.start).0 / 1000).max(1),
        local_endpoint: Endpoint { service_name: Some(span.service.to_string()), ..local },
        remote_endpoint: remote,
        annotations: events.into_iter().map(annotation).collect(),
        tags,
    }
}

/// With its attributes as JSON behind the name, where it has some ("OpenTelemetry to Zipkin", Events).
fn annotation(event: Event) -> Annotation {
    let (attributes, _) = crate::otlp::attributes(event.attributes);
    let named = json!({ event.name.as_str(): AttributesJson(Cow::Borrowed(&attributes)) });
    let value = if attributes.is_empty() { event.name } else { named.to_string() };
    Annotation { timestamp: event.time_unix_nano / 1000, value }
}

fn kind(kind: SpanKind) -> Option<&'static str> {
    match kind {
        SpanKind::Server => Some("SERVER"),
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
        SpanKind::Internal => None,
    }
}
