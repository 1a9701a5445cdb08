//! Headers of messages (ADR-4: as those of HTTP/1, behind `NATS/1.0`), and errors that replies tell.

use crate::Draft;
use crate::messaging::fail;
use crate::trace_context::TraceHeaders;

/// Bytes of a payload in which an error of JetStream is looked for.
const PAYLOAD_MAX: usize = 1024;

/// What the headers of one message say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Headers<'a> {
    /// In the first line: the server's word on what it could not do.
    status: Option<&'a [u8]>,
    /// What a service says of its failure (ADR-32).
    error: Option<&'a [u8]>,
    error_code: Option<&'a [u8]>,
    pub(super) trace: TraceHeaders,
}

impl<'a> Headers<'a> {
    /// Reads what is there.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let status = lines.next().and_then(|line| line.strip_prefix(b"NATS/1.0"));
        found.status = status.map(<[u8]>::trim_ascii).filter(|status| !status.is_empty());
        for line in lines {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            found.trace.header(name, value);
            if name.eq_ignore_ascii_case(b"Nats-Service-Error") {
                found.error = Some(value);
            } else if name.eq_ignore_ascii_case(b"Nats-Service-Error-Code") {
                found.error_code = Some(value);
            }
        }
        found
    }
}

/// Makes the response `draft` tell an error, if there is one.
pub(super) fn judge(draft: &mut Draft, headers: &Headers<'_>, payload: &[u8]) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some(code) = headers.error_code {
        fail(draft, text(code), &headers.error.map(text).unwrap_or_default());
    } else if let Some(status) = headers.status.filter(|status| status[0] >= b'4') {
        let code = status.split(|byte| *byte == b' ').next().unwrap_or(status);
        let message = match &status[code.len()..] {
            [] if code == b"503" => "no responders".to_owned(),
            message => text(message.trim_ascii()),
        };
        fail(draft, text(code), &message);
    } else if let Some((code, message)) = jetstream_error(payload) {
        fail(draft, code.to_string(), &message);
    }
}

/// `{"type":"io.nats.jetstream.…","error":{"code":404,…,"description":"…"}…`.
fn jetstream_error(payload: &[u8]) -> Option<(u32, String)> {
    let payload = &payload[..payload.len().min(PAYLOAD_MAX)];
    let is_api = payload.starts_with(b"{\"type\":\"io.nats.jetstream.");
    let at = memchr::memmem::find(payload, b"\"error\":{\"code\":")?;
    if !is_api && at != 1 {
        return None;
    }
    let rest = &payload[at + b"\"error\":{\"code\":".len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).take(5);
    let code = digits.fold(0, |code, digit| code * 10 + u32::from(digit - b'0'));
    let object = &rest[..memchr::memchr(b'}', rest).unwrap_or(rest.len())];
    let mark = b"\"description\":\"";
    let message = memchr::memmem::find(object, mark).map_or(&b""[..], |at| {
        let text = &object[at + mark.len()..];
        &text[..memchr::memchr(b'"', text).unwrap_or(text.len())]
    });
    Some((code, String::from_utf8_lossy(message).into_owned()))
}
