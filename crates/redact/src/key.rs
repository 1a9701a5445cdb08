//! Keys: whether a name that was found is a key, and what stands between it and its value.

use crate::escape::{Unit, is_of_key, unit};
use crate::patterns::Found;

/// Longest index in brackets behind a key of a form: `user[password][0]`.
const INDEX_MAX: usize = 64;
/// White space between a key and its value.
const SPACES_MAX: usize = 1024;
/// Brackets behind a key.
const INDEXES_MAX: usize = 16;

/// Longest key on either side of a name.
const KEY_MAX: usize = 128;

/// A key, as far as it is one word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What a key is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Its value begins there; `is_pair`: after an equals sign.
    Value { at: usize, is_pair: bool },
    /// It names an element of XML, whose attributes begin there.
    Element(usize),
    /// It is a field of a head: its value goes to the end of the line.
    Line(usize),
    /// It is the text of an element; the values is in one of the next.
    Sibling(usize),
    /// It is the value of an attribute `name`, and its value is in the rest of the element.
    Attribute(usize),
    /// It names a part of `multipart/form-data` whose other parameters begin there.
    Part(usize),
    /// It is a text of its own, and its value stands beside it in the same array or object.
    Beside,
    /// It is a segment of a path; the next one begins there.
    Segment(usize),
    /// It is the last segment of a path.
    Path,
    /// It is an option of a command, whose value is the next word.
    Option(usize),
    /// It is a word among others.
    Nothing,
}

impl Key {
    /// The word in which `found` lies.
    pub(crate) fn around(bytes: &[u8], found: Found) -> Self {
        let before = bytes[..found.start].iter().rev().take(KEY_MAX);
        let before = before.take_while(|byte| is_of_key(**byte)).count();
        let mut end = found.end;
        let is_near = |end| end < found.end + KEY_MAX;
        while let Some(next) = unit(bytes, end).filter(|next| next.is_of_key() && is_near(end)) {
            end = next.end;
        }
        Self { start: behind_escape(bytes, found.start - before, found.start), end }
    }

    /// What follows it.
    pub(crate) fn after(self, bytes: &[u8]) -> After {
        if opens_tag(&bytes[..self.start]) {
            return After::Element(self.end);
        }
        let (quoted, mut at) = self.closing(bytes);
        if !quoted {
            if ends_slash(&bytes[..self.start]) {
                return segment(bytes, self.end);
            }
            if bytes[self.start] == b'-' && unit(bytes, at).is_some_and(|u| u.is(b' ')) {
                return After::Option(at + 1);
            }
            at = indexes(bytes, at);
        }
        let begins = at;
        at = spaces(bytes, at);
        let Some(next) = unit(bytes, at) else { return After::Nothing };
        if next.is(b':') || next.is(b'=') {
            let is_line = next.is(b':') && !quoted && begins_line(&bytes[..self.start]);
            let at = separator(bytes, next.end);
            return if is_line {
                After::Line(at)
            } else {
                After::Value { at, is_pair: next.is(b'=') }
            };
        }
        let is_named = quoted && names(&bytes[..self.start]);
        if is_named && unit(bytes, begins).is_some_and(|u| u.is(b'\r') || u.is(b'\n') || u.is(b';'))
        {
            return After::Part(begins);
        }
        if is_named {
            return After::Attribute(begins);
        }
        if quoted && self.is_quoted(bytes) {
            return After::Beside;
        }
        if !quoted && next.is(b'<') {
            return After::Sibling(at);
        }
        if begins < at && next.is_quote() {
            return After::Value { at, is_pair: true };
        }
        After::Nothing
    }

    /// Whether a quote ends it, and what comes after that.
    fn closing(self, bytes: &[u8]) -> (bool, usize) {
        match unit(bytes, self.end).filter(Unit::is_quote) {
            Some(quote) => (true, quote.end),
            None => (false, self.end),
        }
    }

    /// Whether a quote begins it.
    fn is_quoted(self, bytes: &[u8]) -> bool {
        without_quote(&bytes[..self.start]).is_some()
    }
}

/// Where a key begins that was read back to `start`: what looks like its first letters may be the end of
/// an escaped character, as in `%22password`.
fn behind_escape(bytes: &[u8], start: usize, found: usize) -> usize {
    let escape = start.checked_sub(1).and_then(|mark| unit(bytes, mark));
    let end = escape.filter(|unit| unit.is_encoded && !unit.is_of_key()).map(|unit| unit.end);
    end.filter(|end| (start..=found).contains(end)).unwrap_or(start)
}

/// What is before the quote at the end, if there is one.
fn without_quote(before: &[u8]) -> Option<&[u8]> {
    match before {
        [rest @ .., b'"' | b'\'' | b'`'] => {
            let slashes =
                rest.iter().rev().take(KEY_MAX).take_while(|byte| **byte == b'\\').count();
            Some(&rest[..rest.len() - slashes])
        }
        _ => strip(before, &[b"%22", b"%27", b"&quot;", b"&apos;", b"\\u0022", b"\\u0027"]),
    }
}

/// What is before one of `marks` at the end; their letters may be small or capital.
fn strip<'a>(before: &'a [u8], marks: &[&[u8]]) -> Option<&'a [u8]> {
    marks.iter().find_map(|mark| {
        let (rest, end) = before.split_at_checked(before.len().checked_sub(mark.len())?)?;
        end.eq_ignore_ascii_case(mark).then_some(rest)
    })
}

/// Whether what follows names an element of XML.
fn opens_tag(before: &[u8]) -> bool {
    const OPENS: &[&[u8]] = &[b"<", b"&lt;", b"\\u003c", b"%3c"];
    let without_prefix = before.strip_suffix(b":").map(|rest| {
        let prefix = rest.iter().rev().take(KEY_MAX).take_while(|byte| is_of_key(**byte)).count();
        &rest[..rest.len() - prefix]
    });
    strip(without_prefix.unwrap_or(before), OPENS).is_some()
}

fn ends_slash(before: &[u8]) -> bool {
    before.last() == Some(&b'/') || strip(before, &[b"%2f"]).is_some()
}

/// Whether only white space is before it on its line.
fn begins_line(before: &[u8]) -> bool {
    let blank =
        before.iter().rev().take(KEY_MAX).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    matches!(before.get(..before.len() - blank), Some([] | [.., b'\n' | b'\r']))
}

/// Whether the text in quotes whose beginning this is, is the value of an attribute or parameter.
fn names(before: &[u8]) -> bool {
    let quote = before.iter().rev().take(INDEX_MAX).position(|byte| matches!(byte, b'"' | b'\''));
    let before = &before[..before.len() - quote.unwrap_or(0)];
    without_quote(before).is_some_and(|rest| rest.ends_with(b"="))
}

/// Behind the brackets of `user[password][0]`, which may begin inside one.
fn indexes(bytes: &[u8], mut at: usize) -> usize {
    for _ in 0..INDEXES_MAX {
        let Some(next) = unit(bytes, at) else { break };
        if next.is(b'[') {
            let (mut end, limit) = (next.end, next.end + INDEX_MAX);
            while let Some(inner) = unit(bytes, end).filter(|inner| !inner.is(b']')) {
                if end > limit {
                    return at;
                }
                end = inner.end;
            }
            at = end;
        } else if next.is(b']') {
            at = next.end;
        } else {
            break;
        }
    }
    at
}

/// Behind white space.
pub(crate) fn spaces(bytes: &[u8], mut at: usize) -> usize {
    for _ in 0..SPACES_MAX {
        let Some(space) = unit(bytes, at).filter(Unit::is_space) else { break };
        at = space.end;
    }
    at
}

/// Behind the rest of `=>`, `==`, `:=` and white space.
fn separator(bytes: &[u8], at: usize) -> usize {
    let at = unit(bytes, at).filter(|next| next.is(b'>') || next.is(b'=')).map_or(at, |u| u.end);
    spaces(bytes, at)
}

fn segment(bytes: &[u8], at: usize) -> After {
    match unit(bytes, at) {
        Some(next) if next.is(b'/') => After::Segment(next.end),
        Some(next)
            if !(next.is_space() || next.is_quote() || b"?#&".iter().any(|b| next.is(*b))) =>
        {
            After::Nothing
        }
        _ => After::Path,
    }
}
