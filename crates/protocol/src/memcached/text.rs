//! Text and meta commands: a line, and a block of data whose length the line tells.

use std::ops::Range;

use deeptrace_model::SpanStatus;
use memchr::memchr;

use super::command::{Answer, Command, VALUE_MAX, is_unknown, number, words};
use super::request::{Request, Response};
use crate::due::{Answers, Due};
use crate::{Draft, Form, Head, Input, Recognition, Side, Verdict};

/// Lines above are not waited for; a get of many keys is long.
const LINE_MAX: usize = 60 * 1024;

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

/// The text protocol's side of a connection.
#[derive(Default)]
pub(super) struct Text {
    /// Quiet commands that wait for the one that ends them.
    group: Option<Request>,
    /// Commands that are not answered yet: whether `mn` ends a group there.
    pub(super) due: Due<bool>,
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
                None if self.is_begun && is_unknown(line) => self.unknown(len as u64),
                None => Verdict::NotMine,
            },
            Side::Server => self.answer(line, len as u64),
        }
    }

    /// A command that the server refuses too, with an ERROR.
    fn unknown(&mut self, len: u64) -> Verdict {
        self.due.ask(false);
        let draft = self.group.take().unwrap_or_default().describe(Draft::request(""));
        Verdict::Done { len, draft: Box::new(draft) }
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
            self.due.ask(is_group && is_terminator);
        }
        let mut draft = match command.answer {
            Answer::Never => request.describe(Draft::one_way("")),
            _ => request.describe(Draft::request("")),
        };
        draft.redact = redact;
        draft.form = Form::Words;
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn answer(&mut self, line: &[u8], len: u64) -> Verdict {
        let mut words = words(line);
        let Some(word) = words.next() else { return Verdict::NotMine };
        // Lines of a log that was asked for with `watch`.
        if word.starts_with(b"ts=") {
            return Verdict::Skip(len);
        }
        if self.response.is_none() && self.due.is_stray() {
            return self.stray(&mut words, word, len);
        }
        let until_mn = self.due.next() == Answers::To(&mut true);
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
        let draft = self.conclude(SpanStatus::Ok);
        Verdict::Done { len, draft: Box::new(draft) }
    }

    /// The open response, as far as it was seen.
    fn conclude(&mut self, status: SpanStatus) -> Draft {
        let _ = self.due.answer();
        self.lines = 0;
        let response = self.response.take().unwrap_or_default();
        Draft { skips: self.due.skips(), form: Form::Words, ..response.describe(status) }
    }

    /// A line of a response that answers something that is not known.
    fn stray<'a>(
        &mut self,
        words: &mut impl Iterator<Item = &'a [u8]>,
        word: &[u8],
        len: u64,
    ) -> Verdict {
        let data = match word {
            b"VALUE" => words.nth(2).and_then(number),
            b"VA" => words.next().and_then(number),
            _ => None,
        };
        let data = data.filter(|len| *len <= VALUE_MAX).map_or(0, |len| len + 2);
        if word == b"VA" || is_ending(word) || word.ends_with(b"ERROR") {
            self.due.heard();
            return Verdict::Stray(len + data);
        }
        let is_line = data > 0 || matches!(word, b"STAT" | b"ITEM") || word.starts_with(b"key=");
        if is_line { Verdict::Skip(len + data) } else { Verdict::NotMine }
    }

    pub(super) fn lost(&mut self, from: Side) -> Option<Draft> {
        match from {
            Side::Client => {
                self.due.lost(from);
                self.group.take().map(|group| group.describe(Draft::request("")))
            }
            Side::Server => {
                let draft = self.response.is_some().then(|| self.conclude(SpanStatus::Unset));
                self.due.lost(from);
                draft
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

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).into_owned()
}
