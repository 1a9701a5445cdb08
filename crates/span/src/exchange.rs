//! Names of exchanges that both sides see alike, whatever NAT did to the addresses.
//!
//! UNIX sockets have no sequence numbers. Both ends are on this host, and each counts its bytes
//! since it was opened or found. The sender's count is the one that both sides use; the
//! receiver's differs by a constant, which shows when the queue between them is empty: then all
//! that was sent was received. Events are stamped late, so a sender's count may lag behind what
//! the receiver has read already; the largest difference that was seen is the right one.

use deeptrace_bounded::Bounded;
use deeptrace_model::{
    Call, ConnectionId, Direction, Exchange, ExchangeKind, Message, Open, Origin, Transport, hash64,
};

use crate::connection::Ends;
use crate::spans::CONNECTIONS_MAX;

/// Pairs of UNIX sockets that are kept. A pair has at least one end that is known, so that one only has to
/// make room for another where descriptions are missing.
const PAIRS_MAX: usize = CONNECTIONS_MAX;

/// How sure an exchange is whose sockets were found half-way and not yet seen empty. At most moments a
/// queue is.
const UNALIGNED: f32 = 0.9;

/// Pairs of UNIX sockets, by name.
#[derive(Debug)]
pub(crate) struct Pairs {
    pairs: Bounded<u64, Pair>,
    /// Pairs that made room because there were too many.
    pub shed: u64,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { pairs: Bounded::new(PAIRS_MAX), shed: 0 }
    }
}

#[derive(Debug, Default)]
struct Pair {
    ends: [End; 2],
}

#[derive(Debug, Default)]
struct End {
    /// Whether its counts began with the connection's first byte.
    is_whole: bool,
    is_open: bool,
    /// Bytes it sent so far.
    sent: u64,
    /// What the other end's count of sent bytes is ahead of this end's count of received ones.
    ahead: Option<i64>,
}

impl Pairs {
    /// One end became known.
    pub fn open(&mut self, open: &Open) {
        let Some((name, side)) = open.unix_pair else { return };
        if !self.pairs.touch(name) {
            self.shed += u64::from(self.pairs.insert(name, Pair::default()).is_some());
        }
        let Some(pair) = self.pairs.touched() else { return };
        let end = &mut pair.ends[usize::from(side)];
        *end = End {
            is_whole: matches!(open.origin, Origin::Connected | Origin::Accepted),
            is_open: true,
            sent: open.sent,
            ahead: None,
        };
    }

    /// One end moved bytes.
    pub fn call(&mut self, pair: (u64, bool), call: &Call<'_>) {
        let Some(known) = self.pairs.get_mut(pair.0) else { return };
        let (own, other) = (usize::from(pair.1), usize::from(!pair.1));
        let end = call.start + u64::from(call.len);
        match call.direction {
            Direction::Sent => known.ends[own].sent = end,
            Direction::Received if call.drained && known.ends[other].is_open => {
                let ahead = known.ends[other].sent.wrapping_sub(end) as i64;
                let seen = &mut known.ends[own].ahead;
                *seen = Some(seen.map_or(ahead, |before| before.max(ahead)));
            }
            Direction::Received => {}
        }
    }

    /// One end was closed. The pair is forgotten with its second end.
    pub fn close(&mut self, pair: (u64, bool)) {
        let Some(known) = self.pairs.get_mut(pair.0) else { return };
        known.ends[usize::from(pair.1)].is_open = false;
        if known.ends.iter().all(|end| !end.is_open) {
            self.pairs.remove(pair.0);
        }
    }

    /// `position` as the sender counts, and how sure that is.
    fn normalise(&self, pair: (u64, bool), direction: Direction, position: u64) -> (u64, f32) {
        let Some(known) = self.pairs.get(pair.0) else { return (position, 0.0) };
        let is_whole = known.ends.iter().all(|end| end.is_whole);
        // The end that received these bytes: this one, or the other.
        let receiver = usize::from(pair.1 == (direction == Direction::Received));
        match (is_whole, known.ends[receiver].ahead, direction) {
            (true, _, _) => (position, 1.0),
            (false, Some(_), Direction::Sent) => (position, 1.0),
            (false, Some(ahead), Direction::Received) => (position.wrapping_add_signed(ahead), 1.0),
            (false, None, _) => (position, UNALIGNED),
        }
    }

    /// The exchange of `request` and `response` on `connection`.
    pub fn exchange(
        &self,
        connection: ConnectionId,
        ends: &Ends,
        request: &Message,
        response: Option<&Message>,
    ) -> Exchange {
        let (kind, confidence, request_at, response_at) = match ends.transport {
            Some(Transport::UnixStream) => self.unix(connection, ends, request, response),
            Some(Transport::Udp | Transport::UnixDatagram) => {
                // By their bytes and not by addresses: both sides see the same bytes, also behind
                // NAT, and a socket that is bound to all addresses does not know its own.
                let named = |message: &Message| hash64(&[message.size, message.head_hash]);
                (ExchangeKind::Datagram, 1.0, named(request), response.map(named))
            }
            // The low 32 bits are the kernel's sequence number, which both sides share. Of a socket that
            // is not described nobody knows whether it counts so: small counts of bytes meet by chance.
            transport @ (Some(Transport::Tcp) | None) => {
                let sequence = |message: &Message| message.start & 0xffff_ffff;
                let sure = if transport.is_some() { 1.0 } else { 0.0 };
                (ExchangeKind::Tcp, sure, sequence(request), response.map(sequence))
            }
        };
        Exchange {
            kind,
            request: request_at,
            response: response_at,
            stream: match kind {
                // The upper half tells peers of one socket apart, which the other side cannot know.
                ExchangeKind::Datagram => request.stream.stream & 0xffff_ffff,
                ExchangeKind::Tcp | ExchangeKind::Unix => request.stream.stream,
            },
            request_hash: hash64(&[request.size, request.head_hash]),
            confidence,
        }
    }

    fn unix(
        &self,
        connection: ConnectionId,
        ends: &Ends,
        request: &Message,
        response: Option<&Message>,
    ) -> (ExchangeKind, f32, u64, Option<u64>) {
        let Some(pair) = ends.unix_pair else {
            // The other end is not known: a name that nobody else has.
            let own = |message: &Message| hash64(&[connection.0, message.start, u64::MAX]);
            return (ExchangeKind::Unix, 0.0, own(request), response.map(own));
        };
        let named = |message: &Message| {
            let (position, confidence) = self.normalise(pair, message.direction, message.start);
            (hash64(&[pair.0, position]), confidence)
        };
        let (request_at, sure) = named(request);
        let (response_at, also_sure) =
            response.map_or((None, sure), |r| (Some(named(r).0), named(r).1));
        (ExchangeKind::Unix, sure.min(also_sure), request_at, response_at)
    }
}

#[cfg(test)]
mod tests {
    use deeptrace_model::{Endpoint, Pid, Tid, UnitId};

    use super::*;

    const NAME: u64 = 7;

    fn open(side: bool, origin: Origin) -> Open {
        Open {
            connection: ConnectionId(u64::from(side)),
            pid: Pid(1),
            tid: Tid(1),
            transport: Transport::UnixStream,
            local: Endpoint::Unknown,
            remote: Endpoint::Unknown,
            origin,
            netns: 0,
            cgroup: 0,
            unix_pair: Some((NAME, side)),
            sent: 0,
            received: 0,
        }
    }

    fn call(direction: Direction, start: u64, len: u32, drained: bool) -> Call<'static> {
        Call {
            connection: ConnectionId(1),
            pid: Pid(1),
            tid: Tid(1),
            unit: UnitId(1),
            direction,
            start,
            len,
            payload: &[],
            drained,
            peer: None,
        }
    }

    /// Feeds calls of both ends: side, `+` sent or `-` received, start, length, `d` drained.
    fn pairs(origin: Origin, calls: &str) -> Pairs {
        let mut pairs = Pairs::default();
        pairs.open(&open(true, origin));
        pairs.open(&open(false, origin));
        for word in calls.split_whitespace() {
            let side = word.starts_with('a');
            let direction = if word.contains('+') { Direction::Sent } else { Direction::Received };
            let numbers = &word[2..].trim_end_matches('d');
            let (start, len) = numbers.split_once(',').expect("start,length");
            let call =
                call(direction, start.parse().unwrap(), len.parse().unwrap(), word.ends_with('d'));
            pairs.call((NAME, side), &call);
        }
        pairs
    }

    #[test]
    fn positions_of_both_ends_are_the_same_bytes() {
        // Calls; a position of the sender `a`; the same byte as its receiver `b` counts; how sure.
        let table: &[(Origin, &str, u64, u64, f32)] = &[
            (Origin::Connected, "a+0,100 b-0,100", 0, 0, 1.0),
            // Not yet seen empty.
            (Origin::Found, "a+0,100 b-0,40", 0, 0, UNALIGNED),
            (Origin::Found, "a+0,100 b-0,100d", 0, 0, 1.0),
            // 40 bytes were queued when both ends were found: only the receiver counts them.
            (Origin::Found, "b-0,40d a+0,100 b-40,100d", 0, 40, 1.0),
            // The sender was found 60 bytes before the receiver.
            (Origin::Found, "a+0,60 a+60,40 b-0,40d", 60, 0, 1.0),
            // The receiver is recorded before the sender, whose call is stamped late.
            (Origin::Found, "a+0,60 b-0,60d b-60,10d a+60,10", 60, 60, 1.0),
        ];
        for (origin, calls, sent, received, sure) in table {
            let pairs = pairs(*origin, calls);
            let sender = pairs.normalise((NAME, true), Direction::Sent, *sent);
            let receiver = pairs.normalise((NAME, false), Direction::Received, *received);
            assert_eq!((sender.0, sender.1), (receiver.0, *sure), "{calls}");
            assert_eq!(receiver.1, *sure, "{calls}");
        }
    }

    #[test]
    fn a_pair_is_forgotten_with_its_second_end() {
        let mut pairs = pairs(Origin::Connected, "a+0,100");
        pairs.close((NAME, true));
        assert_eq!(pairs.pairs.len(), 1);
        pairs.close((NAME, false));
        assert_eq!(pairs.pairs.len(), 0);
    }
}
