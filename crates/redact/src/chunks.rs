//! Chunks (RFC 9112 §7.1): a body that was cut into them, put together, with where its bytes came from.

use std::ops::Range;

use memchr::memchr;

/// A body without the lines between its chunks.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) bytes: Vec<u8>,
    /// Where each chunk begins: in `bytes`, and in the payload.
    starts: Vec<(usize, usize)>,
}

impl Joined {
    /// Reads what begins at `at`; `None` if it is not made of chunks.
    pub(crate) fn read(bytes: &[u8], mut at: usize) -> Option<Self> {
        let mut joined = Self::default();
        while let Some(line) = memchr(b'\n', &bytes[at..]) {
            let digits = bytes[at..at + line].iter().take_while(|b| b.is_ascii_hexdigit()).count();
            let size = std::str::from_utf8(&bytes[at..at + digits]).ok()?;
            let size = usize::from_str_radix(size, 16).ok()?;
            at += line + 1;
            if size == 0 {
                break;
            }
            let end = at.saturating_add(size).min(bytes.len());
            joined.starts.push((joined.bytes.len(), at));
            joined.bytes.extend_from_slice(&bytes[at..end]);
            // The line end behind a chunk.
            at = (end + 2).min(bytes.len());
        }
        Some(joined)
    }

    /// Where a place in `bytes` lies in the payload; each chunk has its part.
    pub(crate) fn places(&self, place: &Range<usize>, places: &mut Vec<Range<usize>>) {
        for (index, (start, origin)) in self.starts.iter().enumerate() {
            let end = self.starts.get(index + 1).map_or(self.bytes.len(), |next| next.0);
            let (from, to) = (place.start.max(*start), place.end.min(end));
            if from < to {
                places.push(origin + from - start..origin + to - start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_two_chunks_is_found_in_both() {
        let joined = Joined::read(b"2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n", 0).unwrap();
        assert_eq!(joined.bytes, b"abcde");
        let mut places = Vec::new();
        joined.places(&(1..4), &mut places);
        assert_eq!(places, [4..5, 14..16]);
        assert!(Joined::read(b"zz\r\n", 0).is_none());
        assert_eq!(Joined::read(b"ff\r\nabc", 0).unwrap().bytes, b"abc");
    }
}
