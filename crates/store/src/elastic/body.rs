//! Body: all of a span, link or gap as bytes, in the field `body` beside those that are searched, so
//! that exactly what was written comes back. A byte with the version of the format, then postcard, in
//! base64.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

/// Version of the format: that of the structs of the vocabulary, field by field.
const VERSION: u8 = 1;

/// `value` as bytes; they replace what is in `out`.
pub(super) fn pack<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.clear();
    out.push(VERSION);
    let start = std::mem::take(out);
    *out = postcard::to_extend(value, start).expect("plain structs are encoded, and memory grows");
}

/// Those bytes as text.
pub(super) fn to_text(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// The bytes of a text; `None`: it is damaged.
pub(super) fn of_text(text: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode(text).ok()
}

/// The value of a text; `None`: it is damaged, or of another version.
pub(super) fn unpack<T: DeserializeOwned>(text: &str) -> Option<T> {
    let bytes = of_text(text)?;
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    postcard::from_bytes(rest).ok()
}
