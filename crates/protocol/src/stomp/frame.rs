//! Frame: a command, headers, and a body up to a length or a zero byte.

use super::header::Headers;
use crate::Side;

/// Bytes of command and headers that are waited for.
const HEAD_MAX: usize = 32 * 1024;

/// Bytes of a body that are believed.
const BODY_MAX: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Connect,
    Send,
    Subscribe,
    Unsubscribe,
    Ack,
    Nack,
    Begin,
    Commit,
    Abort,
    Disconnect,
    Connected,
    Message,
    Receipt,
    Error,
}

/// Commands, who says them, and the headers without which they are not believed.
const VERBS: [(&str, Verb, Side, &[&str]); 15] = [
    ("CONNECT", Verb::Connect, Side::Client, &[]),
    ("STOMP", Verb::Connect, Side::Client, &["accept-version"]),
    ("SEND", Verb::Send, Side::Client, &["destination"]),
    ("SUBSCRIBE", Verb::Subscribe, Side::Client, &["destination"]),
    ("UNSUBSCRIBE", Verb::Unsubscribe, Side::Client, &[]),
    ("ACK", Verb::Ack, Side::Client, &[]),
    ("NACK", Verb::Nack, Side::Client, &[]),
    ("BEGIN", Verb::Begin, Side::Client, &["transaction"]),
    ("COMMIT", Verb::Commit, Side::Client, &["transaction"]),
    ("ABORT", Verb::Abort, Side::Client, &["transaction"]),
    ("DISCONNECT", Verb::Disconnect, Side::Client, &[]),
    ("CONNECTED", Verb::Connected, Side::Server, &[]),
    ("MESSAGE", Verb::Message, Side::Server, &["destination", "message-id"]),
    ("RECEIPT", Verb::Receipt, Side::Server, &["receipt-id"]),
    ("ERROR", Verb::Error, Side::Server, &[]),
];

impl Verb {
    /// Name and type of the operation; the type is empty for what is of no interest by itself.
    pub(super) fn operation(self) -> (&'static str, &'static str) {
        match self {
            Self::Send => ("send", "send"),
            Self::Message => ("deliver", "receive"),
            Self::Ack => ("ack", "settle"),
            Self::Nack => ("nack", "settle"),
            Self::Subscribe => ("subscribe", ""),
            Self::Unsubscribe => ("unsubscribe", ""),
            Self::Begin => ("begin", ""),
            Self::Commit => ("commit", ""),
            Self::Abort => ("abort", ""),
            Self::Disconnect => ("disconnect", ""),
            Self::Connect | Self::Connected | Self::Receipt | Self::Error => ("", ""),
        }
    }
}

pub(super) struct Frame<'a> {
    pub(super) verb: Verb,
    pub(super) headers: Headers<'a>,
    /// Bytes before the body.
    pub(super) len: usize,
    /// Bytes of the body, where they are announced.
    pub(super) body_len: Option<usize>,
}

pub(super) enum Front<'a> {
    Frame(Frame<'a>),
    More,
    NotMine,
}

/// A command at the front.
enum Command {
    /// Its row, and the bytes of its line.
    Row(usize, usize),
    More,
    Unknown,
}

fn command(bytes: &[u8], from: Side) -> Command {
    let mut may_become = false;
    for (row, (word, _, side, _)) in VERBS.iter().enumerate() {
        if *side != from {
            continue;
        }
        let word = word.as_bytes();
        match bytes.strip_prefix(word) {
            Some([b'\n', ..]) => return Command::Row(row, word.len() + 1),
            Some([b'\r', b'\n', ..]) => return Command::Row(row, word.len() + 2),
            Some([] | [b'\r']) => may_become = true,
            Some(_) => {}
            None => may_become |= word.starts_with(bytes),
        }
    }
    if may_become { Command::More } else { Command::Unknown }
}

/// Reads command and headers.
pub(super) fn read(bytes: &[u8], from: Side) -> Front<'_> {
    let (row, start) = match command(bytes, from) {
        Command::Row(row, start) => (row, start),
        Command::More => return Front::More,
        Command::Unknown => return Front::NotMine,
    };
    let (_, verb, _, required) = VERBS[row];
    let Some((headers, is_whole)) = Headers::read(bytes, start, HEAD_MAX) else {
        return Front::NotMine;
    };
    if !is_whole {
        return if bytes.len() < HEAD_MAX { Front::More } else { Front::NotMine };
    }
    if required.iter().any(|name| headers.get(name).is_none()) {
        return Front::NotMine;
    }
    let body_len = match headers.get("content-length").map(number) {
        Some(None) => return Front::NotMine,
        Some(Some(len)) => Some(len),
        None => None,
    };
    let len = headers.end();
    Front::Frame(Frame { verb, headers, len, body_len })
}

fn number(digits: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(digits).ok()?.trim();
    digits.parse().ok().filter(|len| *len <= BODY_MAX)
}

/// How sure it is that a frame begins at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Sure,
    Perhaps,
    No,
}

/// Whether a frame of `from` begins here; heart-beats before it are passed over.
pub(super) fn judge(bytes: &[u8], from: Side) -> Fit {
    let pause = bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
    let bytes = &bytes[pause..];
    let Command::Row(row, start) = command(bytes, from) else { return Fit::No };
    let (_, verb, _, required) = VERBS[row];
    let Some((headers, is_whole)) = Headers::read(bytes, start, HEAD_MAX) else { return Fit::No };
    if headers.is_empty() || is_whole && required.iter().any(|name| headers.get(name).is_none()) {
        return Fit::No;
    }
    let has = |name| headers.get(name).is_some();
    match verb {
        // Others begin with these words as well; the names of headers tell.
        Verb::Connect if has("accept-version") || has("login") || has("passcode") => Fit::Sure,
        Verb::Connected if has("version") || has("session") => Fit::Sure,
        Verb::Connect | Verb::Connected => Fit::No,
        Verb::Ack | Verb::Nack if !has("id") && !has("message-id") => Fit::No,
        _ => Fit::Perhaps,
    }
}
