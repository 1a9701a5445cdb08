//! Text and meta commands: a line, and a block of data whose length the line tells.

use std::collections::VecDeque;
use std::ops::Range;

use deeptrace_model::SpanStatus;
use memchr::memchr;

use super::request::{Request, Response};
use crate::{Draft, Head, Input, Recognition, Side, Verdict};

/// Lines above are not waited for; a get of many keys is long.
const LINE_MAX: usize = 60 * 1024;
/// Keys, as the server bounds them.
const KEY_MAX: usize = 250;
/// Values above are not believed (`-I` allows up to 1 GiB).
const VALUE_MAX: u64 = 1 << 30;
/// Commands in flight that are remembered.
const PENDING_MAX: usize = 4096;

/// What follows the word of a command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// So many words, then keys.
    Keys(usize),
    /// A key, and a block of data whose length is this word (from 0).
    Data(usize),
    /// A key and between so many other words.
    Key(usize, usize),
    /// Between no and so many words.
    Words(usize),
    /// A key and flags of one letter each.
    Meta,
}

const COMMANDS: &[(&str, Shape)] = &[
    ("get", Shape::Keys(0)),
    ("gets", Shape::Keys(0)),
    ("gat", Shape::Keys(1)),
    ("gats", Shape::Keys(1)),
    ("set", Shape::Data(3)),
    ("add", Shape::Data(3)),
    ("replace", Shape::Data(3)),
    ("append", Shape::Data(3)),
    ("prepend", Shape::Data(3)),
    ("cas", Shape::Data(3)),
    ("delete", Shape::Key(0, 2)),
    ("incr", Shape::Key(1, 2)),
    ("decr", Shape::Key(1, 2)),
    ("touch", Shape::Key(1, 2)),
    ("mg", Shape::Meta),
    ("ms", Shape::Data(1)),
    ("md", Shape::Meta),
    ("ma", Shape::Meta),
    ("me", Shape::Meta),
    ("mn", Shape::Words(0)),
    ("stats", Shape::Words(4)),
    ("flush_all", Shape::Words(2)),
    ("version", Shape::Words(0)),
    ("verbosity", Shape::Words(2)),
    ("quit", Shape::Words(0)),
    ("cache_memlimit", Shape::Words(2)),
    ("slabs", Shape::Words(4)),
    ("lru", Shape::Words(4)),
    ("lru_crawler", Shape::Words(4)),
    ("watch", Shape::Words(16)),
    ("shutdown", Shape::Words(1)),
];

/// Lines of an answer by their first word.
const ENDS: &[&str] = &[
    "STORED",
    "NOT_STORED",
    "EXISTS",
    "NOT_FOUND",
    "DELETED",
    "TOUCHED",
    "OK",
    "RESET",
    "VERSION",
    "BUSY",
    "BADCLASS",
    "NOSPARE",
    "NOTFULL",
    "UNSAFE",
    "SAME",
    "HD",
    "EN",
    "NF",
    "NS",
    "EX",
    "ME",
    "MN",
    "END",
];

/// Whether and when a command is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Always,
    Never,
    /// On a hit or an error.
    Perhaps,
}

struct Command<'a> {
    verb: &'static str,
    keys: u32,
    /// Bytes after the line, with their line end.
    data: u64,
    answer: Answer,
    /// The words that are told.
    text: &'a [u8],
}

impl<'a> Command<'a> {
    /// Reads a line without its end; strictly, since it also recognises.
    fn read(line: &'a [u8]) -> Option<Self> {
        let mut words = words(line);
        let first = words.next()?;
        let (verb, shape) = COMMANDS.iter().find(|command| command.0.as_bytes() == first)?;
        let (verb, shape) = (*verb, *shape);
        let mut command = Self { verb, keys: 0, data: 0, answer: Answer::Always, text: line };
        let is_noreply = line.ends_with(b" noreply");
        match shape {
            Shape::Keys(before) => {
                words.by_ref().take(before).try_for_each(is_number)?;
                for key in words {
                    is_key(key)?;
                    command.keys = command.keys.saturating_add(1);
                }
                (command.keys > 0).then_some(())?;
            }
            Shape::Data(at) => {
                let key = words.next().filter(|key| is_key(key).is_some())?;
                words.by_ref().take(at - 1).try_for_each(is_number)?;
                let len = number(words.next()?).filter(|len| *len <= VALUE_MAX)?;
                command.keys = 1;
                command.data = len + 2;
                command.text = &line[..first.len() + 1 + key.len()];
                if verb == "ms" {
                    command.answer = quiet(words)?;
                } else {
                    let most = if verb == "cas" { 2 } else { 1 };
                    (words.count() <= most).then_some(())?;
                }
            }
            Shape::Key(least, most) => {
                is_key(words.next()?)?;
                command.keys = 1;
                (least..=most).contains(&words.count()).then_some(())?;
            }
            Shape::Words(most) => (words.count() <= most).then_some(())?,
            Shape::Meta => {
                is_key(words.next()?)?;
                command.keys = 1;
                command.answer = quiet(words)?;
            }
        }
        // `quit` and `shutdown` close; `noreply` says so.
        let is_meta = matches!(shape, Shape::Meta) || verb == "ms";
        if (is_noreply && !is_meta) || matches!(verb, "quit" | "shutdown") {
            command.answer = Answer::Never;
        }
        Some(command)
    }
}

/// The text protocol's side of a connection.
#[derive(Default)]
pub(super) struct Text {
    /// Quiet commands that wait for the one that ends them.
    group: Option<Request>,
    /// Commands that are not answered yet: whether `mn` ends a group there.
    pending: VecDeque<bool>,
    response: Option<Response>,
    /// Lines of the open response.
    lines: u32,
    /// Whether a command was seen.
    is_begun: bool,
}

impl Text {
    pub(super) fn parse(&mut self, input: &Input<'_>) -> Verdict {
        let (line, len) = match line(input.bytes) {
            Some(found) => found,
            None if input.bytes.len() > LINE_MAX => return Verdict::NotMine,
            // The end of a line of many keys was not copied; what there is says enough.
            None if input.is_last && input.from == Side::Client => {
                (input.bytes.trim_ascii_end(), input.bytes.len())
            }
            None => return Verdict::More,
        };
        match input.from {
            Side::Client => match Command::read(line) {
                Some(command) => self.request(&command, input.bytes, len),
                None => Verdict::NotMine,
            },
            Side::Server => self.answer(line, len as u64),
        }
    }

    fn request(&mut self, command: &Command<'_>, bytes: &[u8], line_len: usize) -> Verdict {
        let len = line_len as u64 + command.data;
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let mut redact = Vec::new();
        if is_first && command.verb == "set" {
            redact.extend(credentials(bytes, line_len, command.data));
        }
        if command.verb == "quit" {
            return Verdict::Skip(len);
        }
        let mut request = self.group.take().unwrap_or_default();
        let is_group = !request.is_empty();
        let is_terminator = command.verb == "mn";
        if !(is_terminator && is_group) {
            request.add(command.verb, command.keys, command.text);
        }
        if command.answer == Answer::Perhaps || (is_group && command.answer == Answer::Never) {
            self.group = Some(request);
            return Verdict::Part { len, stream: 0 };
        }
        if command.answer == Answer::Always {
            if self.pending.len() >= PENDING_MAX {
                self.pending.pop_front();
            }
            self.pending.push_back(is_group && is_terminator);
        }
        let mut draft = match command.answer {
            Answer::Never => request.describe(Draft::one_way("")),
            _ => request.describe(Draft::request("")),
        };
        draft.redact = redact;
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn answer(&mut self, line: &[u8], len: u64) -> Verdict {
        let mut words = words(line);
        let Some(word) = words.next() else { return Verdict::NotMine };
        // Lines of a log that was asked for with `watch`.
        if word.starts_with(b"ts=") {
            return Verdict::Skip(len);
        }
        let until_mn = self.pending.front() == Some(&true);
        let response = self.response.get_or_insert_default();
        let mut data = 0;
        let mut is_end = true;
        match word {
            b"VALUE" | b"VA" => {
                let at = if word == b"VA" { 0 } else { 2 };
                let Some(size) = words.nth(at).and_then(number).filter(|n| *n <= VALUE_MAX) else {
                    return Verdict::NotMine;
                };
                data = size + 2;
                response.values = response.values.saturating_add(1);
                response.is_get = true;
                is_end = word == b"VA";
            }
            b"STAT" | b"ITEM" => is_end = false,
            // A get without values ends so too, and nothing else does alone.
            b"END" => response.is_get |= self.lines == 0,
            b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => {
                response.code = Some(lossy(word));
                let message = line.get(word.len() + 1..).unwrap_or_default();
                response.error.get_or_insert(lossy(message));
            }
            b"NOT_FOUND" | b"NOT_STORED" | b"EXISTS" | b"NF" | b"NS" | b"EX" => {
                response.code.get_or_insert(lossy(word));
            }
            b"EN" => response.is_get = true,
            _ if word.starts_with(b"key=") => is_end = false,
            _ if is_ending(word) => {}
            _ => {
                self.response = None;
                return Verdict::NotMine;
            }
        }
        let len = len + data;
        self.lines = self.lines.saturating_add(1);
        if !is_end || (until_mn && word != b"MN") {
            return Verdict::Part { len, stream: 0 };
        }
        self.pending.pop_front();
        self.lines = 0;
        let response = self.response.take().unwrap_or_default();
        Verdict::Done { len, draft: Box::new(response.describe(SpanStatus::Ok)) }
    }

    pub(super) fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => {
                self.pending.clear();
                self.group.take().map(|group| group.describe(Draft::request("")))
            }
            Side::Server => {
                self.pending.clear();
                self.lines = 0;
                self.response.take().map(|response| response.describe(SpanStatus::Unset))
            }
        }
    }
}

/// Name and password: with a file of users the server takes them from a `set` that comes first
/// (`doc/protocol.txt`, "Authentication"). Any first value of two words is treated as such.
fn credentials(bytes: &[u8], line_len: usize, data: u64) -> Option<Range<usize>> {
    let end = line_len + usize::try_from(data).ok()?;
    let value = bytes.get(line_len..end.min(bytes.len()))?;
    let is_text = value.iter().all(|byte| (b' '..=b'~').contains(byte) || b"\r\n".contains(byte));
    (is_text && value.contains(&b' ')).then_some(line_len..end)
}

/// Whether the call is the text protocol's.
pub(super) fn recognise(head: &Head<'_>) -> Recognition {
    let Some((line, _)) = line(head.bytes).filter(|found| found.1 > found.0.len() + 1) else {
        return Recognition::No;
    };
    if let Some(command) = Command::read(line) {
        return match command.verb {
            // Other protocols of lines have these words.
            "quit" | "shutdown" | "watch" => Recognition::No,
            _ if command.data > 0 => Recognition::Yes(Side::Client),
            _ => Recognition::Maybe(Side::Client),
        };
    }
    let mut words = words(line);
    match words.next() {
        Some(b"VALUE") if words.nth(2).and_then(number).is_some() => Recognition::Yes(Side::Server),
        Some(
            b"STORED" | b"NOT_STORED" | b"END" | b"DELETED" | b"TOUCHED" | b"HD" | b"EN" | b"MN",
        ) if words.next().is_none() => Recognition::Maybe(Side::Server),
        Some(b"STAT") if words.count() >= 2 => Recognition::Maybe(Side::Server),
        _ => Recognition::No,
    }
}

/// Whether a message may start here.
pub(super) fn is_start(from: Side, bytes: &[u8]) -> bool {
    let Some((line, _)) = line(bytes) else { return false };
    match from {
        Side::Client => Command::read(line).is_some(),
        Side::Server => words(line).next().is_some_and(|word| {
            is_ending(word)
                || matches!(word, b"VALUE" | b"VA" | b"STAT" | b"ITEM")
                || word.ends_with(b"ERROR")
        }),
    }
}

/// Whether a line with this first word ends an answer.
fn is_ending(word: &[u8]) -> bool {
    ENDS.iter().any(|end| end.as_bytes() == word) || word.iter().all(u8::is_ascii_digit)
}

/// The first line without its end, and its length with it.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr(b'\n', &bytes[..bytes.len().min(LINE_MAX)])?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

fn is_key(key: &[u8]) -> Option<()> {
    let is_clean = key.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    (is_clean && key.len() <= KEY_MAX).then_some(())
}

/// Meta flags: a letter, perhaps with a value; `q` is for quiet.
fn quiet<'a>(flags: impl Iterator<Item = &'a [u8]>) -> Option<Answer> {
    let mut answer = Answer::Always;
    for flag in flags {
        flag.first().filter(|letter| letter.is_ascii_alphabetic())?;
        if flag == b"q" {
            answer = Answer::Perhaps;
        }
    }
    Some(answer)
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A number, perhaps negative.
fn is_number(word: &[u8]) -> Option<()> {
    number(word.strip_prefix(b"-").unwrap_or(word)).map(|_| ())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned()
}
