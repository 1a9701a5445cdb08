//! Texts: values beside the names that are looked for, in JSON, forms, queries, heads, XML and the like,
//! also where one is quoted inside another.

use std::ops::Range;

use memchr::{memchr, memmem, memrchr};

use crate::element;
use crate::escape::{self, Unit, unit};
use crate::key::{After, Key};
use crate::patterns::Patterns;
use crate::value;

/// Arrays and objects within each other that are told apart.
const DEPTH_MAX: usize = 64;

/// How often a text may be encoded as in a URL.
const LEVELS_MAX: usize = 3;
/// Keys of values whose name is another member beside them.
const VALUE: &[u8] = b"value";
/// Bytes of a tag in which an attribute before a name is looked for.
const TAG_MAX: usize = 1024;

/// Finds where values lie in `bytes`; `is_cut`: more follow that are not here. Says whether a path ends in a name: what answers may be its value.
pub(crate) fn find(
    patterns: &Patterns,
    bytes: &[u8],
    is_cut: bool,
    places: &mut Vec<Range<usize>>,
) -> bool {
    let is_asked = find_as_is(patterns, bytes, is_cut, places);
    find_decoded(patterns, bytes, is_cut, places);
    is_asked
}

/// The same where quotes are encoded as in a URL, in each field of a form by itself: what is quoted there
/// is a text of its own.
fn find_decoded(patterns: &Patterns, bytes: &[u8], is_cut: bool, places: &mut Vec<Range<usize>>) {
    let mut start = 0;
    for field in bytes.split(|byte| *byte == b'&') {
        let mut decoded = escape::percents(field);
        for _ in 0..LEVELS_MAX {
            let Some((text, origins)) = decoded else { break };
            let from = places.len();
            let is_last = start + field.len() == bytes.len();
            find_as_is(patterns, &text, is_cut && is_last, places);
            for place in &mut places[from..] {
                *place = start + origins[place.start]..start + origins[place.end];
            }
            decoded = escape::percents(&text).map(|(text, inner)| {
                let origins = inner.into_iter().map(|at| origins[at]).collect();
                (text, origins)
            });
        }
        start += field.len() + 1;
    }
}

/// The same in `bytes` as they are written.
fn find_as_is(
    patterns: &Patterns,
    bytes: &[u8],
    is_cut: bool,
    places: &mut Vec<Range<usize>>,
) -> bool {
    let names = patterns.search(bytes);
    let mut around = Around::default();
    let (mut at, mut is_asked) = (0, false);
    while let Some(found) = names.find(at) {
        let key = Key::around(bytes, found);
        if found.is_whole && (key.start, key.end) != (found.start, found.end) {
            at = found.start + 1;
            continue;
        }
        let place = match key.after(bytes) {
            After::Value { at, is_pair } => {
                let (start, end) = value::extent(bytes, at, is_pair);
                start..end
            }
            After::Element(at) => {
                let start = unit(bytes, at).filter(|next| next.is(b'>')).map_or(at, |u| u.end);
                start..element::content(bytes, (key.start, key.end)).max(start)
            }
            After::Line(at) => at..line_end(bytes, at),
            After::Sibling(at) => at..bytes.len(),
            After::Attribute(at) => {
                let from = at.saturating_sub(TAG_MAX);
                let tag = memrchr(b'<', &bytes[from..key.start]).map(|open| from + open + 1);
                tag.unwrap_or(at)..element::rest(bytes, at)
            }
            After::Part(at) => {
                let (start, end) = element::part(bytes, at);
                start..end
            }
            After::Beside => around.advance(bytes, key.start),
            After::Segment(at) => {
                is_asked = true;
                at..word_end(bytes, at)
            }
            After::Option(at) => at..word_end(bytes, at),
            After::Path => {
                is_asked = true;
                key.end..key.end
            }
            After::Nothing => key.end..key.end,
        };
        at = place.end.max(found.end);
        if !place.is_empty() {
            places.push(place);
        }
    }
    if is_cut {
        places.extend(unnamed(bytes, &mut around));
    }
    is_asked
}

/// What is open at the end of bytes that were cut, if it has a value whose name may follow.
fn unnamed(bytes: &[u8], around: &mut Around) -> Option<Range<usize>> {
    let inner = around.advance(bytes, bytes.len());
    let is_open = !around.open.is_empty();
    let tag = memrchr(b'<', bytes).filter(|open| memchr(b'>', &bytes[*open..]).is_none());
    let start = tag.or(is_open.then_some(inner.start))?;
    has_value(&bytes[start..]).then_some(start..bytes.len())
}

/// Whether there may be a value whose name is beside it.
pub(crate) fn has_value(bytes: &[u8]) -> bool {
    bytes.windows(VALUE.len()).any(|word| word.eq_ignore_ascii_case(VALUE))
}

/// Finds names and passwords in front of hosts: `://user:password@`.
pub(crate) fn users(bytes: &[u8], places: &mut Vec<Range<usize>>) {
    let mut from = 0;
    while let Some(found) = memmem::find(&bytes[from..], b"://") {
        let start = from + found + 3;
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/?#\"'<>\\".contains(byte);
        let len = bytes[start..].iter().position(ends).unwrap_or(bytes.len() - start);
        if let Some(user) = memrchr(b'@', &bytes[start..start + len]) {
            places.push(start..start + user);
        }
        from = start + len;
    }
}

/// The end of a line, and of those that continue it: a cut line has its end there.
fn line_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(len) = memchr(b'\n', &bytes[at..]) {
        let end = at + len;
        if !matches!(bytes.get(end + 1), Some(b' ' | b'\t')) {
            return if end > at && bytes[end - 1] == b'\r' { end - 1 } else { end };
        }
        at = end + 1;
    }
    bytes.len()
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"?#\"&<".contains(byte);
    bytes[at..].iter().position(ends).map_or(bytes.len(), |len| at + len)
}

/// Which arrays and objects lie around a place, as far as was looked.
#[derive(Debug, Default)]
struct Around {
    open: Vec<usize>,
    /// Those within the innermost of `open` that are not told apart.
    deeper: usize,
    at: usize,
}

impl Around {
    /// The innermost array or object around `to`; all that follows where there is none.
    fn advance(&mut self, bytes: &[u8], to: usize) -> Range<usize> {
        while self.at < to {
            let Some(next) = unit(bytes, self.at) else { break };
            let start = std::mem::replace(&mut self.at, next.end);
            if next.is(b'"') && !next.is_encoded {
                let end = value::quoted(bytes, start, &next).1;
                // What is inside a text is not told apart from what is around the text.
                if end <= to {
                    self.at = end;
                    continue;
                }
                self.at = start;
                break;
            }
            self.bracket(&next, start);
        }
        let Some(start) = self.open.last().copied() else { return to..bytes.len() };
        let Some(open) = unit(bytes, start) else { return to..bytes.len() };
        let close = if open.is(b'[') { b']' } else { b'}' };
        start + 1..value::matching(bytes, start, &open, close).saturating_sub(1)
    }

    fn bracket(&mut self, next: &Unit, start: usize) {
        if next.is(b'[') || next.is(b'{') {
            if self.open.len() < DEPTH_MAX {
                self.open.push(start);
            } else {
                self.deeper += 1;
            }
        } else if next.is(b']') || next.is(b'}') {
            if self.deeper > 0 {
                self.deeper -= 1;
            } else {
                self.open.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests;
