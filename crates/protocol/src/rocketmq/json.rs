//! JSON of a header: an object of values, one of which is an object of texts (RFC 8259).

use std::borrow::Cow;
use std::ops::Range;

/// Objects within objects that are followed.
const DEPTH_MAX: usize = 4;

/// Whether an object with a member may begin here.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes[0] == b'{' && bytes.get(1).is_none_or(|byte| *byte == b'"')
}

/// What is told of a member: the depth of its object from 1, its name, its value without quotation
/// marks, and where that lies.
type Told<'a, 'b> = dyn FnMut(usize, &'a [u8], &'a [u8], Range<usize>) + 'b;

/// Tells members in order; `None` if the text is cut or broken, after all that were whole.
pub(super) fn members<'a>(text: &'a [u8], told: &mut Told<'a, '_>) -> Option<()> {
    let mut at = 0;
    object(text, &mut at, 1, told)?;
    text[at..].iter().all(u8::is_ascii_whitespace).then_some(())
}

fn object<'a>(text: &'a [u8], at: &mut usize, depth: usize, told: &mut Told<'a, '_>) -> Option<()> {
    (depth <= DEPTH_MAX).then_some(())?;
    take(text, at, b'{')?;
    if peek(text, at)? == b'}' {
        *at += 1;
        return Some(());
    }
    loop {
        let name = string(text, at)?;
        take(text, at, b':')?;
        match peek(text, at)? {
            b'{' => object(text, at, depth + 1, told)?,
            b'"' => {
                let value = string(text, at)?;
                told(depth, &text[name], &text[value.clone()], value);
            }
            _ => {
                let start = *at;
                let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b'{' | b'[' | b'"');
                let len = text[start..].iter().position(is_end)?;
                *at += len;
                let value = start..start + text[start..*at].trim_ascii_end().len();
                told(depth, &text[name], &text[value.clone()], value);
            }
        }
        match peek(text, at)? {
            b',' => *at += 1,
            b'}' => {
                *at += 1;
                return Some(());
            }
            _ => return None,
        }
    }
}

/// The next byte that is no blank.
fn peek(text: &[u8], at: &mut usize) -> Option<u8> {
    *at += text.get(*at..)?.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    text.get(*at).copied()
}

fn take(text: &[u8], at: &mut usize, wanted: u8) -> Option<()> {
    (peek(text, at)? == wanted).then_some(())?;
    *at += 1;
    Some(())
}

/// What is between quotation marks, as written.
fn string(text: &[u8], at: &mut usize) -> Option<Range<usize>> {
    take(text, at, b'"')?;
    let start = *at;
    loop {
        match text.get(*at)? {
            b'"' => break,
            b'\\' => *at += 2,
            _ => *at += 1,
        }
    }
    *at += 1;
    Some(start..*at - 1)
}

/// A text without escapes; broken ones are left as they are.
pub(super) fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else { break };
        rest = after;
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => {
                let digits = rest.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
                let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                // Halves of surrogates are of no use to us.
                let char = number.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(4..).unwrap_or_default();
            }
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}
