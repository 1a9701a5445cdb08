//! Errors: a class of Java and its message.

use super::command::Command;
use super::marshal::Fields;
use crate::Draft;
use crate::messaging::{Operation, fail};

/// Bytes of a message that are kept.
const MESSAGE_MAX: usize = 256;

/// Makes `draft` tell the exception that is in `fields`.
pub(super) fn exception<'a>(draft: &mut Draft, command: &Command<'a>, fields: &mut &'a [u8]) {
    let mut fields = Fields::new(command, fields);
    let told = fields.flag().filter(|is_there| *is_there).and_then(|_| {
        let class = fields.text()?;
        Some((class, fields.text().unwrap_or_default()))
    });
    let (class, message) = told.unwrap_or_default();
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(MESSAGE_MAX)]).into_owned();
    let class = if class.is_empty() { "exception".to_owned() } else { text(class) };
    fail(draft, class, &text(message));
}

/// An error that answers nothing.
pub(super) fn unasked(command: &Command<'_>) -> Draft {
    let mut draft = Draft::one_way("");
    Operation { system: "activemq", name: "error", kind: "", separator: '.' }
        .describe(&mut draft, b"");
    let mut fields = command.fields;
    exception(&mut draft, command, &mut fields);
    draft
}
