//! Bodies whose end is not announced by the head: chunked, or until the connection closes.

use memchr::memchr;

/// Bytes of a chunk's size line or of a trailer that are waited for.
const LINE_MAX: usize = 8 * 1024;

/// What follows in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Body {
    /// A head.
    #[default]
    None,
    /// RFC 9112 §7.1: the size line of a chunk.
    Chunk,
    /// RFC 9112 §7.1.2: trailer fields, then an empty line.
    Trailers,
    /// RFC 9112 §6.3, point 8.
    UntilClose,
}

/// What the front of the bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// No body is open.
    None,
    More,
    Broken,
    Part(u64),
    /// So many bytes, and then the message is whole.
    End(u64),
}

impl Body {
    pub(super) fn chunked() -> Self {
        Self::Chunk
    }

    /// Reads the next piece of the body.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Progress {
        match self {
            Self::None => Progress::None,
            // All of it was taken with the head.
            Self::UntilClose => Progress::Broken,
            Self::Chunk => self.chunk(bytes),
            Self::Trailers => self.trailer(bytes),
        }
    }

    fn chunk(&mut self, bytes: &[u8]) -> Progress {
        let Some(end) = line_end(bytes) else { return wait(bytes) };
        let Some(size) = chunk_size(&bytes[..end]) else { return Progress::Broken };
        if size == 0 {
            *self = Self::Trailers;
            return Progress::Part(end as u64);
        }
        // The data, and the line end behind it.
        Progress::Part(end as u64 + size + 2)
    }

    fn trailer(&mut self, bytes: &[u8]) -> Progress {
        let Some(end) = line_end(bytes) else { return wait(bytes) };
        if matches!(&bytes[..end], b"\r\n" | b"\n") {
            *self = Self::None;
            return Progress::End(end as u64);
        }
        Progress::Part(end as u64)
    }
}

/// Where the data of the first chunk begin, and how many there are; nothing where its size is not
/// there, or is none.
pub(super) fn first_chunk(bytes: &[u8]) -> Option<(usize, u64)> {
    let end = line_end(bytes)?;
    Some((end, chunk_size(&bytes[..end])?))
}

/// Length of the first line with its end.
fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr(b'\n', bytes).map(|at| at + 1)
}

fn wait(bytes: &[u8]) -> Progress {
    if bytes.len() < LINE_MAX { Progress::More } else { Progress::Broken }
}

/// `1a2b;extension\r\n`. At most 15 digits, so that no sum overflows.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let is_ended = matches!(line.get(digits)?, b'\r' | b'\n' | b';' | b' ' | b'\t');
    if !(1..=15).contains(&digits) || !is_ended {
        return None;
    }
    line[..digits]
        .iter()
        .try_fold(0u64, |size, digit| Some(size << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_end_with_their_trailers() {
        let mut body = Body::chunked();
        assert_eq!(body.advance(b"1a;x=y\r\n"), Progress::Part(8 + 26 + 2));
        assert_eq!(body.advance(b"1"), Progress::More);
        assert_eq!(body.advance(b"0\r\n\r\n"), Progress::Part(3));
        assert_eq!(body.advance(b"A: b\r\n\r\n"), Progress::Part(6));
        assert_eq!(body.advance(b"\r\n"), Progress::End(2));
        assert_eq!(body, Body::None);
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        for bad in ["\r\n", "x\r\n", "1x\r\n", "1000000000000000\r\n", "-1\r\n"] {
            assert_eq!(Body::chunked().advance(bad.as_bytes()), Progress::Broken, "{bad}");
        }
    }
}
