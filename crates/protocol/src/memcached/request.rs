//! Request and response of both protocols, as they are told to people.

use deeptrace_model::{SpanStatus, Text, Value};

use crate::Draft;

/// Bytes of commands in `db.query.text`.
const TEXT_MAX: usize = 256;

/// One command, or quiet ones with the one that ends them.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// The protocol's word for the operation.
    verb: &'static str,
    /// Keys asked for.
    keys: u32,
    /// Words and keys, without values.
    text: String,
    /// Whether the commands differ.
    is_mixed: bool,
}

impl Request {
    /// Whether it has no command as yet.
    pub(super) fn is_empty(&self) -> bool {
        self.verb.is_empty()
    }

    /// Adds a command with its number of keys; `text` is told to people.
    pub(super) fn add(&mut self, verb: &'static str, keys: u32, text: &[u8]) {
        if self.verb.is_empty() {
            self.verb = verb;
        }
        self.is_mixed |= self.verb != verb;
        self.keys = self.keys.saturating_add(keys);
        let room = TEXT_MAX.saturating_sub(self.text.len());
        if room > 0 {
            if !self.text.is_empty() {
                self.text.push_str("; ");
            }
            self.text.push_str(&String::from_utf8_lossy(&text[..text.len().min(room)]));
        }
    }

    /// What it says.
    pub(super) fn describe(self, mut draft: Draft) -> Draft {
        let verb = if self.is_mixed { "BATCH" } else { self.verb };
        // OpenTelemetry's last resort for the name of a database span: the system's.
        draft.name = Text::new_static(if verb.is_empty() { "memcached" } else { verb });
        draft.attributes.push(("db.system.name".into(), "memcached".into()));
        if !verb.is_empty() {
            draft.attributes.push(("db.operation.name".into(), verb.into()));
        }
        if self.keys > 1 {
            // OpenTelemetry: a batch has two operations at least.
            let keys = Value::Int(i64::from(self.keys));
            draft.attributes.push(("db.operation.batch.size".into(), keys));
        }
        if !self.text.is_empty() {
            draft.attributes.push(("db.query.text".into(), self.text.into()));
        }
        draft
    }
}

/// What is known of the response that is open.
#[derive(Clone, Debug, Default)]
pub(super) struct Response {
    /// Values sent.
    pub(super) values: u32,
    /// Whether it answers a command that asks for values.
    pub(super) is_get: bool,
    /// The server's word for what happened, unless it is the usual.
    pub(super) code: Option<String>,
    /// What went wrong.
    pub(super) error: Option<String>,
}

impl Response {
    /// What it says, with this status unless the server told an error.
    pub(super) fn describe(self, status: SpanStatus) -> Draft {
        let mut draft = Draft::response(status);
        if self.is_get {
            let values = Value::Int(i64::from(self.values));
            draft.attributes.push(("db.response.returned_rows".into(), values));
        }
        if let Some(code) = &self.code {
            draft.attributes.push(("db.response.status_code".into(), code.clone().into()));
        }
        if let Some(message) = self.error {
            draft.status = SpanStatus::Error;
            draft.attributes.push(("error.type".into(), self.code.unwrap_or_default().into()));
            draft.status_message = Some(message).filter(|message| !message.is_empty());
        }
        draft
    }
}
