//! Messages of HTTP/1: the target, the head, and the body as its head says it is encoded.

use std::ops::Range;

use memchr::{memchr, memmem};

use crate::body::{Encoding, starts_with};
use crate::chunks::Joined;
use crate::patterns::Patterns;
use crate::text;

/// Finds values in the front of a message. Says whether what answers it may be a value.
pub(crate) fn find(
    patterns: &Patterns,
    bytes: &[u8],
    is_cut: bool,
    places: &mut Vec<Range<usize>>,
) -> bool {
    let line = memchr(b'\n', bytes).unwrap_or(bytes.len());
    let target = target(&bytes[..line]);
    let mut search = |range: Range<usize>| {
        let from = places.len();
        let is_asked = text::find(patterns, &bytes[range.clone()], false, places);
        for place in &mut places[from..] {
            *place = place.start + range.start..place.end + range.start;
        }
        is_asked
    };
    // The end of a target that is not here may be a name.
    let is_asked = search(target.clone()) || (is_cut && line == bytes.len());
    let Some(end) = head_end(bytes) else {
        search(target.end..bytes.len());
        return is_asked;
    };
    search(target.end..end);
    body(patterns, bytes, end, is_cut, places);
    is_asked
}

/// Where the body begins.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// Where the target of a request line lies; of a status line, nothing.
fn target(line: &[u8]) -> Range<usize> {
    let Some(start) = memchr(b' ', line).filter(|_| !line.starts_with(b"HTTP/")) else {
        return 0..0;
    };
    let len = memchr(b' ', &line[start + 1..]).unwrap_or(line.len() - start - 1);
    start + 1..start + 1 + len
}

fn body(
    patterns: &Patterns,
    bytes: &[u8],
    start: usize,
    is_cut: bool,
    places: &mut Vec<Range<usize>>,
) {
    let encoding = encoding(&bytes[..start]);
    let joined;
    let body = if encoding.is_chunked {
        let Some(read) = Joined::read(bytes, start) else {
            return places.push(start..bytes.len());
        };
        joined = Some(read);
        joined.as_ref().map_or(&[][..], |joined| &joined.bytes)
    } else {
        joined = None;
        &bytes[start..]
    };
    if !encoding.is_searchable(body) || has_coded_part(body) {
        return places.push(start..bytes.len());
    }
    let from = places.len();
    text::find(patterns, body, is_cut, places);
    match joined {
        Some(joined) => {
            let found = places.split_off(from);
            found.iter().for_each(|place| joined.places(place, places));
        }
        None => {
            for place in &mut places[from..] {
                *place = place.start + start..place.end + start;
            }
        }
    }
}

/// Whether a part of a form is encoded by itself (RFC 2045 §6).
fn has_coded_part(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n');
    body.starts_with(b"--") && lines.any(|line| starts_with(line, b"content-transfer-encoding:"))
}

/// What the head says of the body.
fn encoding(head: &[u8]) -> Encoding<'_> {
    let mut encoding = Encoding::default();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-type") {
            encoding.media_type = Some(value);
        } else if name.eq_ignore_ascii_case(b"content-encoding") {
            encoding.is_coded |= !value.is_empty() && !value.eq_ignore_ascii_case(b"identity");
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encoding.is_chunked |= value.eq_ignore_ascii_case(b"chunked");
            encoding.is_coded |= !value.eq_ignore_ascii_case(b"chunked");
        }
    }
    encoding
}
