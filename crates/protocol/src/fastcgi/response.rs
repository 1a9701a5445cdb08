//! Response: the CGI header (RFC 3875 §6.3), the log, and how the application ended.

use std::ops::Range;

use deeptrace_model::{SpanStatus, Value};

use super::record::{Kind, Record};
use crate::Draft;

/// Bytes of a CGI header that are looked at.
const HEAD_MAX: usize = 8 * 1024;

/// Bytes of the log that are looked at.
const LOG_MAX: usize = 256;

/// Header fields whose values are never kept.
const SECRET: &[&[u8]] = &[b"set-cookie", b"x-auth-token", b"x-csrf-token", b"x-access-token"];

/// Bytes of a record before its content.
const HEADER: usize = 8;

/// What is known of the response that is open.
#[derive(Default)]
pub(super) struct Response {
    head: Vec<u8>,
    /// Where content of each record lies in `head`, and in the message.
    pieces: Vec<(usize, usize)>,
    /// Bytes of the message so far.
    size: usize,
    /// The whole header was there.
    is_head_whole: bool,
    is_head_over: bool,
    log: Vec<u8>,
}

impl Response {
    /// Whether more of the record is needed to go on.
    pub(super) fn wants(&self, record: &Record<'_>) -> bool {
        match record.kind {
            Kind::Stdout => !self.is_head_over && !record.has(HEAD_MAX),
            _ => self.log.is_empty() && !record.has(LOG_MAX),
        }
    }

    /// Reads a record.
    pub(super) fn take(&mut self, record: &Record<'_>) {
        let at = self.size + HEADER;
        self.size = self.size.saturating_add(record.len as usize);
        let content = record.content();
        if record.kind == Kind::Stderr {
            if self.log.is_empty() {
                self.log.extend_from_slice(&content[..content.len().min(LOG_MAX)]);
            }
            return;
        }
        if self.is_head_over {
            return;
        }
        let room = HEAD_MAX - self.head.len();
        self.pieces.push((self.head.len(), at));
        self.head.extend_from_slice(&content[..content.len().min(room)]);
        if let Some(end) = end_of_head(&self.head) {
            self.head.truncate(end);
            self.is_head_whole = true;
        }
        self.is_head_over = self.is_head_whole
            || self.head.len() == HEAD_MAX
            || self.pieces.len() >= 64
            || !record.is_whole();
    }

    /// The code in the header's field `Status`; 200 where there is none.
    fn status(&self) -> Option<i64> {
        let lines = self.head.split(|byte| *byte == b'\n');
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            if line[..colon].eq_ignore_ascii_case(b"status") {
                let value = line[colon + 1..].trim_ascii();
                let code = std::str::from_utf8(value.get(..3)?).ok()?.parse().ok()?;
                return Some(code).filter(|code| (100..600).contains(code));
            }
        }
        self.is_head_whole.then_some(200)
    }

    /// Where a byte of `head` lies in the message.
    fn position(&self, at: usize) -> usize {
        let piece = self.pieces.iter().rev().find(|piece| piece.0 <= at);
        piece.map_or(at, |piece| piece.1 + (at - piece.0))
    }

    /// Where values lie that must not be kept.
    fn secrets(&self) -> Vec<Range<usize>> {
        let (mut at, mut ranges) = (0, Vec::new());
        for line in self.head.split_inclusive(|byte| *byte == b'\n') {
            if let Some(colon) = line.iter().position(|byte| *byte == b':')
                && SECRET.iter().any(|name| line[..colon].eq_ignore_ascii_case(name))
            {
                // Of a value that is cut nothing behind it is kept.
                let is_whole = line.ends_with(b"\n");
                let end = if is_whole { self.position(at + line.len() - 1) } else { usize::MAX };
                ranges.push(self.position(at + colon)..end);
            }
            at += line.len();
        }
        ranges
    }

    /// What is known of a response whose end is lost.
    pub(super) fn unfinished(&self, id: u16) -> Draft {
        let draft = self.draft(id, (0, 0));
        let is_error = draft.status == SpanStatus::Error;
        let status = if is_error { SpanStatus::Error } else { SpanStatus::Unset };
        Draft { status, ..draft }
    }

    /// The response that ended with these statuses of the application and the protocol.
    pub(super) fn draft(&self, id: u16, (application, protocol): (u32, u8)) -> Draft {
        let mut draft = Draft::response(SpanStatus::Ok);
        draft.stream = u64::from(id);
        draft.redact = self.secrets();
        let status = self.status();
        draft
            .attributes
            .extend(status.map(|code| ("http.response.status_code".into(), Value::Int(code))));
        if application != 0 {
            let code = Value::Int(i64::from(application));
            draft.attributes.push(("deeptrace.fastcgi.app_status".into(), code));
        }
        // Specification §5.5.
        let error = match (protocol, status) {
            (1, _) => Some("FCGI_CANT_MPX_CONN".to_owned()),
            (2, _) => Some("FCGI_OVERLOADED".to_owned()),
            (3, _) => Some("FCGI_UNKNOWN_ROLE".to_owned()),
            (_, Some(code)) if code >= 500 => Some(code.to_string()),
            _ if application != 0 => Some("app_status".to_owned()),
            _ => None,
        };
        if let Some(error) = error {
            draft.status = SpanStatus::Error;
            draft.attributes.push(("error.type".into(), error.into()));
            let line = self.log.split(|byte| matches!(byte, b'\n' | b'\r')).next();
            let text = String::from_utf8_lossy(line.unwrap_or_default()).trim().to_owned();
            draft.status_message = Some(text).filter(|text| !text.is_empty());
        }
        draft
    }
}

/// Where the header ends: at the first empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            return Some(at);
        }
    }
    None
}
