//! Reply: how the server says that a command, or some of its writes, failed.

use deeptrace_model::{SpanStatus, Value};

use super::bson::{Element, Elements};
use super::header::{HEADER, Message, Opcode, Section, Sections};
use crate::Draft;

/// Bytes of an error's text that are kept.
const MESSAGE_MAX: usize = 256;

/// `OP_REPLY`'s flags `CursorNotFound` and `QueryFailure`.
const CURSOR_NOT_FOUND: u8 = 1;
const QUERY_FAILURE: u8 = 2;

/// What a reply says.
#[derive(Debug, Default)]
pub(super) struct Reply {
    ok: Option<bool>,
    /// A cursor comes only where the command did not fail.
    has_cursor: bool,
    error: Error,
    /// Of the first write that failed, or of the write concern.
    write_error: Option<Error>,
    is_greeting: bool,
    is_secret: bool,
}

#[derive(Debug, Default)]
struct Error {
    code: Option<i64>,
    name: Option<String>,
    message: Option<String>,
}

impl Error {
    fn take(&mut self, element: &Element<'_>) {
        let text = || element.text().map(|text| text.into_owned());
        match element.key {
            b"code" => self.code = element.number().map(|code| code as i64),
            b"codeName" => self.name = text(),
            b"errmsg" | b"$err" => self.message = text(),
            _ => {}
        }
    }

    fn of(elements: Elements<'_>) -> Self {
        let mut error = Self::default();
        elements.for_each(|element| error.take(&element));
        error
    }
}

impl Reply {
    /// Reads an answer that is no compressed one.
    pub(super) fn read(message: &Message<'_>) -> Self {
        let mut reply = Self::default();
        if message.opcode == Opcode::Reply {
            let flags = message.body.first().copied().unwrap_or_default();
            reply.ok = Some(flags & (CURSOR_NOT_FOUND | QUERY_FAILURE) == 0);
            if flags & CURSOR_NOT_FOUND != 0 {
                reply.error.code = Some(43);
                reply.error.name = Some("CursorNotFound".into());
            }
            let document = message.body.get(20..).unwrap_or_default();
            if let Some(elements) = Elements::of(document, message.room.into()) {
                reply.read_body(elements);
            }
            return reply;
        }
        for section in Sections::of(message) {
            if let Section::Body(elements) = section {
                reply.read_body(elements);
            }
        }
        reply
    }

    fn read_body(&mut self, elements: Elements<'_>) {
        for element in elements {
            self.error.take(&element);
            match element.key {
                b"ok" => self.ok = element.number().map(|ok| ok != 0.0),
                b"cursor" => self.has_cursor = element.kind == 0x03,
                b"ismaster" | b"isWritablePrimary" => self.is_greeting = true,
                b"conversationId" | b"nonce" | b"speculativeAuthenticate" => self.is_secret = true,
                b"writeErrors" => {
                    let first = element.elements().and_then(|mut errors| errors.next());
                    self.write_error = first.and_then(|e| e.elements()).map(Error::of);
                }
                b"writeConcernError" if self.write_error.is_none() => {
                    self.write_error = element.elements().map(Error::of);
                }
                _ => {}
            }
        }
    }

    /// Whether it answers a greeting.
    pub(super) fn is_greeting(&self) -> bool {
        self.is_greeting
    }

    /// What it says.
    pub(super) fn describe(self) -> Draft {
        let is_failure = self.ok == Some(false);
        let error = if is_failure { Some(self.error) } else { self.write_error };
        let mut draft = Draft::response(match (&error, self.ok) {
            (Some(_), _) => SpanStatus::Error,
            (None, Some(_)) => SpanStatus::Ok,
            (None, None) if self.has_cursor => SpanStatus::Ok,
            (None, None) => SpanStatus::Unset,
        });
        if self.is_secret {
            draft.redact.push(HEADER..usize::MAX);
        }
        let Some(error) = error else { return draft };
        let code = error.code.map(|code| code.to_string());
        let kind = error.name.or_else(|| code.clone()).unwrap_or_else(|| "_OTHER".into());
        if let Some(code) = code {
            draft.attributes.push(("db.response.status_code".into(), Value::from(code)));
        }
        draft.attributes.push(("error.type".into(), Value::from(kind)));
        draft.status_message = error.message.map(shorten);
        draft
    }
}

fn shorten(mut text: String) -> String {
    let mut end = text.len().min(MESSAGE_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
