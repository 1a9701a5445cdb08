//! Command: a line of control, perhaps with a message behind it.

use crate::Side;

/// Bytes of a line that are waited for: `INFO` lists the servers of a cluster.
const LINE_MAX: usize = 32 * 1024;

/// Bytes of a payload that are believed; the server's own limit for its setting `max_payload`.
const SIZE_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a subject that are believed; servers take lines of 4096.
const SUBJECT_MAX: usize = 4096;

/// `PUB`, `HPUB`, `MSG` or `HMSG`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) subject: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    /// Bytes of headers.
    pub(super) head_len: usize,
    /// Bytes of headers and payload.
    pub(super) size: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Command<'a> {
    Message(Message<'a>),
    /// To this subject, perhaps with wildcards.
    Subscribe(&'a [u8]),
    /// `-ERR`, without quotes.
    Error(&'a str),
    /// One that is passed over.
    Other,
}

pub(super) enum Front<'a> {
    /// With the bytes of its line.
    Command(Command<'a>, usize),
    More,
    NotMine,
}

/// Reads the line at the front.
pub(super) fn read(bytes: &[u8], from: Side) -> Front<'_> {
    let seen = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', seen) else {
        let may_become = bytes.len() < LINE_MAX && begins(bytes, from);
        return if may_become { Front::More } else { Front::NotMine };
    };
    let Some(line) = seen[..end].strip_suffix(b"\r") else { return Front::NotMine };
    match parse(line, from) {
        Some(command) => Front::Command(command, end + 1),
        None => Front::NotMine,
    }
}

/// Verbs by who says them.
fn verbs(from: Side) -> &'static [&'static str] {
    match from {
        Side::Client => &["CONNECT", "PUB", "HPUB", "SUB", "UNSUB", "PING", "PONG"],
        Side::Server => &["INFO", "MSG", "HMSG", "+OK", "-ERR", "PING", "PONG"],
    }
}

/// Whether a verb begins, or may begin, here.
fn begins(bytes: &[u8], from: Side) -> bool {
    verbs(from).iter().any(|verb| {
        let len = verb.len().min(bytes.len());
        let is_ended = bytes.get(verb.len()).is_none_or(u8::is_ascii_whitespace);
        bytes[..len].eq_ignore_ascii_case(&verb.as_bytes()[..len]) && is_ended
    })
}

fn parse(line: &[u8], from: Side) -> Option<Command<'_>> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(is_space).unwrap_or(line.len());
    let (verb, rest) = line.split_at(end);
    let verb = verbs(from).iter().find(|known| verb.eq_ignore_ascii_case(known.as_bytes()))?;
    let mut words = rest.split(is_space).filter(|word| !word.is_empty());
    match *verb {
        "PUB" => message(words, false, false),
        "HPUB" => message(words, true, false),
        "MSG" => message(words, false, true),
        "HMSG" => message(words, true, true),
        "SUB" => {
            let subject = words.next().filter(|subject| is_subject(subject))?;
            (1..=2).contains(&words.count()).then_some(Command::Subscribe(subject))
        }
        "UNSUB" => (1..=2).contains(&words.count()).then_some(Command::Other),
        "INFO" | "CONNECT" => rest.trim_ascii().starts_with(b"{").then_some(Command::Other),
        "-ERR" => {
            let text = std::str::from_utf8(rest).ok()?.trim();
            Some(Command::Error(text.trim_matches('\'')))
        }
        _ => rest.trim_ascii().is_empty().then_some(Command::Other),
    }
}

/// `<subject> [sid] [reply] [head] <size>`.
fn message<'a>(
    words: impl Iterator<Item = &'a [u8]>,
    has_head: bool,
    has_sid: bool,
) -> Option<Command<'a>> {
    // One more than there may be.
    let words: Vec<&[u8]> = words.take(6).collect();
    let (subject, mut rest) = words.split_first()?;
    if has_sid {
        rest = rest.split_first()?.1;
    }
    let (size, mut rest) = rest.split_last().map(|(last, rest)| (number(last), rest))?;
    let size = size?;
    let mut head_len = 0;
    if has_head {
        let (last, others) = rest.split_last()?;
        head_len = number(last)?;
        rest = others;
    }
    let reply = match rest {
        [] => None,
        [reply] => Some(*reply),
        _ => return None,
    };
    let is_subject = is_subject(subject) && reply.is_none_or(is_subject);
    if !is_subject || head_len > size || has_head && head_len < b"NATS/1.0\r\n\r\n".len() {
        return None;
    }
    Some(Command::Message(Message { subject, reply, head_len, size }))
}

fn is_subject(subject: &[u8]) -> bool {
    subject.len() <= SUBJECT_MAX
        && std::str::from_utf8(subject).is_ok_and(|text| !text.contains(char::is_control))
}

fn number(digits: &[u8]) -> Option<usize> {
    let is_number = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    digits.parse().ok().filter(|size| *size <= SIZE_MAX)
}

/// Whether this is what a server says first.
pub(super) fn is_info(bytes: &[u8]) -> bool {
    bytes.starts_with(b"INFO {\"server_id\":\"") || bytes.starts_with(b"INFO {\"server_id\": \"")
}

/// Whether this is what a client says first.
pub(super) fn is_connect(bytes: &[u8]) -> bool {
    bytes.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"CONNECT {"))
}

/// Commands that are looked at until one is a message.
const COMMANDS_MAX: usize = 8;

/// Whether a message that `from` sends begins here or behind other commands, with an end that fits where it
/// is there.
pub(super) fn carries_message(mut bytes: &[u8], from: Side) -> bool {
    for _ in 0..COMMANDS_MAX {
        let Front::Command(command, len) = read(bytes, from) else { return false };
        bytes = &bytes[len..];
        let message = match command {
            Command::Message(message) => message,
            Command::Subscribe(_) | Command::Other => continue,
            Command::Error(_) => return false,
        };
        let end = bytes.get(message.size..);
        return end.is_none_or(|end| end.starts_with(&b"\r\n"[..end.len().min(2)]));
    }
    false
}
