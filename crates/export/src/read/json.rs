//! Reads `json`: everything that Span JSON shows comes back as it was. What it does not show, the socket
//! and the calls, is gone: such a span has no other side but the parent that it names.

use std::io::BufRead;
use std::sync::Arc;

use deeptrace_model::{Link, SpanId, TraceSpan, WallTime};

use super::{ReadError, Take, objects, plain};
use crate::SpanJson;

/// An array of Span JSON, or one a line.
pub(crate) fn read(input: &mut dyn BufRead, take: Take<'_>) -> Result<(), ReadError> {
    objects::each(input, None, &mut |span: SpanJson<'static>| {
        take(whole(span)?).map_err(ReadError::Stopped)
    })
}

/// Spans of a text that is at hand.
pub fn read_lines(text: &str) -> Result<Vec<TraceSpan>, ReadError> {
    let mut spans = Vec::new();
    read(&mut text.as_bytes(), &mut |span| {
        spans.push(span);
        Ok(())
    })?;
    Ok(spans)
}

fn whole(json: SpanJson<'static>) -> Result<TraceSpan, ReadError> {
    let (trace, id, parent) =
        plain::ids(&json.trace_id, &json.span_id, json.parent_span_id.as_deref())?;
    let attributes = json.attributes.0.into_owned();
    let (exchange, touch, process, connection) = plain::unseen(id, plain::pid(&attributes));
    let link = json.link.zip(parent).map(|(link, parent): (_, SpanId)| Link {
        child: id,
        parent: Some(parent),
        child_start: WallTime(json.start_time_unix_nano),
        method: link.method,
        relation: link.relation,
        confidence: link.confidence as f32,
        algorithm: link.algorithm.into_owned().into(),
        candidates: 1,
        generation: 0,
        is_final: true,
    });
    let span = deeptrace_model::Span {
        id,
        kind: json.kind,
        name: json.name.into(),
        service: json.service.into(),
        protocol: json.protocol.into_owned().into(),
        start: WallTime(json.start_time_unix_nano),
        end: WallTime(json.end_time_unix_nano.max(json.start_time_unix_nano)),
        status: json.status,
        status_message: json.status_message.map(Into::into),
        attributes,
        request_size: json.request_size,
        response_size: json.response_size,
        request_payload: json.request_payload.0.into_owned().into(),
        response_payload: json.response_payload.0.into_owned().into(),
        process,
        connection,
        exchange,
        request: [touch; 2],
        response: None,
        trace_context: plain::context(trace, parent),
        unknown: json.unknown.into_owned(),
        truncated: json.truncated,
        lost_events: json.lost_events,
    };
    Ok(TraceSpan { span: Arc::new(span), parent, link })
}
