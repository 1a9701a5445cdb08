//! Direction: which end of a flow is the server, where no SYN was seen.
//!
//! In this order: an end that was a server of another flow of the capture; the only port below
//! 1024; the only port outside of what Linux gives to clients (32768–60999); the lower port; and
//! between equal ports the end that is sent to. Biased towards servers with low ports; wrong for a
//! server on a high port whose client chose a lower one. So where the range of clients does not tell,
//! it is a guess that must not keep a parser from seeing for itself who asks.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// These are as likely a client's: other systems than Linux, and NAT, give more of them out.
const DOUBTFUL: RangeInclusive<u16> = 10_000..=60_999;

/// Which end is the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Guess {
    /// The sender of the flow's first packet is.
    pub(super) is_sender: bool,
    /// It is more than a guess.
    pub(super) is_sure: bool,
}

/// Tells the server of a flow whose first packet goes from `a` to `b`.
pub(super) fn guess(a: SocketAddr, b: SocketAddr, is_known: impl Fn(SocketAddr) -> bool) -> Guess {
    let tests: [&dyn Fn(SocketAddr) -> bool; 3] =
        [&is_known, &|end| end.port() < 1024, &|end| !(32_768..=60_999).contains(&end.port())];
    for test in tests {
        let is_sender = test(a);
        if is_sender != test(b) {
            let server = if is_sender { a } else { b };
            let is_sure = !DOUBTFUL.contains(&server.port()) || is_known(server);
            return Guess { is_sender, is_sure };
        }
    }
    Guess { is_sender: a.port() < b.port(), is_sure: false }
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
            assert_eq!(guess(end(1, a), end(2, b), |_| false).is_sender, expected, "{a} {b}");
        }
        let known = end(2, 9000);
        assert!(!guess(end(1, 80), known, |end| end == known).is_sender);
        assert!(guess(known, end(1, 80), |end| end == known).is_sender);
    }

    #[test]
    fn between_ports_of_clients_it_is_a_guess() {
        let end = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let guess = |a, b| guess(end(a), end(b), |end| end.port() == 30_000);
        assert_eq!(guess(5432, 40_000), Guess { is_sender: true, is_sure: true });
        assert_eq!(guess(33_000, 61_616), Guess { is_sender: false, is_sure: true });
        assert_eq!(guess(30_120, 36_333), Guess { is_sender: true, is_sure: false });
        assert_eq!(guess(7240, 8080), Guess { is_sender: true, is_sure: false });
        assert_eq!(guess(50_000, 30_000), Guess { is_sender: false, is_sure: true });
    }
}
