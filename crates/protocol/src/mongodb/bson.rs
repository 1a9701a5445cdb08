//! BSON (bsonspec.org, version 1.1): the elements of a document, one after the other. Values are
//! passed over by their lengths; nothing is copied, and a document that is cut off gives what is
//! there of it.

use std::borrow::Cow;

/// Names of fields are not longer; in commands they are words.
const KEY_MAX: usize = 1024;

/// Length of a document and its closing NUL.
const EMPTY: u32 = 5;

/// The elements of a document, in order, as far as they are there and well-formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a> {
    rest: &'a [u8],
    /// What follows can't be BSON.
    is_bad: bool,
}

/// One element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) kind: u8,
    pub(super) key: &'a [u8],
    /// What is there of the value.
    value: &'a [u8],
}

/// A little-endian number of four bytes.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl<'a> Elements<'a> {
    /// The elements of the document at the front; `None` where its length is missing, or larger than
    /// `room`.
    pub(super) fn of(bytes: &'a [u8], room: u64) -> Option<Self> {
        let len = number(bytes, 0)?;
        if len < EMPTY || u64::from(len) > room {
            return None;
        }
        let end = bytes.len().min(len as usize);
        Some(Self { rest: &bytes[4..end], is_bad: false })
    }

    /// Whether all that is there is well-formed, as far as one looks.
    pub(super) fn is_sound(mut self, elements_max: usize) -> bool {
        let _ = self.by_ref().take(elements_max).count();
        !self.is_bad
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (kind, rest) = self.rest.split_first()?;
        let rest = if *kind == 0 { &[] } else { rest };
        self.rest = &[];
        let window = &rest[..rest.len().min(KEY_MAX)];
        let Some(end) = window.iter().position(|byte| *byte == 0) else {
            self.is_bad |= rest.len() >= KEY_MAX || (*kind != 0 && !is_kind(*kind));
            return None;
        };
        let (key, value) = (&rest[..end], &rest[end + 1..]);
        self.is_bad |= std::str::from_utf8(key).is_err() || !is_kind(*kind);
        if self.is_bad {
            return None;
        }
        let len = value_len(*kind, value);
        let seen = len.map_or(value.len(), |len| len.min(value.len()));
        if len.is_some_and(|len| len <= value.len()) {
            self.rest = &value[seen..];
        }
        self.is_bad = is_overflow(*kind, value);
        Some(Element { kind: *kind, key, value: &value[..seen] })
    }
}

impl<'a> Element<'a> {
    /// The text of a string.
    pub(super) fn text(&self) -> Option<Cow<'a, str>> {
        let is_text = matches!(self.kind, 0x02 | 0x0d | 0x0e);
        let bytes = is_text.then(|| self.value.get(4..)).flatten()?;
        Some(String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)))
    }

    /// A number of any kind, or a truth value.
    pub(super) fn number(&self) -> Option<f64> {
        let eight = || self.value.first_chunk::<8>();
        Some(match self.kind {
            0x01 => f64::from_le_bytes(*eight()?),
            0x08 => f64::from(*self.value.first()?),
            0x10 => f64::from(i32::from_le_bytes(*self.value.first_chunk()?)),
            0x12 => i64::from_le_bytes(*eight()?) as f64,
            _ => return None,
        })
    }

    /// The elements of a document or an array.
    pub(super) fn elements(&self) -> Option<Elements<'a>> {
        let is_nested = matches!(self.kind, 0x03 | 0x04);
        is_nested.then(|| Elements::of(self.value, u64::MAX)).flatten()
    }
}

fn is_kind(kind: u8) -> bool {
    matches!(kind, 0x01..=0x13 | 0x7f | 0xff)
}

/// Length of a value, `None` where the bytes that tell it are missing.
fn value_len(kind: u8, value: &[u8]) -> Option<usize> {
    let length = || number(value, 0).and_then(|len| usize::try_from(len).ok());
    match kind {
        0x06 | 0x0a | 0x7f | 0xff => Some(0),
        0x08 => Some(1),
        0x10 => Some(4),
        0x01 | 0x09 | 0x11 | 0x12 => Some(8),
        0x07 => Some(12),
        0x13 => Some(16),
        0x02 | 0x0d | 0x0e => length()?.checked_add(4),
        0x0c => length()?.checked_add(16),
        0x05 => length()?.checked_add(5),
        0x03 | 0x04 | 0x0f => Some(length()?.max(EMPTY as usize)),
        0x0b => {
            let mut ends = value.iter().enumerate().filter(|byte| *byte.1 == 0);
            Some(ends.nth(1)?.0 + 1)
        }
        _ => None,
    }
}

/// Whether a length is such as no value has (documents are at most 16 MiB, replies a little more).
fn is_overflow(kind: u8, value: &[u8]) -> bool {
    let has_length = matches!(kind, 0x02..=0x05 | 0x0c..=0x0f);
    has_length && number(value, 0).is_some_and(|len| len > super::header::LEN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{a: "x", b: {c: 1.5}, d: [true], e: /r/i, f: null, g: -1, h: ObjectId}`.
    const DOCUMENT: &[u8] = b"\x4b\0\0\0\x02a\0\x02\0\0\0x\0\x03b\0\x10\0\0\0\x01c\0\0\0\0\0\0\0\xf8\x3f\0\
        \x04d\0\x09\0\0\0\x080\0\x01\0\x0be\0r\0i\0\x0af\0\x10g\0\xff\xff\xff\xff\x07h\0aaaabbbbcccc\0";

    #[test]
    fn elements_are_walked() {
        let elements = Elements::of(DOCUMENT, 100).expect("a document");
        assert!(elements.is_sound(100));
        let found: Vec<_> = elements.map(|e| (e.kind, String::from_utf8_lossy(e.key))).collect();
        let keys: String = found.iter().map(|e| &*e.1).collect();
        assert_eq!(keys, "abcdefgh".replace('c', ""));
        let mut elements = elements;
        assert_eq!(elements.next().and_then(|e| e.text()).as_deref(), Some("x"));
        let nested = elements.next().and_then(|e| e.elements()).and_then(|mut e| e.next());
        assert_eq!(nested.and_then(|e| e.number()), Some(1.5));
        assert_eq!(elements.find(|e| e.key == b"g").and_then(|e| e.number()), Some(-1.0));
    }

    #[test]
    fn any_prefix_is_sound_and_other_bytes_are_not() {
        for end in 4..DOCUMENT.len() {
            assert!(Elements::of(&DOCUMENT[..end], 100).expect("a length").is_sound(100), "{end}");
        }
        assert!(Elements::of(DOCUMENT, 10).is_none());
        assert!(Elements::of(b"\x04\0\0\0", 10).is_none());
        let bad = Elements::of(b"\x10\0\0\0\x42abc\0defg", 100).expect("a length");
        assert!(!bad.is_sound(100));
        let huge = Elements::of(b"\x10\0\0\0\x02a\0\xff\xff\xff\xffx", 100).expect("a length");
        assert!(!huge.is_sound(100));
    }
}
