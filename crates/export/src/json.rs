//! `json`: the Span JSON, one object a span, its fields always all there and in this order.
//!
//! Ids are lower-case hex. A payload is text where its bytes are UTF-8, else an object
//! `{"base64": "…"}`, so that neither is ever taken for the other. Attributes keep the order in
//! which they were found. What is not known is `null`.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use deeptrace_model::{
    Attributes, Link, Method, Relation, SpanId, SpanKind, SpanStatus, TraceId, TraceSpan, Value,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use crate::{Format, Objects, otel, read};

/// Its row in the table.
pub(crate) const FORMAT: Format = Format {
    name: "json",
    summary: "DeepTrace's own Span JSON: every field, an array or one span a line",
    media_type: "application/json",
    make: |framing| {
        Objects::boxed(framing, ["[", "]"], |trace, spans, objects, out| {
            spans.iter().try_for_each(|span| objects.add(&SpanJson::new(trace, span), out))
        })
    },
    read: read::json,
};

/// A span as it is printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpanJson<'a> {
    /// 32 hex digits.
    pub trace_id: Cow<'a, str>,
    /// 16 hex digits.
    pub span_id: Cow<'a, str>,
    /// 16 hex digits; `None` for a root.
    pub parent_span_id: Option<Cow<'a, str>>,
    /// Which side.
    pub kind: SpanKind,
    /// Low-cardinality name.
    pub name: Cow<'a, str>,
    /// `service.name`.
    pub service: Cow<'a, str>,
    /// Wall clock, nanoseconds since the epoch.
    pub start_time_unix_nano: u64,
    /// Wall clock, nanoseconds since the epoch.
    pub end_time_unix_nano: u64,
    /// Nanoseconds.
    pub duration_ns: u64,
    /// How it ended.
    pub status: SpanStatus,
    /// Error text.
    pub status_message: Option<Cow<'a, str>>,
    /// Name in `deeptrace protocols`.
    pub protocol: Cow<'a, str>,
    /// OpenTelemetry's semantic conventions.
    pub attributes: AttributesJson<'a>,
    /// Bytes on the wire.
    pub request_size: u64,
    /// Bytes on the wire.
    pub response_size: u64,
    /// How the parent was found; `None` for a root.
    pub link: Option<LinkJson<'a>>,
    /// Further causes, beside the parent.
    pub links: Vec<LinkJson<'a>>,
    /// What was kept of the request.
    pub request_payload: PayloadJson<'a>,
    /// What was kept of the response.
    pub response_payload: PayloadJson<'a>,
    /// Names of attributes whose bytes were sent before the agent came.
    pub unknown: Cow<'a, [Cow<'static, str>]>,
    /// Whether the payload was cut.
    pub truncated: bool,
    /// Events known to be missing around it.
    pub lost_events: u32,
}

/// How a parent was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkJson<'a> {
    /// The span that is the cause, 16 hex digits; of a parent it is in `parent_span_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<Cow<'a, str>>,
    /// How.
    pub method: Method,
    /// What the parent is to it.
    pub relation: Relation,
    /// Probability, rounded to six digits.
    #[serde(serialize_with = "rounded")]
    pub confidence: f64,
    /// Who decided.
    pub algorithm: Cow<'a, str>,
}

/// Attributes as one object.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributesJson<'a>(pub Cow<'a, Attributes>);

/// First bytes of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct PayloadJson<'a>(pub Cow<'a, [u8]>);

impl<'a> SpanJson<'a> {
    /// The printed form of `span` in the trace of that id.
    pub fn new(trace: TraceId, span: &'a TraceSpan) -> Self {
        let TraceSpan { span, parent, link } = span;
        let payload = |bytes: &'a [u8]| PayloadJson(Cow::Borrowed(bytes));
        Self {
            trace_id: trace.to_string().into(),
            span_id: span.id.to_string().into(),
            parent_span_id: parent.map(|parent| parent.to_string().into()),
            kind: span.kind,
            name: Cow::Borrowed(&span.name),
            service: Cow::Borrowed(&span.service),
            start_time_unix_nano: span.start.0,
            end_time_unix_nano: span.end.0,
            duration_ns: span.end.since(span.start).0,
            status: span.status,
            status_message: span.status_message.as_deref().map(Cow::Borrowed),
            protocol: Cow::Borrowed(&span.protocol),
            attributes: AttributesJson(Cow::Owned(span.all_attributes())),
            request_size: span.request_size,
            response_size: span.response_size,
            link: link.as_ref().map(LinkJson::new),
            links: span
                .linked()
                .map(LinkJson::item)
                .chain(otel::linked(span).map(LinkJson::reported))
                .collect(),
            request_payload: payload(&span.request_payload),
            response_payload: payload(&span.response_payload),
            unknown: Cow::Borrowed(&span.unknown),
            truncated: span.truncated,
            lost_events: span.lost_events,
        }
    }
}

impl<'a> LinkJson<'a> {
    fn new(link: &'a Link) -> Self {
        Self {
            span_id: None,
            method: link.method,
            relation: link.relation,
            confidence: link.confidence.into(),
            algorithm: Cow::Borrowed(&link.algorithm),
        }
    }

    /// As the application's SDK reported it.
    fn reported(cause: SpanId) -> Self {
        Self { method: Method::TraceContext, algorithm: "sdk".into(), ..Self::item(cause) }
    }

    /// To a span that put an item into a queue, which was taken: both saw the same bytes.
    fn item(cause: SpanId) -> Self {
        Self {
            span_id: Some(cause.to_string().into()),
            method: Method::Queue,
            relation: Relation::Follows,
            confidence: 1.0,
            algorithm: "item".into(),
        }
    }
}

/// A confidence is stored with less precision than JSON prints: 0.9 would be 0.8999999761581421.
fn rounded<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64((number * 1e6).round() / 1e6)
}

impl Serialize for AttributesJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0.iter() {
            match value {
                Value::Text(text) => map.serialize_entry(key, text)?,
                Value::Int(number) => map.serialize_entry(key, number)?,
                Value::Float(number) => map.serialize_entry(key, number)?,
                Value::Bool(yes) => map.serialize_entry(key, yes)?,
                Value::Texts(texts) => map.serialize_entry(key, texts)?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for AttributesJson<'_> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> de::Visitor<'de> for AttributesVisitor {
    type Value = AttributesJson<'static>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of attributes")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Bool(bool),
            Int(i64),
            Float(f64),
            Text(String),
            Texts(Vec<String>),
        }
        let mut attributes = Attributes::new();
        while let Some((key, value)) = map.next_entry::<String, Any>()? {
            let value = match value {
                Any::Bool(yes) => Value::Bool(yes),
                Any::Int(number) => Value::Int(number),
                Any::Float(number) => Value::Float(number),
                Any::Text(text) => Value::Text(text.into()),
                Any::Texts(texts) => Value::Texts(texts),
            };
            attributes.push((key.into(), value));
        }
        Ok(AttributesJson(Cow::Owned(attributes)))
    }
}

/// A payload that is no text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64 {
    base64: String,
}

impl Serialize for PayloadJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(&self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => Base64 { base64: STANDARD.encode(&self.0) }.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for PayloadJson<'_> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Text(String),
            Bytes(Base64),
        }
        let bytes = match Any::deserialize(from)? {
            Any::Text(text) => text.into_bytes(),
            Any::Bytes(bytes) => STANDARD.decode(bytes.base64).map_err(de::Error::custom)?,
        };
        Ok(Self(Cow::Owned(bytes)))
    }
}
