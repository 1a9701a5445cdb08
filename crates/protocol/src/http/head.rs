//! Header fields of a head (RFC 9112 §5), as far as they say something to us.

use std::ops::Range;

use memchr::memchr;

use crate::trace_context::TraceHeaders;
use crate::web::meaning::Words;
use crate::web::{is_secret, number};

/// What the fields of a head say.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields<'a> {
    /// Whether the empty line at the end was there.
    pub(super) is_whole: bool,
    /// Length of the head with its empty line; of what was there.
    pub(super) end: usize,
    pub(super) length: Option<u64>,
    /// The last transfer coding is `chunked`.
    pub(super) is_chunked: bool,
    /// The connection goes on in HTTP/2 (RFC 7540 §3.2), which answers the request.
    pub(super) is_h2c: bool,
    pub(super) host: Option<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
    pub(super) trace: TraceHeaders,
    /// What detectors look at.
    pub(super) words: Words<'a>,
    /// Where values lie that must not be kept.
    pub(super) redact: Vec<Range<usize>>,
}

impl<'a> Fields<'a> {
    /// Reads the fields that begin at `at`, up to the empty line or the end of the bytes.
    pub(super) fn read(bytes: &'a [u8], mut at: usize) -> Self {
        let mut fields = Self::default();
        while let Some(len) = memchr(b'\n', &bytes[at..]) {
            let line = &bytes[at..at + len];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                fields.is_whole = true;
                fields.end = at + len + 1;
                return fields;
            }
            fields.line(line, at);
            at += len + 1;
        }
        fields.end = bytes.len();
        // A line that is cut off may hold the beginning of a secret.
        if let Some((name, value)) = split(&bytes[at..])
            && is_secret(name)
        {
            fields.redact.push(at + value.start..bytes.len());
        }
        fields
    }

    fn line(&mut self, line: &'a [u8], at: usize) {
        let Some((name, range)) = split(line) else { return };
        let value = &line[range.clone()];
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        self.words.field(name, value);
        match name.len() {
            4 if is(b"host") => self.host = Some(value),
            7 if is(b"upgrade") => self.is_h2c = value.eq_ignore_ascii_case(b"h2c"),
            10 if is(b"user-agent") => self.user_agent = Some(value),
            14 if is(b"content-length") => self.length = number(value),
            17 if is(b"transfer-encoding") => self.is_chunked = ends_chunked(value),
            2 | 11 => self.trace.header(name, value),
            _ if is_secret(name) => self.redact.push(at + range.start..at + range.end),
            12 => self.trace.header(name, value),
            _ => {}
        }
    }
}

/// Name, and where the value lies without the white space around it.
fn split(line: &[u8]) -> Option<(&[u8], Range<usize>)> {
    let colon = memchr(b':', line)?;
    let rest = &line[colon + 1..];
    let before = rest.len() - rest.trim_ascii_start().len();
    let start = colon + 1 + before;
    Some((&line[..colon], start..start + rest.trim_ascii().len()))
}

/// RFC 9112 §6.1: `chunked` is the last coding.
fn ends_chunked(value: &[u8]) -> bool {
    let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
    last.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::SECRET_FIELDS;

    #[test]
    fn every_secret_field_is_overwritten() {
        for name in SECRET_FIELDS {
            let mut head = name.to_ascii_uppercase();
            head.extend_from_slice(b": top\r\n\r\n");
            let start = name.len() + 2;
            assert_eq!(Fields::read(&head, 0).redact.first(), Some(&(start..start + 3)));
        }
        assert!(Fields::read(b"x-other-token: top\r\n\r\n", 0).redact.is_empty());
    }
}
