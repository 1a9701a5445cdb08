//! Names with their compression pointers (RFC 1035 §3.1, §4.1.4).

use std::fmt::Write;

/// Bytes of a name on the wire.
const NAME_MAX: usize = 255;

/// Reads the name at `at`: as text in small letters (names differ in case only to make guessing
/// harder), and where it ends. `None` if it is none or is cut.
pub(super) fn read(message: &[u8], at: usize) -> Option<(String, usize)> {
    let mut text = String::new();
    let end = walk(message, at, |label| {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => text.extend(['\\', char::from(*byte)]),
                b'!'..=b'~' => text.push(char::from(byte.to_ascii_lowercase())),
                // RFC 1035 §5.1; writing to a text cannot fail.
                _ => {
                    let _ = write!(text, "\\{byte:03}");
                }
            }
        }
    })?;
    if text.is_empty() {
        text.push('.');
    }
    Some((text, end))
}

/// Where the name at `at` ends.
pub(super) fn skip(message: &[u8], at: usize) -> Option<usize> {
    walk(message, at, |_| {})
}

/// Whether there is a pointer in the name at `at`.
pub(super) fn has_pointer(message: &[u8], mut at: usize) -> bool {
    while let Some(length @ 1..=63) = message.get(at) {
        at += 1 + usize::from(*length);
    }
    message.get(at).is_some_and(|byte| *byte != 0)
}

fn walk(message: &[u8], mut at: usize, mut label: impl FnMut(&[u8])) -> Option<usize> {
    let mut end = None;
    let mut length_so_far = 0;
    // Each pointer must lead further back than the last, so it ends.
    let mut lowest = at;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return end.or(Some(at + 1)),
            1..=63 => {
                let next = at + 1 + usize::from(length);
                label(message.get(at + 1..next)?);
                length_so_far += 1 + usize::from(length);
                if length_so_far > NAME_MAX {
                    return None;
                }
                at = next;
            }
            0xc0.. => {
                let target = usize::from(length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                if target >= lowest {
                    return None;
                }
                end = end.or(Some(at + 2));
                lowest = target;
                at = target;
            }
            _ => return None,
        }
    }
}
