//! Connection: its ends, and the requests on it that wait for their response.

use std::collections::VecDeque;
use std::sync::Arc;

use deeptrace_model::{
    BootTime, Direction, Endpoint, EventId, Message, Open, Origin, Pid, Tid, Transport,
};

use crate::processes::Known;
use crate::surroundings::Surroundings;

/// Responses held per connection for a request that was recorded after them.
const EARLY_MAX: usize = 64;

/// One socket.
#[derive(Debug)]
pub(crate) struct Connection {
    pub ends: Ends,
    /// Oldest first, all streams.
    pub requests: VecDeque<Request>,
    /// Responses without request, oldest first.
    pub early: VecDeque<Box<Message>>,
    /// Where its spans happen.
    pub surroundings: Surroundings,
    /// Whether a call was seen on it, so that it is connected.
    pub is_used: bool,
    /// Whether two requests of one stream were open at once.
    pub is_pipelined: bool,
    /// Whether the expiry queue has an entry for it.
    pub is_queued: bool,
    /// Events lost in all when it was opened; [`u64::MAX`] where its beginning was not seen.
    pub lost_at_open: u64,
}

/// What is known of the two ends of a socket.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// `None` where the opening was not seen.
    pub transport: Option<Transport>,
    pub local: Side,
    pub remote: Side,
    /// Name of the pair of UNIX sockets, and which of the two this is.
    pub unix_pair: Option<(u64, bool)>,
    /// When and by whom it was connected; `None` where it was accepted or found.
    pub connected: Option<(EventId, BootTime, Pid, Tid, u64)>,
}

/// One end, as spans print it.
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// IP address or path; empty where not known.
    pub address: String,
    /// Zero where there is none.
    pub port: u16,
    /// Whether the address is a wildcard, and so says nothing.
    pub is_wildcard: bool,
}

/// A request in the order of its connection.
#[derive(Debug)]
pub(crate) struct Request {
    pub stream: u64,
    pub direction: Direction,
    pub since: BootTime,
    /// `None`: it was given up, and keeps its place so that a late response does not answer the
    /// next request.
    pub pending: Option<Pending>,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Pending {
    pub message: Box<Message>,
    pub process: Option<Arc<Known>>,
    /// Events lost in all when it came.
    pub lost_before: u64,
}

/// What stood first in line for a response.
#[derive(Debug)]
pub(crate) enum Oldest {
    Waiting(Pending),
    GivenUp,
    Nothing,
}

impl From<&Endpoint> for Side {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Inet(address) => Self {
                address: address.ip().to_string(),
                port: address.port(),
                is_wildcard: address.ip().is_unspecified(),
            },
            Endpoint::Unix(path) => Self { address: path.clone(), port: 0, is_wildcard: false },
            Endpoint::Unknown => Self::default(),
        }
    }
}

impl Side {
    /// Address and port, without an address that says nothing.
    pub fn told(&self) -> (&str, u16) {
        (if self.is_wildcard { "" } else { &self.address }, self.port)
    }
}

impl Connection {
    /// A socket of which nothing is known.
    pub fn unknown() -> Self {
        Self {
            ends: Ends::default(),
            requests: VecDeque::new(),
            early: VecDeque::new(),
            surroundings: Surroundings::default(),
            is_used: false,
            is_pipelined: false,
            is_queued: false,
            lost_at_open: u64::MAX,
        }
    }

    /// A socket that became known by `open` when `lost_total` events had been lost.
    pub fn open(open: &Open, event: EventId, time: BootTime, lost_total: u64) -> Self {
        let seen = matches!(open.origin, Origin::Connected | Origin::Accepted);
        let connected = (open.origin == Origin::Connected)
            .then_some((event, time, open.pid, open.tid, open.sent));
        Self {
            ends: Ends {
                transport: Some(open.transport),
                local: Side::from(&open.local),
                remote: Side::from(&open.remote),
                unix_pair: open.unix_pair,
                connected,
            },
            lost_at_open: if seen { lost_total } else { u64::MAX },
            ..Self::unknown()
        }
    }

    /// Takes over what waits on `old`, which is the same socket before it was described again.
    pub fn adopt(&mut self, old: Self) {
        (self.requests, self.early) = (old.requests, old.early);
        (self.is_pipelined, self.is_queued) = (old.is_pipelined, old.is_queued);
    }

    /// Its ends, and where its spans happen.
    pub fn place(&mut self) -> (&Ends, &mut Surroundings) {
        (&self.ends, &mut self.surroundings)
    }

    /// Puts a request last in line.
    ///
    /// On a connection where requests come one after the other, a new one shows that nobody waits
    /// any more for the answer of an older one that was given up.
    pub fn push(&mut self, pending: Pending) {
        if !self.is_pipelined && self.requests.front().is_some_and(|r| r.pending.is_none()) {
            self.requests.retain(|request| request.pending.is_some());
        }
        // Two that one call sent: nobody waits for the answer to the first.
        let stream = pending.message.stream.stream;
        let mut waiting = self.requests.iter().rev().filter_map(|request| request.pending.as_ref());
        let last =
            waiting.next().map(|last| (last.message.stream.stream, last.message.first.event));
        self.is_pipelined |= last == Some((stream, pending.message.first.event));
        self.requests.push_back(Request {
            stream: pending.message.stream.stream,
            direction: pending.message.direction,
            since: pending.message.first.time,
            pending: Some(pending),
        });
    }

    /// Takes the oldest request that a response on `stream`, going against `direction`, answers.
    pub fn take(&mut self, stream: u64, direction: Direction) -> Oldest {
        let is_mine = |r: &Request| r.stream == stream && r.direction == direction;
        let Some(at) = self.requests.iter().position(is_mine) else { return Oldest::Nothing };
        let request = if at == 0 { self.requests.pop_front() } else { self.requests.remove(at) };
        match request.and_then(|r| r.pending) {
            Some(pending) => {
                self.is_pipelined |= self.requests.iter().skip(at).any(is_mine);
                Oldest::Waiting(pending)
            }
            None => Oldest::GivenUp,
        }
    }

    /// Takes all requests that wait on `stream`, oldest first, but for the newest `keep`. Places
    /// of given up ones are forgotten with them.
    pub fn take_all_but(&mut self, keep: usize, stream: u64, direction: Direction) -> Vec<Pending> {
        let is_mine = |r: &Request| r.stream == stream && r.direction == direction;
        let mut excess = self.requests.iter().filter(|r| is_mine(r)).count().saturating_sub(keep);
        let mut taken = Vec::new();
        self.requests.retain_mut(|request| {
            if excess == 0 || !is_mine(request) {
                return true;
            }
            excess -= 1;
            taken.extend(request.pending.take());
            false
        });
        taken
    }

    /// Keeps a response for a request that may have been recorded after it. Returns the oldest
    /// one when there are too many.
    pub fn hold(&mut self, response: Box<Message>) -> Option<Box<Message>> {
        self.early.push_back(response);
        if self.early.len() > EARLY_MAX { self.early.pop_front() } else { None }
    }

    /// The held response that answers `request`, which was recorded after it.
    ///
    /// Either the request was still being sent when it was answered; or its call was stamped
    /// late, which can only be if another thread read the answer, and is only believed where no
    /// older request can be waiting for it: the socket was seen from its beginning, without loss.
    pub fn take_early(&mut self, request: &Message, lost_total: u64) -> Option<Box<Message>> {
        let is_whole = self.lost_at_open == lost_total;
        let at = self.early.iter().position(|response| {
            response.stream == request.stream
                && response.direction == request.direction.opposite()
                && (request.first.time <= response.first.time
                    || (is_whole
                        && response.direction == Direction::Received
                        && response.first.tid != request.last.tid))
        })?;
        self.early.remove(at)
    }

    /// Since when the oldest request waits.
    pub fn oldest(&self) -> Option<BootTime> {
        self.requests.iter().find(|r| r.pending.is_some()).map(|r| r.since)
    }
}
