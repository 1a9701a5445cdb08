//! Reply: a code, and text in one line or several (RFC 5321 §4.2, RFC 3463 §2).

use deeptrace_model::{MessageRole, SpanStatus, Text, Value};

use super::{LINE_MAX, line_end};
use crate::Draft;

/// Bytes of a reply's text that are told.
const TEXT_MAX: usize = 256;

/// A reply that is whole.
pub(super) struct Reply<'a> {
    pub(super) code: u16,
    pub(super) len: usize,
    /// Of its last line.
    text: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads a reply; `None` if it is not whole, an error if it is none.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Option<Self>, ()> {
        let (mut at, mut code) = (0, None);
        while at < bytes.len() {
            let rest = &bytes[at..];
            let this = digits(rest)?;
            if code.is_some_and(|code| this.is_some_and(|this| this != code)) {
                return Err(());
            }
            let Some(end) = line_end(rest) else { break };
            let Some(this) = this else { return Err(()) };
            code = Some(this);
            at += end;
            if rest[3] != b'-' {
                let text = rest[4.min(end)..end].trim_ascii();
                return Ok(Some(Self { code: this, len: at, text }));
            }
            if at > LINE_MAX {
                return Err(());
            }
        }
        Ok(None)
    }

    /// The response.
    pub(super) fn draft(&self) -> Draft {
        let mut draft = Draft::response(SpanStatus::Ok);
        let code = Value::Int(i64::from(self.code));
        draft.attributes.push(("deeptrace.smtp.status_code".into(), code));
        if self.code >= 400 {
            draft.status = SpanStatus::Error;
            draft.attributes.push(("error.type".into(), self.code.to_string().into()));
            draft.status_message = Some(self.words()).filter(|text| !text.is_empty());
            // The server likes to repeat the address.
            draft.redact.push(3..usize::MAX);
        }
        draft
    }

    /// What the server says that nobody asked for.
    pub(super) fn unasked(&self, name: &'static str) -> Draft {
        let mut draft = self.draft();
        draft.role = MessageRole::OneWay;
        draft.name = Text::new_static(name);
        draft.attributes.push(("network.protocol.name".into(), "smtp".into()));
        draft
    }

    /// The text without the addresses in it.
    fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.text[..self.text.len().min(TEXT_MAX)]);
        let hide = |word| if str::contains(word, '@') { "{address}" } else { word };
        text.split_ascii_whitespace().map(hide).collect::<Vec<_>>().join(" ")
    }
}

/// The code of a line, `None` if its end is not there, an error if it is none.
fn digits(line: &[u8]) -> Result<Option<u16>, ()> {
    let is_first = line.first().is_none_or(|byte| (b'2'..=b'5').contains(byte));
    let are_digits = line.iter().skip(1).take(2).all(u8::is_ascii_digit);
    let is_parted = line.get(3).is_none_or(|byte| matches!(byte, b' ' | b'-' | b'\r' | b'\n'));
    if !is_first || !are_digits || !is_parted {
        return Err(());
    }
    let digit = |at: usize| u16::from(line[at] - b'0');
    Ok((line.len() >= 4).then(|| digit(0) * 100 + digit(1) * 10 + digit(2)))
}

/// Whether the server greets, or refuses to, and says that it is one of SMTP.
pub(super) fn is_greeting(bytes: &[u8]) -> bool {
    let is_smtp = |part: &[u8]| part.eq_ignore_ascii_case(b"SMTP");
    let is_code = [b"220", b"421", b"554"].iter().any(|code| bytes.starts_with(*code));
    is_code
        && bytes.get(3).is_some_and(|byte| matches!(byte, b' ' | b'-'))
        && bytes.len() <= LINE_MAX
        && Reply::read(bytes).is_ok_and(|reply| reply.is_none_or(|it| it.len == bytes.len()))
        && bytes.windows(4).any(is_smtp)
}

/// Whether a reply begins here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    bytes.len() >= 6 && matches!(Reply::read(bytes), Ok(Some(_)))
}
