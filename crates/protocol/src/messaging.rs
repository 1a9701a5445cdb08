//! What messages of brokers have in common: attributes and names after OpenTelemetry's semantic
//! conventions for messaging spans.

use deeptrace_model::{SpanStatus, Text, Value};

use crate::template::path_template;
use crate::{Draft, Verdict};

/// Bytes of a destination that are told to people.
const DESTINATION_MAX: usize = 256;

/// What a client does with a broker, in the words of the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    /// `messaging.system`.
    pub(crate) system: &'static str,
    /// `messaging.operation.name`.
    pub(crate) name: &'static str,
    /// `messaging.operation.type`: `send`, `receive` or `settle`; empty for what is none of these.
    pub(crate) kind: &'static str,
    /// What stands between the words of a destination.
    pub(crate) separator: char,
}

impl Operation {
    /// Gives `draft` its name and attributes; an empty destination is none.
    pub(crate) fn describe(&self, draft: &mut Draft, destination: &[u8]) {
        draft.attributes.push(("messaging.system".into(), self.system.into()));
        draft.attributes.push(("messaging.operation.name".into(), self.name.into()));
        if !self.kind.is_empty() {
            draft.attributes.push(("messaging.operation.type".into(), self.kind.into()));
        }
        draft.name = Text::new_static(self.name);
        if !destination.is_empty() {
            let seen = &destination[..destination.len().min(DESTINATION_MAX)];
            let destination = String::from_utf8_lossy(seen).into_owned();
            draft.name = format!("{} {}", self.name, self.template(&destination)).into();
            draft.attributes.push(("messaging.destination.name".into(), destination.into()));
        }
    }

    /// The destination with `{id}` in place of values.
    fn template(&self, destination: &str) -> String {
        if self.separator == '/' {
            return path_template(destination);
        }
        let words: Vec<String> = destination.split(self.separator).map(path_template).collect();
        words.join(self.separator.encode_utf8(&mut [0; 4]))
    }
}

/// Says how long the body of a message is.
pub(crate) fn body_size(draft: &mut Draft, bytes: u64) {
    let bytes = Value::Int(i64::try_from(bytes).unwrap_or(i64::MAX));
    draft.attributes.push(("messaging.message.body.size".into(), bytes));
}

/// Makes `draft` say that something failed: a word of low cardinality, and a text for people.
pub(crate) fn fail(draft: &mut Draft, kind: impl Into<Text>, message: &str) {
    draft.status = SpanStatus::Error;
    draft.attributes.push(("error.type".into(), kind.into().into()));
    if !message.is_empty() {
        draft.status_message = Some(message.to_owned());
    }
}

/// `len` bytes are a whole message.
pub(crate) fn done(len: u64, draft: Draft) -> Verdict {
    Verdict::Done { len, draft: Box::new(draft) }
}
