//! Bodies: whether what a body is encoded in can be searched (RFC 9110 §8.3, §8.4).

/// Types whose bodies name what they hold.
const TYPES: &[&[u8]] = &[
    b"application/graphql",
    b"application/javascript",
    b"application/json",
    b"application/ndjson",
    b"application/x-ndjson",
    b"application/x-www-form-urlencoded",
    b"application/xml",
    b"application/yaml",
    b"multipart/form-data",
    b"text/",
];

/// Endings of types with a syntax that is in the list (RFC 6839).
const SYNTAXES: &[&[u8]] = &[b"+json", b"+xml", b"+yaml", b"-amz-json-1.0", b"-amz-json-1.1"];

/// What a head says of its body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Encoding<'a> {
    pub(crate) media_type: Option<&'a [u8]>,
    /// A content coding other than `identity`, or a transfer coding other than `chunked`.
    pub(crate) is_coded: bool,
    pub(crate) is_chunked: bool,
}

impl Encoding<'_> {
    /// Whether names can be found in `body`, which may be cut.
    pub(crate) fn is_searchable(&self, body: &[u8]) -> bool {
        !self.is_coded && self.is_of_names(body) && is_text(body)
    }

    fn is_of_names(&self, body: &[u8]) -> bool {
        let Some(media_type) = self.media_type else {
            // Nobody says what it is: JSON and XML tell by themselves.
            return matches!(body.trim_ascii_start(), [] | [b'{' | b'[' | b'<', ..]);
        };
        let end = media_type.iter().position(|byte| *byte == b';').unwrap_or(media_type.len());
        let name = media_type[..end].trim_ascii();
        TYPES.iter().any(|known| starts_with(name, known))
            || SYNTAXES.iter().any(|ending| {
                let at = name.len().checked_sub(ending.len());
                at.is_some_and(|at| starts_with(&name[at..], ending))
            })
    }
}

/// Whether `bytes` begin with `front`, in any case.
pub(crate) fn starts_with(bytes: &[u8], front: &[u8]) -> bool {
    bytes.get(..front.len()).is_some_and(|start| start.eq_ignore_ascii_case(front))
}

/// Whether these are characters of UTF-8, perhaps cut, without control characters but white space. Quoted
/// printable and base64, which parts of mail and forms may be in, are not.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    let is_control = |byte: &u8| (*byte < 0x20 && !b"\t\r\n".contains(byte)) || *byte == 0x7f;
    valid && !bytes.iter().any(is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_searched() {
        let of = |media_type: &'static [u8], body: &[u8]| {
            Encoding { media_type: Some(media_type), ..Encoding::default() }.is_searchable(body)
        };
        assert!(of(b"Application/JSON; charset=utf-8", b"{}"));
        assert!(of(b"application/problem+json", "{\"ü\"".as_bytes()));
        assert!(of(b"text/plain", &"ü".as_bytes()[..1]), "a character may be cut");
        assert!(!of(b"application/json", b"\x1f\x8b\x08"));
        assert!(!of(b"text/plain", b"h\0i\0"));
        assert!(!of(b"application/grpc", b"\n\rhunter2222222"));
        let none = Encoding::default();
        assert!(none.is_searchable(b" {\"a\":1}") && !none.is_searchable(b"\n\rhunter"));
        assert!(!Encoding { is_coded: true, ..none }.is_searchable(b"{}"));
    }
}
