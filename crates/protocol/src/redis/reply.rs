//! Replies, and what a server sends without being asked.

use deeptrace_model::SpanStatus;

use super::element::{Element, Step, Walk, element};
use crate::{Draft, Form};

/// Bytes of an error's text.
const MESSAGE_MAX: usize = 256;

/// A reply, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Type of the outermost value; zero before it was read.
    kind: u8,
    /// The first string inside an aggregate, if it is one of [`WORDS`].
    word: Option<&'static str>,
    /// Elements read at the first level.
    count: usize,
    error: Option<String>,
    /// The third element is a zero: after a confirmation, no subscription is left.
    is_last: bool,
}

/// Published items begin with these,
const ITEMS: &[&str] = &["message", "pmessage", "smessage"];

/// and what confirms a subscription with these.
const CONFIRMATIONS: &[&str] =
    &["subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"];

/// Whether a reply starts here: a whole one, or a string or aggregate that has begun well.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    match Walk::default().advance(bytes, &mut |_, _, _| {}) {
        Step::Done(_) => match element(bytes) {
            // Any text may stand on a line: only what servers say in capitals is believed.
            Ok(Some((Element::Line(b'+' | b'-', text), _))) => {
                text.len() >= 2 && text[..2].iter().all(u8::is_ascii_uppercase)
            }
            Ok(Some((Element::Line(b':' | b',' | b'(', digits), _))) => {
                digits.iter().all(|byte| byte.is_ascii_digit() || b"-+.einfa".contains(byte))
            }
            Ok(Some((Element::Line(b'_', text), _))) => text.is_empty(),
            Ok(Some((Element::Line(b'#', text), _))) => matches!(text, b"t" | b"f"),
            _ => true,
        },
        Step::Part(_) => true,
        Step::More | Step::Broken => false,
    }
}

impl Reply {
    /// An element of the reply.
    pub(super) fn element(&mut self, element: &Element<'_>, depth: usize) {
        let kind = match element {
            Element::Line(kind, text) => {
                if *kind == b'-' && depth == 0 {
                    self.error = Some(bounded(text));
                }
                self.is_last |= depth == 1 && self.count == 2 && *kind == b':' && *text == b"0";
                *kind
            }
            Element::Bulk(kind, text) => {
                if *kind == b'!' && depth == 0 {
                    self.error = Some(text.map_or_else(String::new, bounded));
                }
                if depth == 1 && self.count == 0 {
                    let words = ITEMS.iter().chain(CONFIRMATIONS);
                    self.word = words.copied().find(|word| *text == Some(word.as_bytes()));
                }
                *kind
            }
            Element::Open(kind, _) => *kind,
            Element::End => return,
        };
        match depth {
            0 if kind != b'|' => self.kind = kind,
            1 => self.count += 1,
            _ => {}
        }
    }

    /// RESP3's type for what is sent out of turn.
    pub(super) fn is_push(&self) -> bool {
        self.kind == b'>'
    }

    /// An item that was published.
    pub(super) fn is_item(&self) -> bool {
        self.word.is_some_and(|word| ITEMS.contains(&word))
    }

    /// The answer to a subscription, which comes as a push in RESP3.
    pub(super) fn is_confirmation(&self) -> bool {
        self.word.is_some_and(|word| CONFIRMATIONS.contains(&word))
    }

    /// Whether the server refused.
    pub(super) fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Confirms that no subscription is left.
    pub(super) fn stops_listening(&self) -> bool {
        self.is_last && self.is_confirmation()
    }

    /// As something nobody asked for.
    pub(super) fn one_way(&self) -> Draft {
        let mut draft = Draft::one_way(self.word.unwrap_or("push"));
        draft.attributes.push(("db.system.name".into(), "redis".into()));
        draft.form = Form::Words;
        draft
    }

    /// As an answer.
    pub(super) fn response(&self) -> Draft {
        let mut draft = Draft::response(SpanStatus::Ok);
        draft.form = Form::Words;
        let Some(error) = &self.error else { return draft };
        draft.status = SpanStatus::Error;
        let code = error.split(' ').next().unwrap_or_default().to_owned();
        draft.attributes.push(("error.type".into(), code.clone().into()));
        draft.attributes.push(("db.response.status_code".into(), code.into()));
        draft.status_message = Some(error.clone());
        draft
    }
}

fn bounded(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(MESSAGE_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_booleans_are_believed_only_as_they_are_written() {
        for good in ["_\r\n", "#t\r\n", "#f\r\n"] {
            assert!(is_start(good.as_bytes()), "{good:?}");
        }
        for bad in ["_x\r\n", "#\r\n", "#include <a>\r\n"] {
            assert!(!is_start(bad.as_bytes()), "{bad:?}");
        }
    }
}
