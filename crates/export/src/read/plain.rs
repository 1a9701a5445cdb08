//! Plain: a span as the formats of others tell it, and what becomes of it here. Attributes under
//! `deeptrace.` were fields when we wrote them, and become fields again.

use std::borrow::Cow;
use std::sync::Arc;

use deeptrace_model::{
    Attributes, ConnectionId, Exchange, Link, Method, Pid, ProcessKey, REPORTED, Relation, Span,
    SpanId, SpanKind, SpanStatus, Text, Touch, TraceContext, TraceId, TraceSpan, Value, WallTime,
};

use super::ReadError;

/// Who decided on the parent, where that was not told.
const ALGORITHM: &str = "import";

/// A span as the formats of others tell it.
pub(super) struct Plain {
    pub trace: TraceId,
    pub id: SpanId,
    pub parent: Option<SpanId>,
    pub kind: SpanKind,
    pub name: String,
    pub service: Text,
    pub start: WallTime,
    pub end: WallTime,
    pub is_error: bool,
    pub message: Option<String>,
    pub attributes: Attributes,
    /// Whether the parent did not wait; `None` where that is not told.
    pub follows: Option<bool>,
}

/// A number in hex as an id.
pub(super) fn hex(text: &str, bits: u32) -> Option<u128> {
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
    (number != 0 && (bits == 128 || number >> bits == 0)).then_some(number)
}

/// The ids of a span, its trace and its parent, as hex.
pub(super) fn ids(
    trace: &str,
    span: &str,
    parent: Option<&str>,
) -> Result<(TraceId, SpanId, Option<SpanId>), ReadError> {
    let wrong = |reason| ReadError::Span { span: span.chars().take(64).collect(), reason };
    let trace = hex(trace, 128).ok_or_else(|| wrong("its trace id is not up to 32 hex digits"))?;
    let id = hex(span, 64).ok_or_else(|| wrong("its id is not up to 16 hex digits"))?;
    let parent = match parent {
        None => None,
        Some(text) => Some(hex(text, 64).ok_or_else(|| wrong("the id of its parent is none"))?),
    };
    Ok((TraceId(trace), SpanId(id as u64), parent.map(|parent| SpanId(parent as u64))))
}

/// What no span has that was seen on a socket: nobody else has its keys, so it is nobody's other side.
pub(super) fn unseen(id: SpanId, pid: Pid) -> (Exchange, Touch, ProcessKey, ConnectionId) {
    (Exchange::unseen(id), Touch::unseen(pid), ProcessKey::told(pid), ConnectionId::UNSEEN)
}

/// The context of a span in that trace: the id of a trace that has none of its own is found by its spans.
pub(super) fn context(trace: TraceId, parent: Option<SpanId>) -> Option<TraceContext> {
    let parent = parent.map_or(0, |parent| parent.0);
    trace.root().is_none().then_some(TraceContext { trace, parent })
}

/// The process that the attributes name.
pub(super) fn pid(attributes: &Attributes) -> Pid {
    let pid = attributes.get("process.pid").and_then(|value| match value {
        Value::Text(text) => text.parse().ok(),
        value => value.as_int().and_then(|pid| u32::try_from(pid).ok()),
    });
    Pid(pid.unwrap_or(0))
}

impl Plain {
    pub(super) fn finish(mut self) -> TraceSpan {
        let own = &mut Own(&mut self.attributes);
        let protocol = own.text("deeptrace.protocol");
        let [request_size, response_size, lost_events] =
            ["deeptrace.request.size", "deeptrace.response.size", "deeptrace.lost_events"]
                .map(|name| own.number(name));
        let truncated = own.text("deeptrace.truncated").as_deref() == Some("true");
        let unknown = own.texts("deeptrace.unknown");
        let [method, confidence, algorithm] =
            ["deeptrace.link.method", "deeptrace.link.confidence", "deeptrace.link.algorithm"]
                .map(|name| own.text(name));
        let no_answer = protocol.is_some()
            && self.attributes.get("error.type").and_then(Value::as_text) == Some("no_response");
        if no_answer {
            self.attributes.remove("error.type");
        }
        let status = match self.is_error {
            _ if no_answer => SpanStatus::Unset,
            true => SpanStatus::Error,
            false => SpanStatus::Ok,
        };
        let method = method.and_then(|text| serde_json::from_value(text.into()).ok());
        let follows = self.follows.unwrap_or(self.kind == SpanKind::Consumer);
        let link = self.parent.map(|parent| Link {
            child: self.id,
            parent: Some(parent),
            child_start: self.start,
            method: method.unwrap_or(Method::TraceContext),
            relation: if follows { Relation::Follows } else { Relation::Child },
            confidence: confidence.and_then(|text| text.parse().ok()).unwrap_or(1.0),
            algorithm: algorithm.map_or(Text::new_static(ALGORITHM), Text::from),
            candidates: 1,
            generation: 0,
            is_final: true,
        });
        let (exchange, touch, process, connection) = unseen(self.id, pid(&self.attributes));
        let span = Span {
            id: self.id,
            kind: self.kind,
            name: self.name.into(),
            service: self.service,
            protocol: protocol.map_or(Cow::Borrowed(REPORTED), Cow::Owned),
            start: self.start,
            end: self.end.max(self.start),
            status,
            status_message: self.message,
            attributes: self.attributes,
            request_size,
            response_size,
            request_payload: Default::default(),
            response_payload: Default::default(),
            process,
            connection,
            exchange,
            request: [touch; 2],
            response: None,
            trace_context: context(self.trace, self.parent),
            unknown: unknown.into_iter().map(Cow::Owned).collect(),
            truncated,
            lost_events: u32::try_from(lost_events).unwrap_or(u32::MAX),
        };
        TraceSpan { span: Arc::new(span), parent: self.parent, link }
    }
}

/// Attributes that were fields; each is taken out.
struct Own<'a>(&'a mut Attributes);

impl Own<'_> {
    fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.0.get(name).cloned();
        self.0.remove(name);
        value
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|value| crate::otel::text(&value))
    }

    fn number(&mut self, name: &str) -> u64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn texts(&mut self, name: &str) -> Vec<String> {
        match self.take(name) {
            Some(Value::Texts(texts)) => texts,
            // Jaeger has lists as JSON, Zipkin with commas.
            Some(Value::Text(text)) => serde_json::from_str(&text)
                .unwrap_or_else(|_| text.split(',').map(str::to_owned).collect()),
            _ => Vec::new(),
        }
    }
}
