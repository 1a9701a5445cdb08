//! What all versions of HTTP have in common: RFC 9110 (semantics), RFC 3986 (targets), and what of it
//! must not be kept.

mod elasticsearch;
mod genai;
mod graphql;
mod json;
mod jsonrpc;
pub(crate) mod meaning;
mod s3;
mod soap;

use std::ops::Range;

use memchr::memchr;

/// The methods that OpenTelemetry knows; others are `_OTHER`.
pub(crate) const METHODS: &[&str] =
    &["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"];

/// Fields whose values are never kept.
pub(crate) const SECRET_FIELDS: &[&[u8]] = &[
    b"api-key",
    b"authorization",
    b"cookie",
    b"proxy-authorization",
    b"set-cookie",
    b"x-access-token",
    b"x-amz-security-token",
    b"x-api-key",
    b"x-auth-token",
    b"x-csrf-token",
    b"x-goog-api-key",
    b"x-goog-iam-authorization-token",
    b"x-vault-token",
    b"x-xsrf-token",
];

/// Query parameters whose values are never kept (OpenTelemetry, `url.query`).
const SECRET_PARAMETERS: &[&str] = &["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

/// Bytes of a target or field that go into an attribute.
const TEXT_MAX: usize = 2048;

/// Whether the value of a field must not be kept.
pub(crate) fn is_secret(name: &[u8]) -> bool {
    SECRET_FIELDS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// RFC 9110 §8.6. Several equal values in one line are allowed there; the first is taken.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    let first = value.split(|byte| *byte == b',').next()?.trim_ascii();
    let is_number = (1..=18).contains(&first.len()) && first.iter().all(u8::is_ascii_digit);
    is_number.then(|| first.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// A path, and the query behind it.
pub(crate) fn path_and_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// `host`, `host:port`, `[v6]:port`.
pub(crate) fn host_and_port(authority: &[u8]) -> Option<(&[u8], Option<i64>)> {
    let colon = authority.iter().rposition(|byte| *byte == b':');
    let bracket = authority.iter().rposition(|byte| *byte == b']');
    let (host, port) = match colon {
        Some(colon) if bracket.is_none_or(|bracket| bracket < colon) => {
            let port = std::str::from_utf8(&authority[colon + 1..]).ok()?.parse::<u16>().ok();
            (&authority[..colon], port.map(i64::from))
        }
        _ => (authority, None),
    };
    let host = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
    (!host.is_empty()).then_some((host, port))
}

/// Whether a parameter of a query is secret.
fn is_secret_pair(pair: &[u8]) -> bool {
    SECRET_PARAMETERS.iter().any(|secret| {
        pair.strip_prefix(secret.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    })
}

/// Whether a query has secret parameters.
pub(crate) fn has_secret(query: &[u8]) -> bool {
    query.split(|byte| *byte == b'&').any(is_secret_pair)
}

/// The query with the values of secret parameters replaced; `redact` gets where they lie.
pub(crate) fn hide_secrets(query: &[u8], at: usize, redact: &mut Vec<Range<usize>>) -> String {
    if !has_secret(query) {
        return text(query);
    }
    let mut out = Vec::with_capacity(query.len());
    let mut start = at;
    for pair in query.split(|byte| *byte == b'&') {
        if !out.is_empty() {
            out.push(b'&');
        }
        match memchr(b'=', pair).filter(|_| is_secret_pair(pair)) {
            Some(equals) => {
                redact.push(start + equals + 1..start + pair.len());
                out.extend_from_slice(&pair[..=equals]);
                out.extend_from_slice(b"REDACTED");
            }
            None => out.extend_from_slice(pair),
        }
        start += pair.len() + 1;
    }
    text(&out)
}

/// Bytes as bounded text; what is not UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]).into_owned()
}
