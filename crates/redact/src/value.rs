//! Values: how far the value of a key reaches, by what it begins with.

use memchr::{memchr, memmem};

use crate::escape::{Unit, unit};

/// Longest run that can be a number or a word of JSON.
const LITERAL_MAX: usize = 64;

/// What may come behind a value in quotes or brackets.
const ENDS: &[u8] = b"& \t\r\n,;)]}<>/\"'\\";

/// Where the value that begins at `at` lies, the quotes around it left out. `is_pair`: it came after an
/// equals sign, as in forms, and not after a colon.
pub(crate) fn extent(bytes: &[u8], at: usize, is_pair: bool) -> (usize, usize) {
    let Some(first) = unit(bytes, at) else { return (at, at) };
    if is_pair && first.is_encoded {
        // In a form that is a part of the value, whatever it stands for.
        return (at, bare(bytes, at, true));
    }
    let goes_on = |at: usize| is_pair && bytes.get(at).is_some_and(|b| !ENDS.contains(b));
    if first.is_quote() {
        let (end, behind) = quoted(bytes, at, &first);
        return (first.end, if goes_on(behind) { bare(bytes, behind, true) } else { end });
    }
    if let Some(close) = closing(&first) {
        let end = matching(bytes, at, &first, close);
        return (at, if goes_on(end) { bare(bytes, end, true) } else { end });
    }
    if first.is(b'$')
        && let Some(end) = dollar_quoted(bytes, at)
    {
        return (at, end);
    }
    if is_placeholder(bytes, at) {
        return (at, at);
    }
    if !is_pair && let Some(end) = literal(bytes, at) {
        return (at, end);
    }
    (at, bare(bytes, at, is_pair))
}

/// Where the text in quotes ends that `open`, at `at`, begins, and where what closes it ends.
pub(crate) fn quoted(bytes: &[u8], at: usize, open: &Unit) -> (usize, usize) {
    if open.is_encoded {
        let mark = &bytes[at..open.end];
        let end = memmem::find(&bytes[open.end..], mark).map(|len| open.end + len);
        return end.map_or((bytes.len(), bytes.len()), |end| (end, end + mark.len()));
    }
    let quote = open.char as u8;
    let period = open.slashes + 1;
    let mut from = open.end;
    while let Some(len) = memchr(quote, &bytes[from..]) {
        let end = from + len;
        let run = bytes[open.end..end].iter().rev().take_while(|byte| **byte == b'\\').count();
        let closes = run < open.slashes
            || (run % period == open.slashes && (run / period).is_multiple_of(2));
        if !closes {
            from = end + 1;
        } else if open.slashes == 0 && bytes.get(end + 1) == Some(&quote) {
            // Doubled, it stands for itself, as in SQL.
            from = end + 2;
        } else {
            return (end - run.min(open.slashes), end + 1);
        }
        from = from.min(bytes.len());
    }
    (bytes.len(), bytes.len())
}

fn closing(open: &Unit) -> Option<u8> {
    match u8::try_from(open.char).ok()? {
        b'[' => Some(b']'),
        b'{' => Some(b'}'),
        b'(' => Some(b')'),
        _ => None,
    }
}

/// Behind the bracket that closes the one at `at`.
pub(crate) fn matching(bytes: &[u8], at: usize, open: &Unit, close: u8) -> usize {
    let (mut depth, mut next) = (0usize, at);
    while let Some(found) = unit(bytes, next) {
        let start = std::mem::replace(&mut next, found.end);
        if found.is(b'"') {
            next = quoted(bytes, start, &found).1;
        } else if found.char == open.char {
            depth += 1;
        } else if found.is(close) {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return next;
            }
        }
    }
    bytes.len()
}

/// PostgreSQL's `$tag$ … $tag$`.
fn dollar_quoted(bytes: &[u8], at: usize) -> Option<usize> {
    let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let len = bytes[at + 1..].iter().take_while(|byte| is_tag(byte)).count();
    if bytes.get(at + 1 + len) != Some(&b'$') {
        return None;
    }
    let tag = &bytes[at..at + len + 2];
    let body = at + tag.len();
    Some(memmem::find(&bytes[body..], tag).map_or(bytes.len(), |end| body + end + tag.len()))
}

/// Whether what stands there stands for a value that is elsewhere: `?`, `$1`.
fn is_placeholder(bytes: &[u8], at: usize) -> bool {
    let rest = &bytes[at..];
    let len = match rest {
        [b'?', ..] => 1,
        [b'$', digits @ ..] => {
            let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if len == 0 || len > 5 {
                return false;
            }
            1 + len
        }
        _ => return false,
    };
    rest.get(len).is_none_or(|byte| matches!(byte, b' ' | b',' | b')' | b';' | b'\n'))
}

/// Behind a number, or `true`, `false` or `null`.
fn literal(bytes: &[u8], at: usize) -> Option<usize> {
    let is_of = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let len = bytes[at..].iter().take(LITERAL_MAX).take_while(|byte| is_of(byte)).count();
    let word = &bytes[at..at + len];
    let is_number = word.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
        && word[1..].iter().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte));
    let is_literal = is_number || matches!(word, b"true" | b"false" | b"null");
    let ends = bytes.get(at + len).is_some_and(|byte| b",}]\r\n".contains(byte));
    (is_literal && ends).then_some(at + len)
}

/// Behind a value without quotes.
fn bare(bytes: &[u8], at: usize, is_pair: bool) -> usize {
    let stops: &[u8] = if is_pair { b"&\r\n\"<>" } else { b"}\r\n\"<" };
    let rest = &bytes[at..];
    at + rest.iter().position(|byte| stops.contains(byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reaches_as_far_as_it_does() {
        for text in [
            r#":"<a\"b>",1"#,
            r#":"<a\\>","b""#,
            r#":\"<a\\\"b>\",1"#,
            r#":\"<a\\\\>\",1"#,
            r#":"<cut>"#,
            r#":"<cut\>"#,
            ":'<it''s>',1",
            ":%22<a%20b>%22%2C",
            ":&quot;<a>&quot;,",
            r#":<["a","]",{"b":1}]>,2"#,
            r#":<{"a":"}"}>,2"#,
            r#":<{\"a\":\"}\"}>,2"#,
            ":<[1,2>",
            ":<-1.5e3>,2",
            ":<12>}",
            ":<12>",
            ":<true>]",
            ":<a b>}",
            "=<a,b;c>&d=1",
            "=<$$a&b$$> x",
            "=<$t$a$$b$t$> x",
            "=<>? AND",
            "=<>$1,",
            "=<$12abc>",
            "=<%22a%22b>&c",
            "='<a'b>&c",
            "=<>",
        ] {
            let bytes = text.replace(['<', '>'], "").into_bytes();
            let place = text.find('<').unwrap()..text.find('>').unwrap() - 1;
            let (start, end) = extent(&bytes, 1, text.starts_with('='));
            assert_eq!(start..end, place, "{text}");
        }
    }
}
