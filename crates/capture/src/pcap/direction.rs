//! Direction: which end of a flow is the server, where no SYN was seen.
//!
//! In this order: an end that was a server of another flow of the capture; the only port below
//! 1024; the only port outside of what Linux gives to clients (32768–60999); the lower port; and
//! between equal ports the end that is sent to. Biased towards servers with low ports; wrong for a
//! server on a high port whose client chose a lower one.

use std::net::SocketAddr;

/// Whether `a` is the server of a flow whose first packet goes from `a` to `b`.
pub(super) fn is_server(
    a: SocketAddr,
    b: SocketAddr,
    is_known: impl Fn(SocketAddr) -> bool,
) -> bool {
    let tests: [&dyn Fn(SocketAddr) -> bool; 3] =
        [&is_known, &|end| end.port() < 1024, &|end| !(32_768..=60_999).contains(&end.port())];
    for test in tests {
        let (a, b) = (test(a), test(b));
        if a != b {
            return a;
        }
    }
    a.port() < b.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_by_their_ports() {
        // First sender's port, the other's, whether the first is the server.
        let rows = [
            (40_000, 80, false),
            (80, 40_000, true),
            (5432, 51_000, true),
            (61_616, 33_000, true),
            (33_000, 61_616, false),
            (6379, 2000, false),
            (53, 53, false),
            (853, 700, false),
            (65_001, 65_000, false),
        ];
        let end = |last, port| SocketAddr::from(([10, 0, 0, last], port));
        for (a, b, expected) in rows {
            assert_eq!(is_server(end(1, a), end(2, b), |_| false), expected, "{a} {b}");
        }
        let known = end(2, 9000);
        assert!(!is_server(end(1, 80), known, |end| end == known));
        assert!(is_server(known, end(1, 80), |end| end == known));
    }
}
