//! Path templates: segments that look like values become `{id}`, so that names stay few.
//!
//! Shapes, in the order in which they are tried: digits, dates, UUIDs, ULIDs, hex of eight and
//! more with a digit, e-mail addresses, long tokens of mixed characters. Bias: a word is never
//! taken for a value, so a user's name in a path stays; the cap per service takes care of those.

/// The path of a request with `{id}` in place of values: `/users/{id}/orders`.
pub fn path_template(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        out.push_str(if is_value(segment.as_bytes()) { "{id}" } else { segment });
    }
    out
}

/// Whether a segment of a path is a value and not a word.
fn is_value(segment: &[u8]) -> bool {
    let digits = segment.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return is_email(segment) || is_long_token(segment);
    }
    digits == segment.len()
        || is_date(segment)
        || is_uuid(segment)
        || is_ulid(segment)
        || is_hex(segment)
        || is_email(segment)
        || is_long_token(segment)
}

/// `2024-01-31`, perhaps with a time behind it.
fn is_date(segment: &[u8]) -> bool {
    segment.len() >= 10
        && segment[..10].iter().enumerate().all(|(index, byte)| match index {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
        && segment[10..].iter().all(|byte| byte.is_ascii_digit() || b"T:.Z+-%".contains(byte))
}

/// RFC 9562 §4: 8-4-4-4-12 hex digits.
fn is_uuid(segment: &[u8]) -> bool {
    segment.len() == 36
        && segment.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// 26 characters of Crockford's base 32, the first at most 7.
fn is_ulid(segment: &[u8]) -> bool {
    segment.len() == 26
        && segment[0] <= b'7'
        && segment.iter().all(|byte| {
            byte.is_ascii_alphanumeric() && !b"ILOU".contains(&byte.to_ascii_uppercase())
        })
}

/// Eight hex digits and more; `0x` may stand before.
fn is_hex(segment: &[u8]) -> bool {
    let hex = segment.strip_prefix(b"0x").unwrap_or(segment);
    hex.len() >= 8 && hex.iter().all(u8::is_ascii_hexdigit)
}

/// Something, an at sign (perhaps escaped), something with a dot.
fn is_email(segment: &[u8]) -> bool {
    let at = segment.iter().position(|byte| *byte == b'@').map(|at| (at, 1));
    let escaped = || segment.windows(3).position(|window| window == b"%40").map(|at| (at, 3));
    at.or_else(escaped).is_some_and(|(at, len)| at > 0 && segment[at + len..].contains(&b'.'))
}

/// Base 64 and its like: 20 characters and more, with a digit, with letters of both cases or no
/// vowels worth the name. Words joined by dashes, dots or underscores are not.
fn is_long_token(segment: &[u8]) -> bool {
    if segment.len() < 20 {
        return false;
    }
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=+~.%".contains(byte);
    let count = |test: fn(&u8) -> bool| segment.iter().filter(|byte| test(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let upper = count(u8::is_ascii_uppercase);
    let lower = count(u8::is_ascii_lowercase);
    segment.iter().all(of_token)
        && digits >= 2
        && (upper >= 2 && lower >= 2 || digits * 4 >= segment.len())
}

#[cfg(test)]
mod tests {
    use super::path_template;

    #[test]
    fn values_become_ids_and_words_stay() {
        let rows = [
            ("/", "/"),
            ("", ""),
            ("/users/42", "/users/{id}"),
            ("/users/42/orders/7/", "/users/{id}/orders/{id}/"),
            ("/v1/items", "/v1/items"),
            ("/api/v2beta1/x", "/api/v2beta1/x"),
            ("/d/2024-01-31", "/d/{id}"),
            ("/d/2024-01-31T10:00:00Z", "/d/{id}"),
            ("/o/6f9619ff-8b86-d011-b42d-00c04fc964ff", "/o/{id}"),
            ("/o/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/o/{id}"),
            ("/blobs/deadbeef", "/blobs/deadbeef"),
            ("/blobs/deadbeef01", "/blobs/{id}"),
            ("/commit/0x1f2e3d4c", "/commit/{id}"),
            ("/facade/decade", "/facade/decade"),
            ("/u/ann@example.com", "/u/{id}"),
            ("/u/ann%40example.com", "/u/{id}"),
            ("/t/dGhpcyBpcyBhIHRva2VuIDEyMzQ1", "/t/{id}"),
            ("/static/index-of-all-things-2024.html", "/static/index-of-all-things-2024.html"),
            ("/a-very-long-name-with-words-only", "/a-very-long-name-with-words-only"),
        ];
        for (path, expected) in rows {
            assert_eq!(path_template(path), expected, "{path}");
        }
    }
}
