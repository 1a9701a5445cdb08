//! Reads `zipkin`: spans of Zipkin's API v2. Times are to the microsecond and every value is text, so
//! numbers in attributes come back as text; payloads are not in it.

use std::collections::BTreeMap;
use std::io::BufRead;

use deeptrace_model::{Attributes, SpanKind, Value, WallTime};
use serde::Deserialize;

use super::plain::{self, Plain};
use super::{ReadError, Take, objects};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    trace_id: String,
    id: String,
    parent_id: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    timestamp: u64,
    #[serde(default)]
    duration: u64,
    #[serde(default)]
    local_endpoint: Endpoint,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    service_name: Option<String>,
}

pub(crate) fn read(input: &mut dyn BufRead, take: Take<'_>) -> Result<(), ReadError> {
    objects::each(input, None, &mut |span| take(whole(span)?.finish()).map_err(ReadError::Stopped))
}

fn whole(span: Span) -> Result<Plain, ReadError> {
    let (trace, id, parent) = plain::ids(&span.trace_id, &span.id, span.parent_id.as_deref())?;
    let mut tags = span.tags;
    // Its presence marks an error; its value says more.
    let error = tags.remove("error");
    let service = tags.remove("service.name").or(span.local_endpoint.service_name);
    let mut attributes = Attributes::with_capacity(tags.len());
    for (name, text) in tags {
        attributes.push((name.into(), Value::from(text)));
    }
    Ok(Plain {
        trace,
        id,
        parent,
        kind: match span.kind.as_deref() {
            Some("SERVER") => SpanKind::Server,
            Some("CLIENT") => SpanKind::Client,
            Some("PRODUCER") => SpanKind::Producer,
            Some("CONSUMER") => SpanKind::Consumer,
            _ => SpanKind::Internal,
        },
        name: span.name,
        service: service.unwrap_or_else(|| "unknown_service".to_owned()).into(),
        start: WallTime(span.timestamp.saturating_mul(1000)),
        end: WallTime(span.timestamp.saturating_add(span.duration).saturating_mul(1000)),
        is_error: error.is_some(),
        message: error.filter(|text| !text.is_empty()),
        attributes,
        follows: None,
    })
}
