//! Responses: RFC 9112 §4, described after OpenTelemetry's HTTP conventions.

use deeptrace_model::{SpanStatus, Value};
use memchr::memchr;

use super::head::Fields;
use crate::Draft;
use crate::web::meaning;

/// A status line.
pub(super) struct Line {
    pub(super) status: u16,
    /// Length with its end.
    pub(super) len: usize,
}

/// `HTTP/1.1 200`, without which nothing is a response.
const START: usize = 12;

/// The first line, `None` if its end is not there, an error if it is not one of HTTP.
pub(super) fn line(bytes: &[u8]) -> Option<Result<Line, ()>> {
    let end = memchr(b'\n', bytes)?;
    if !is_start(bytes) || end < START {
        return Some(Err(()));
    }
    let digit = |at: usize| u16::from(bytes[at] - b'0');
    Some(Ok(Line { status: digit(9) * 100 + digit(10) * 10 + digit(11), len: end + 1 }))
}

/// Whether a response starts here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    bytes.len() >= START
        && may_become_start(bytes)
        && bytes.get(START).is_none_or(|byte| matches!(byte, b' ' | b'\r' | b'\n'))
}

/// Whether the next response follows a head, and no body; `None` if more is needed to tell.
pub(super) fn follows(bytes: &[u8], is_last: bool) -> Option<bool> {
    if bytes.len() < START && !is_last && may_become_start(bytes) {
        return None;
    }
    Some(is_start(bytes))
}

/// Whether more bytes can make this a status line.
pub(super) fn may_become_start(bytes: &[u8]) -> bool {
    bytes.iter().take(START).enumerate().all(|(at, byte)| match at {
        7 => matches!(byte, b'0' | b'1'),
        9 => (b'1'..=b'9').contains(byte),
        10 | 11 => byte.is_ascii_digit(),
        _ => *byte == b"HTTP/1.x "[at],
    })
}

/// What a response says.
pub(super) fn draft(line: &Line, fields: &Fields<'_>) -> Draft {
    let is_error = line.status >= 500;
    let mut draft = Draft::response(if is_error { SpanStatus::Error } else { SpanStatus::Ok });
    // RFC 9110 §15.2: another response follows, but after 101, if it is not to HTTP/2.
    draft.interim = line.status < 200 && (line.status != 101 || fields.is_h2c);
    let status = i64::from(line.status);
    draft.attributes.push(("http.response.status_code".into(), Value::Int(status)));
    if is_error {
        draft.attributes.push(("error.type".into(), line.status.to_string().into()));
    }
    if let Some(length) = fields.length {
        draft.attributes.push(("http.response.body.size".into(), Value::Int(length as i64)));
    }
    draft.redact.clone_from(&fields.redact);
    meaning::answer(&fields.words, &mut draft);
    draft
}
