//! Shape of a message: the text without what differs from one time to the next, so that errors of one
//! kind are one group.

/// Characters of a shape, at most.
const SHAPE_MAX: usize = 200;

/// `text` with numbers as `{n}`, ids in hexadecimal as `{id}` and what is in quotes as `{text}`.
pub fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next().filter(|_| shape.len() < SHAPE_MAX) {
        let (len, put) = match first {
            '\'' | '"' | '`' => match rest[1..].find(first) {
                Some(end) => (end + 2, "{text}"),
                None => (1, &rest[..1]),
            },
            c if c.is_alphanumeric() => {
                let end = |c: char| !c.is_alphanumeric() && c != '-' && c != '_';
                let word = &rest[..rest.find(end).unwrap_or(rest.len())];
                (word.len(), named(word))
            }
            c => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        shape.push_str(put);
        rest = &rest[len..];
    }
    if shape.len() > SHAPE_MAX {
        let end = (0..=SHAPE_MAX).rev().find(|at| shape.is_char_boundary(*at)).unwrap_or(0);
        shape.truncate(end);
    }
    shape
}

/// A word, or what kind of number it is.
fn named(word: &str) -> &str {
    let has_digit = word.bytes().any(|b| b.is_ascii_digit());
    let is_hex = word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    match word {
        _ if !has_digit => word,
        _ if word.bytes().all(|b| b.is_ascii_digit()) => "{n}",
        _ if is_hex && word.len() >= 8 => "{id}",
        // `5ms`, `0x1f`, `10k`; a name such as `utf8` or `user-2` begins with a letter.
        _ if word.starts_with(|c: char| c.is_ascii_digit()) => "{n}",
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_left_out() {
        let cases = [
            ("", ""),
            ("500 Internal Server Error", "{n} Internal Server Error"),
            (
                "Duplicate entry 'anna' for key 'users.name'",
                "Duplicate entry {text} for key {text}",
            ),
            ("timeout after 30s on 10.0.0.7:5432", "timeout after {n} on {n}.{n}.{n}.{n}:{n}"),
            ("no order 3f2a9c1e-77aa-4b12-9d1e-0c5a2f6b8e11", "no order {id}"),
            ("column utf8 doesn't exist", "column utf8 doesn't exist"),
            ("größe 12 für `x`", "größe {n} für {text}"),
        ];
        for (text, expected) in cases {
            assert_eq!(shape(text), expected);
        }
        assert!(shape(&"é!".repeat(1_000)).len() <= SHAPE_MAX);
    }
}
