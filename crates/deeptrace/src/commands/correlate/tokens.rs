//! Values in payloads, as hashes: words that may say whose request this is, and ids of tracers.

use std::collections::BTreeSet;

use deeptrace_model::hash_bytes;

/// Values of a span that are kept.
const TOKENS_MAX: usize = 64;
/// Shorter values say little, longer ones are text.
const LENGTH: std::ops::RangeInclusive<usize> = 3..=128;

/// Part of a value that may be an id of its own, in letters.
const PART: usize = 16;

/// Headers and fields that carry ids of tracers: W3C Trace Context, B3, Jaeger, SkyWalking, X-Ray,
/// Datadog, and request ids of proxies.
const CARRIERS: &[&str] = &[
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "uber-trace-id",
    "sw8",
    "x-amzn-trace-id",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-request-id",
    "x-correlation-id",
    "request_id",
    "request-id",
];

/// What was found in the payloads of one span.
#[derive(Default)]
pub struct Found {
    tokens: BTreeSet<u64>,
    carried: BTreeSet<u64>,
}

impl Found {
    /// Reads one payload: words between anything that is not part of one.
    pub fn read(&mut self, payload: &str) {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let mut is_carried = false;
        for line in payload.split(['\n', ',', '&', ';']) {
            for word in line.split(|c| !is_part(c)).filter(|word| !word.is_empty()) {
                if CARRIERS.iter().any(|carrier| carrier.eq_ignore_ascii_case(word)) {
                    is_carried = true;
                    continue;
                }
                let room = if is_carried { &mut self.carried } else { &mut self.tokens };
                if LENGTH.contains(&word.len()) && room.len() < TOKENS_MAX {
                    room.insert(hash_bytes(word.as_bytes()));
                }
                // W3C and others put several ids into one value (Trace Context §3.2).
                let parts = word.split('-').filter(|part| is_carried && part.len() >= PART);
                for part in parts.take(4) {
                    room.insert(hash_bytes(part.as_bytes()));
                }
            }
            is_carried = false;
        }
    }

    /// Hashes of what may be used, ordered: values, and ids of tracers.
    pub fn hashes(&self, values: bool, carried: bool) -> Vec<u64> {
        let values = self.tokens.iter().filter(|_| values);
        let carried = self.carried.iter().filter(|_| carried);
        values.chain(carried).copied().collect::<BTreeSet<u64>>().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_tracers_are_kept_apart() {
        let mut found = Found::default();
        found.read("GET /orders/A-17 HTTP/1.1\r\nX-Request-ID: abc-123\r\nAccept: x\r\n\r\n{\"request_id\":\"abc-123\"}");
        assert_eq!(found.hashes(false, true), vec![hash_bytes(b"abc-123")]);
        assert!(found.hashes(true, false).contains(&hash_bytes(b"A-17")));
        assert!(!found.hashes(true, false).contains(&hash_bytes(b"abc-123")));
        assert!(found.hashes(false, false).is_empty());
    }

    #[test]
    fn the_trace_id_of_w3c_is_the_same_on_both_sides() {
        let hashes = |span: &str| {
            let mut found = Found::default();
            found.read(&format!("traceparent: 00-0af7651916cd43dd8448eb211c80319c-{span}-01"));
            found.hashes(false, true)
        };
        let (one, other) = (hashes("b7ad6b7169203331"), hashes("00f067aa0ba902b7"));
        assert!(one.contains(&hash_bytes(b"0af7651916cd43dd8448eb211c80319c")));
        assert!(one.iter().any(|hash| other.contains(hash)));
    }
}
