//! Elements of XML and HTML, and parts of `multipart/form-data`: where what they hold ends.

use memchr::memmem;

use crate::escape::unit;

/// Longest prefix of a namespace.
const PREFIX_MAX: usize = 64;

/// The attributes and content of the element whose name lies in `name`: up to what closes it.
pub(crate) fn content(bytes: &[u8], (start, end): (usize, usize)) -> usize {
    let (close, is_empty) = tag_end(bytes, end);
    if is_empty {
        return close;
    }
    // With its prefix, which is in the closing tag as well.
    let prefix = bytes[..start].iter().rev().take(PREFIX_MAX);
    let prefix = prefix.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b':');
    let name = &bytes[start - prefix.count()..end];
    let mut from = close;
    while let Some(found) = memmem::find(&bytes[from..], name) {
        let at = from + found;
        if bytes[..at].ends_with(b"/") {
            return if bytes[..at].ends_with(b"</") { at - 2 } else { at - 1 };
        }
        if bytes[..at].ends_with(b"%2F") || bytes[..at].ends_with(b"%2f") {
            return at - 3;
        }
        from = at + name.len();
    }
    bytes.len()
}

/// The rest of the element in whose tag `at` lies, with its text.
pub(crate) fn rest(bytes: &[u8], at: usize) -> usize {
    let (close, is_empty) = tag_end(bytes, at);
    if is_empty {
        return close;
    }
    memmem::find(&bytes[close..], b"</").map_or(bytes.len(), |len| close + len)
}

/// What a part holds whose parameters go on at `at`: where it begins, and where it ends.
pub(crate) fn part(bytes: &[u8], at: usize) -> (usize, usize) {
    let Some(blank) = memmem::find(&bytes[at..], b"\r\n\r\n") else { return (at, bytes.len()) };
    let start = at + blank + 4;
    let end = memmem::find(&bytes[start - 2..], b"\r\n--").map(|len| start - 2 + len);
    (start, end.unwrap_or(bytes.len()).max(start))
}

/// Behind the `>` of a tag, and whether it has no content (`/>`).
fn tag_end(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let mut is_slash = false;
    while let Some(next) = unit(bytes, at) {
        at = next.end;
        if next.is(b'>') {
            return (at, is_slash);
        }
        is_slash = next.is(b'/');
    }
    (bytes.len(), true)
}
