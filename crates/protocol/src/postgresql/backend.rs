//! What the server sends: everything up to `ReadyForQuery` is one response.

use std::ops::Range;

use deeptrace_model::{SpanStatus, Value};

use crate::due::Due;

use super::frame::{Frame, Front, chain, number, text};
use crate::{Draft, Head, Input, Side, Verdict};

/// Bytes of an error that are looked at.
const ERROR_MAX: usize = 1024;
const MESSAGE_MAX: usize = 256;

/// The server's direction.
#[derive(Default)]
pub(super) struct Backend {
    /// Requests that were seen and not answered.
    pub(super) due: Due<()>,
    response: Option<Response>,
    /// The open response answers something that is not known.
    is_stray: bool,
    /// Replication: the response is given, data goes both ways until `ReadyForQuery`.
    is_streaming: bool,
}

/// The response that is open.
#[derive(Default)]
struct Response {
    /// Rows seen.
    rows: u64,
    /// Rows that the server says it sent, by SELECT or FETCH.
    told: Option<u64>,
    /// The first error.
    error: Option<Failure>,
    /// Its bytes authenticate: none are kept.
    is_secret: bool,
    /// Bytes were not copied that are looked at.
    is_cut: bool,
}

struct Failure {
    code: String,
    message: String,
    /// The connection ends with it.
    is_fatal: bool,
}

fn window(kind: u8) -> usize {
    match kind {
        b'E' => ERROR_MAX,
        b'C' => 64,
        _ => 0,
    }
}

impl Backend {
    pub(super) fn parse(&mut self, input: &Input<'_>) -> Verdict {
        let mut used = 0u64;
        loop {
            let rest = usize::try_from(used).ok().and_then(|used| input.bytes.get(used..));
            let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { break };
            let frame = match Frame::read(rest, Side::Server, input.is_last, window) {
                Front::Frame(frame) => frame,
                Front::More if used == 0 => return Verdict::More,
                Front::NotMine if used == 0 => return Verdict::NotMine,
                _ => break,
            };
            let is_between = used == 0 && self.response.is_none();
            if let Some(verdict) = is_between.then(|| self.unasked(&frame)).flatten() {
                return verdict;
            }
            if self.response.is_none() {
                self.is_stray = self.due.is_stray();
            }
            used = used.saturating_add(frame.len);
            if self.take(&frame) {
                if self.is_stray {
                    self.due.heard();
                    self.response = None;
                    return Verdict::Stray(used);
                }
                return Verdict::Done { len: used, draft: Box::new(self.finish()) };
            }
        }
        if self.is_stray { Verdict::Skip(used) } else { Verdict::Part { len: used, stream: 0 } }
    }

    /// What stands between responses.
    fn unasked(&mut self, frame: &Frame<'_>) -> Option<Verdict> {
        let is_end = frame.kind == b'Z';
        if self.is_streaming {
            self.is_streaming &= !is_end;
            return Some(Verdict::Skip(frame.len));
        }
        match frame.kind {
            b'A' => Some(one_way("NotificationResponse", frame.len, None)),
            // A notice or a changed parameter, in nobody's answer.
            b'N' | b'S' if self.due.is_empty() => Some(Verdict::Skip(frame.len)),
            // The server ends an idle connection.
            b'E' if self.due.is_empty() => {
                let failure = Failure::read(frame.body);
                failure.is_fatal.then(|| one_way("ErrorResponse", frame.len, Some(failure)))
            }
            _ => None,
        }
    }

    /// Takes a message of the response; returns whether it is the last.
    fn take(&mut self, frame: &Frame<'_>) -> bool {
        let response = self.response.get_or_insert_default();
        response.is_cut |= frame.is_cut;
        match frame.kind {
            b'Z' => return true,
            b'W' => {
                self.is_streaming = true;
                return true;
            }
            b'D' => response.rows += 1,
            b'C' => {
                if let Some(rows) = rows_told(frame.body) {
                    response.told = Some(response.told.unwrap_or(0).saturating_add(rows));
                }
            }
            b'R' | b'K' => response.is_secret = true,
            b'E' => {
                let failure = Failure::read(frame.body);
                let is_fatal = failure.is_fatal;
                response.error.get_or_insert(failure);
                // No ReadyForQuery follows: the server closes.
                return is_fatal;
            }
            _ => {}
        }
        false
    }

    fn finish(&mut self) -> Draft {
        let _ = self.due.answer();
        let response = self.response.take().unwrap_or_default();
        let status = if response.error.is_some() { SpanStatus::Error } else { SpanStatus::Ok };
        Draft { skips: self.due.skips(), ..response.draft(status) }
    }

    pub(super) fn lost(&mut self) -> Option<Draft> {
        self.is_streaming = false;
        let response = self.response.take().filter(|_| !self.is_stray);
        let draft = response.map(|response| {
            let _ = self.due.answer();
            let is_error = response.error.is_some();
            let status = if is_error { SpanStatus::Error } else { SpanStatus::Unset };
            Draft { skips: self.due.skips(), ..response.draft(status) }
        });
        self.due.lost(Side::Server);
        draft
    }
}

impl Response {
    fn draft(self, status: SpanStatus) -> Draft {
        let mut draft = Draft::response(status);
        draft.truncated = self.is_cut;
        let rows = self.told.or((self.rows > 0).then_some(self.rows));
        if let Some(rows) = rows {
            let rows = Value::Int(i64::try_from(rows).unwrap_or(i64::MAX));
            draft.attributes.push(("db.response.returned_rows".into(), rows));
        }
        if let Some(failure) = self.error {
            failure.describe(&mut draft);
        }
        if self.is_secret {
            draft.redact.push(Range { start: 0, end: usize::MAX });
        }
        draft
    }
}

impl Failure {
    /// Fields of an `ErrorResponse` (manual, "Error and Notice Message Fields").
    fn read(mut fields: &[u8]) -> Self {
        let mut failure = Self { code: String::new(), message: String::new(), is_fatal: false };
        while let Some((kind @ 1.., rest)) = fields.split_first() {
            let (value, rest) = text(rest).unwrap_or((rest, &[]));
            let start = &value[..value.len().min(MESSAGE_MAX)];
            let text = || String::from_utf8_lossy(start).into_owned();
            match kind {
                // `S` may be translated; `V`, since 9.6, is not, and follows it.
                b'S' | b'V' => failure.is_fatal = matches!(value, b"FATAL" | b"PANIC"),
                b'C' => failure.code = text(),
                b'M' => failure.message = text(),
                _ => {}
            }
            fields = rest;
        }
        failure
    }

    fn describe(self, draft: &mut Draft) {
        draft.status = SpanStatus::Error;
        if !self.code.is_empty() {
            let code = Value::from(self.code);
            draft.attributes.push(("db.response.status_code".into(), code.clone()));
            draft.attributes.push(("error.type".into(), code));
        }
        draft.status_message = Some(self.message).filter(|message| !message.is_empty());
    }
}

fn one_way(name: &'static str, len: u64, failure: Option<Failure>) -> Verdict {
    let mut draft = Draft::one_way(name);
    draft.attributes.push(("db.system.name".into(), "postgresql".into()));
    if let Some(failure) = failure {
        failure.describe(&mut draft);
    }
    Verdict::Done { len, draft: Box::new(draft) }
}

/// Rows in the tag of a `CommandComplete`: `SELECT 5`.
fn rows_told(tag: &[u8]) -> Option<u64> {
    let tag = std::str::from_utf8(text(tag)?.0).ok()?;
    let (word, count) = tag.split_once(' ')?;
    matches!(word, "SELECT" | "FETCH").then(|| count.parse().ok()).flatten()
}

/// Whether the call is a server's: surely, perhaps, or not.
pub(super) fn recognise(head: &Head<'_>) -> Option<bool> {
    let kinds = chain(head, Side::Server, is_believable)?;
    match kinds.as_slice() {
        [b'R', ..] => Some(true),
        [.., b'Z'] if kinds.len() > 1 => Some(true),
        [b'T' | b'1' | b'2' | b't' | b'E' | b'C' | b'Z', ..] => Some(false),
        _ => None,
    }
}

/// Whether a message may start here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    match Frame::read(bytes, Side::Server, true, |_| usize::MAX) {
        Front::Frame(frame) => is_believable(&frame),
        _ => false,
    }
}

/// Whether the content of a message is such as its type has.
fn is_believable(frame: &Frame<'_>) -> bool {
    let body = frame.body;
    let is_cut = !frame.is_whole();
    match frame.kind {
        b'Z' => matches!(body, [] | [b'I' | b'T' | b'E']),
        b'R' => number(body, 0).is_none_or(|code| code <= 12),
        // Fields: how many, then each with its length.
        b'D' => fields(body).is_none_or(|rest| is_cut || rest.is_empty()),
        b'T' => body.len() < 2 || body[0] < 0x10,
        b't' => number(body, 0).is_none_or(|_| true) && (body.len() < 2 || body[0] < 0x80),
        b'C' => body.iter().all(|byte| *byte == 0 || (b' '..=b'~').contains(byte)),
        b'E' | b'N' => body.first().is_none_or(|byte| *byte == b'S'),
        b'S' => text(body).is_some_and(|parts| {
            let rest = text(parts.1).map(|value| value.1);
            !parts.0.is_empty() && rest.is_some_and(|rest| rest.is_empty())
        }),
        b'A' => body.len() > 4 || is_cut,
        b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'K' | b'G' | b'H' | b'W' | b'V' | b'v' => true,
        // Data of COPY may be anything, so it says nothing.
        _ => false,
    }
}

/// What follows the fields of a `DataRow`; `None` where it is cut inside them.
fn fields(body: &[u8]) -> Option<&[u8]> {
    let count = u16::from_be_bytes(body.get(..2)?.try_into().ok()?);
    let mut rest = &body[2..];
    for _ in 0..count {
        let len = number(rest, 0)?;
        rest = &rest[4..];
        if len != u32::MAX {
            rest = rest.get(usize::try_from(len).ok()?..)?;
        }
    }
    Some(rest)
}
