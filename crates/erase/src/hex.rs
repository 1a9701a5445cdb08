//! Hex: bytes as lower-case digits, in JSON.

use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes; `None` if the text is something else.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pair = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(pair).collect()
}

pub(crate) fn serialize<S: Serializer, const N: usize>(
    value: &[u8; N],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(value))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
    from: D,
) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(from)?;
    let value = bytes(&text).and_then(|bytes| bytes.try_into().ok());
    value.ok_or_else(|| de::Error::custom(format!("give {} hex digits", 2 * N)))
}
