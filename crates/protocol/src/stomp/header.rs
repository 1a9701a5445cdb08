//! Headers of a frame: `name:value`, a line each, up to an empty line.

use std::borrow::Cow;
use std::ops::Range;

use deeptrace_model::TraceContext;

use crate::trace_context::TraceHeaders;

/// Headers of a frame that are looked at.
const HEADERS_MAX: usize = 128;

/// Headers of the frame that connects whose values may be kept; any other may be a secret.
const PUBLIC: [&str; 6] =
    ["accept-version", "host", "heart-beat", "login", "client-id", "content-length"];

/// What is there of the headers.
#[derive(Debug, Default)]
pub(super) struct Headers<'a> {
    lines: Vec<Line<'a>>,
    /// Bytes of the frame up to the body.
    end: usize,
}

#[derive(Debug)]
struct Line<'a> {
    name: &'a [u8],
    value: &'a [u8],
    /// Where the value lies in the frame.
    at: usize,
}

impl<'a> Headers<'a> {
    /// Reads the lines from `start` on, and says whether they are all there; `None` if one is none.
    pub(super) fn read(bytes: &'a [u8], start: usize, len_max: usize) -> Option<(Self, bool)> {
        let bytes = &bytes[..bytes.len().min(len_max)];
        let mut found = Self { lines: Vec::new(), end: start };
        while let Some(len) = memchr::memchr(b'\n', &bytes[found.end..]) {
            let at = found.end;
            let line = &bytes[at..at + len];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            found.end += len + 1;
            if line.is_empty() {
                return Some((found, true));
            }
            let colon = memchr::memchr(b':', line).filter(|colon| *colon > 0)?;
            if line.contains(&0) {
                return None;
            }
            if found.lines.len() < HEADERS_MAX {
                let (name, value) = (&line[..colon], &line[colon + 1..]);
                found.lines.push(Line { name, value, at: at + colon + 1 });
            }
        }
        Some((found, false))
    }

    /// The value of the first header of this name, which is the one that counts.
    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.lines
            .iter()
            .find(|line| line.name == name.as_bytes())
            .map(|line| line.value.trim_ascii())
    }

    /// The same as it is meant (STOMP 1.2, "Value Encoding"). Version 1.0 has no such signs; assumed is
    /// that its values have no backslashes before these letters.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.get(name).map(unescaped)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of the frame up to the body.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Where values lie that may be secrets.
    pub(super) fn secrets(&self) -> Vec<Range<usize>> {
        let is_public = |line: &&Line<'_>| !PUBLIC.iter().any(|name| line.name == name.as_bytes());
        let secret = self.lines.iter().filter(is_public);
        let mut ranges: Vec<_> = secret.map(|line| line.at..line.at + line.value.len()).collect();
        if self.lines.len() == HEADERS_MAX {
            ranges.push(0..usize::MAX);
        }
        ranges
    }

    pub(super) fn trace(&self) -> Option<TraceContext> {
        let mut trace = TraceHeaders::default();
        for line in &self.lines {
            trace.header(line.name, line.value);
        }
        trace.context()
    }
}

fn unescaped(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, after @ ..] = rest {
        let sign = after.first().filter(|_| *first == b'\\').and_then(|letter| match letter {
            b'c' => Some(b':'),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b'\\' => Some(b'\\'),
            _ => None,
        });
        plain.push(sign.unwrap_or(*first));
        rest = if sign.is_some() { &after[1..] } else { after };
    }
    Cow::Owned(plain)
}
