//! Command: one line of a client (RFC 5321 §4.1).

use deeptrace_model::Text;

use crate::Draft;

/// Longest chunk that is believed of `BDAT`.
const CHUNK_MAX: u64 = 1 << 32;

/// What the protocol does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Data,
    Auth,
    StartTls,
    Other,
}

/// Word, what it does, and whether words follow it: never, always, perhaps.
const VERBS: &[(&str, Verb, Option<bool>)] = &[
    ("EHLO", Verb::Other, Some(true)),
    ("HELO", Verb::Other, Some(true)),
    ("MAIL", Verb::Other, Some(true)),
    ("RCPT", Verb::Other, Some(true)),
    ("DATA", Verb::Data, Some(false)),
    ("BDAT", Verb::Other, Some(true)),
    ("RSET", Verb::Other, Some(false)),
    ("NOOP", Verb::Other, None),
    ("QUIT", Verb::Other, Some(false)),
    ("VRFY", Verb::Other, Some(true)),
    ("EXPN", Verb::Other, Some(true)),
    ("HELP", Verb::Other, None),
    ("ETRN", Verb::Other, Some(true)),
    ("AUTH", Verb::Auth, Some(true)),
    ("STARTTLS", Verb::StartTls, Some(false)),
    ("XCLIENT", Verb::Other, Some(true)),
    ("XFORWARD", Verb::Other, Some(true)),
];

/// Longest word of a command that is not known.
const WORD_MAX: usize = 16;

/// A line.
pub(super) struct Command {
    pub(super) verb: Verb,
    word: &'static str,
    /// Bytes after the line that belong to it.
    pub(super) chunk: u64,
    /// Where the arguments begin.
    arguments_at: usize,
}

impl Command {
    /// Reads a line with its end; `None` if it is none.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let text = line.strip_suffix(b"\n")?;
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let word = text.split(|byte| *byte == b' ').next()?;
        let arguments = text.get(word.len() + 1..).unwrap_or_default();
        let known = VERBS.iter().find(|verb| word.eq_ignore_ascii_case(verb.0.as_bytes()));
        let (name, verb, has_arguments) = match known {
            Some(known) => *known,
            // The server will say that it does not know it either.
            None if is_word(word) => ("_OTHER", Verb::Other, None),
            None => return None,
        };
        let is_empty = arguments.trim_ascii().is_empty();
        if has_arguments.is_some_and(|has| has == is_empty) || !arguments.iter().all(is_plain) {
            return None;
        }
        let chunk = if name == "BDAT" { chunk(arguments)? } else { 0 };
        let arguments_at = (word.len() + 1).min(line.len());
        Some(Self { verb, word: name, chunk, arguments_at })
    }

    /// The request.
    pub(super) fn draft(&self) -> Draft {
        let mut draft = Draft::request(Text::new_static(self.word));
        draft.attributes.push(("network.protocol.name".into(), "smtp".into()));
        draft.attributes.push(("deeptrace.smtp.command".into(), self.word.into()));
        // Names of hosts are all that may be kept; the rest is addresses, secrets and mails.
        if !matches!(self.word, "EHLO" | "HELO" | "NOOP" | "HELP") {
            draft.redact.push(self.arguments_at..usize::MAX);
        }
        draft
    }
}

/// The size of a chunk (RFC 3030 §2).
fn chunk(arguments: &[u8]) -> Option<u64> {
    let size = arguments.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(size).ok()?.parse().ok().filter(|size| *size <= CHUNK_MAX)
}

fn is_word(word: &[u8]) -> bool {
    (4..=WORD_MAX).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase)
}

/// Text, perhaps in UTF-8 (RFC 6531).
fn is_plain(byte: &u8) -> bool {
    *byte >= b' ' && *byte != 0x7f
}

/// Whether a command is here that no other protocol has.
pub(super) fn is_opening(bytes: &[u8]) -> bool {
    let Some(end) = super::line_end(bytes) else { return false };
    let line = &bytes[..end];
    let Some(command) = Command::read(line) else { return false };
    let starts =
        |with: &[u8]| line.get(..with.len()).is_some_and(|front| front.eq_ignore_ascii_case(with));
    match command.word {
        "EHLO" | "HELO" => {
            let host = line[5..].trim_ascii();
            host.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_[]:".contains(byte))
        }
        "MAIL" => starts(b"MAIL FROM:<"),
        "RCPT" => starts(b"RCPT TO:<"),
        _ => false,
    }
}

/// Whether a command that is known begins here.
pub(super) fn is_start(bytes: &[u8]) -> bool {
    let line = super::line_end(bytes).and_then(|end| Command::read(&bytes[..end]));
    line.is_some_and(|command| command.word != "_OTHER")
}
