//! What the formats of others share: how a span reads in OpenTelemetry's terms.
//!
//! Attributes of the process are its resource, the rest are the span's. What OpenTelemetry has no name
//! for is under `deeptrace.`. Payloads stay behind: they are for those who may read them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use deeptrace_model::{
    Attributes, EVENTS, LINKED_SPANS, LINKS, Method, RESOURCE_NAMES, SCOPE_NAME, SCOPE_VERSION,
    STATUS_CODE, Span, SpanId, SpanStatus, TRACE_STATE, TraceId, TraceSpan, Value,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};

/// Beginnings of the names of resource attributes.
const RESOURCE: &[&str] =
    &["service.", "host.", "process.", "container.", "k8s.", "telemetry.", "deployment.", "os."];

/// The instrumentation scope of spans that no SDK reported.
pub(crate) const SCOPE: &str = "deeptrace";

/// A name with its value.
pub(crate) type Attribute = (Cow<'static, str>, Value);

/// Whether attributes of this name are of the process.
pub(crate) fn is_resource(name: &str) -> bool {
    RESOURCE.iter().any(|start| name.starts_with(start))
}

/// A span in OpenTelemetry's terms.
pub(crate) struct Told {
    /// Of the process.
    pub resource: Vec<Attribute>,
    /// Of the span.
    pub attributes: Vec<Attribute>,
    /// What happened in it, as an SDK reported it.
    pub events: Vec<Event>,
    /// Further causes.
    pub links: Vec<Link>,
    /// Name and version of the instrumentation scope; we where no SDK reported it.
    pub scope: [String; 2],
    /// The `tracestate` that came with the trace.
    pub trace_state: String,
    /// Whether it failed; what says nothing is no failure.
    pub is_error: bool,
    /// Whether the application said that it went well.
    pub is_ok: bool,
    /// Why it failed.
    pub message: Option<String>,
    /// Whether the parent was in another process.
    pub is_remote: bool,
}

/// Spans that are told together.
pub(crate) struct Members {
    trace: TraceId,
    /// Looked at for further causes only.
    spans: BTreeSet<SpanId>,
}

impl Members {
    pub(crate) fn new(trace: TraceId, spans: &[TraceSpan]) -> Self {
        let has_causes = spans.iter().any(|it| it.span.attributes.get(LINKED_SPANS).is_some());
        let spans = spans.iter().filter(|_| has_causes).map(|it| it.span.id).collect();
        Self { trace, spans }
    }

    /// A cause in another trace is under an id that finds it here; its own is not known.
    fn link(&self, cause: SpanId) -> Link {
        let is_member = self.spans.contains(&cause);
        let trace = if is_member { self.trace } else { TraceId::from_root(cause) };
        Link {
            trace_id: trace.0.to_be_bytes().to_vec(),
            span_id: cause.0.to_be_bytes().to_vec(),
            ..Link::default()
        }
    }
}

impl Told {
    pub(crate) fn new(members: &Members, span: &TraceSpan) -> Self {
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
        let resource_names = match all.get(RESOURCE_NAMES) {
            Some(Value::Texts(names)) => names.clone(),
            _ => Vec::new(),
        };
        let mut links: Vec<Link> = objects(&all, LINKS);
        links.extend(span.linked().map(|cause| members.link(cause)));
        let mut told = Self {
            resource: vec![("service.name".into(), Value::Text(span.service.clone()))],
            attributes: Vec::with_capacity(all.len()),
            events: objects(&all, EVENTS),
            links,
            scope: [SCOPE.to_owned(), env!("CARGO_PKG_VERSION").to_owned()],
            trace_state: taken(&all, TRACE_STATE).unwrap_or_default(),
            is_error: span.status != SpanStatus::Ok,
            is_ok: all.get(STATUS_CODE).is_some(),
            message: span.status_message.clone(),
            is_remote: link.as_ref().is_some_and(|link| {
                matches!(link.method, Method::Connection | Method::TraceContext)
            }),
        };
        if let Some(name) = taken(&all, SCOPE_NAME) {
            told.scope = [name, taken(&all, SCOPE_VERSION).unwrap_or_default()];
        }
        let told_otherwise = [
            EVENTS,
            LINKS,
            RESOURCE_NAMES,
            TRACE_STATE,
            STATUS_CODE,
            SCOPE_NAME,
            SCOPE_VERSION,
            LINKED_SPANS,
        ];
        for (name, value) in all.iter().filter(|(name, _)| !told_otherwise.contains(&&**name)) {
            let is_of_process = is_resource(name) || resource_names.iter().any(|it| it == name);
            let place = if is_of_process { &mut told.resource } else { &mut told.attributes };
            place.push((name.clone(), value.clone()));
        }
        told
    }
}

/// The spans that an SDK linked it to, in whatever trace.
pub(crate) fn linked(span: &Span) -> impl Iterator<Item = SpanId> {
    let links: Vec<Link> = objects(&span.attributes, LINKS);
    let ids = links.into_iter().filter_map(|link| link.span_id.as_slice().try_into().ok());
    ids.map(|bytes| SpanId(u64::from_be_bytes(bytes)))
}

/// What is kept as OTLP/JSON, one text each.
fn objects<T: serde::de::DeserializeOwned>(all: &Attributes, name: &str) -> Vec<T> {
    match all.get(name) {
        Some(Value::Texts(texts)) => {
            texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
        }
        _ => Vec::new(),
    }
}

fn taken(all: &Attributes, name: &str) -> Option<String> {
    all.get(name).and_then(Value::as_text).map(str::to_owned)
}

fn add_own(span: &Span, all: &mut Attributes) {
    if span.is_reported() {
        return;
    }
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
