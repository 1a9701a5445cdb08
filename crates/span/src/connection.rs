//! Connection: what is known of a socket, and the messages on it that wait for their other half.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use deeptrace_model::{BootTime, Direction, Endpoint, Message, Open, Origin, Transport};

use crate::pairing::Queue;

/// A socket.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) transport: Transport,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) path: String,
    pub(crate) unix_pair: Option<(u64, bool)>,
    /// Whether the ends surely count alike: the socket was new when it was described.
    pub(crate) is_new: bool,
    /// The description of a socket that called connect, until anything was moved on it.
    pub(crate) connecting: Option<(Open, BootTime)>,
    /// Requests by their direction, on the one stream that most protocols have …
    main: [Queue; 2],
    /// … and on others.
    streams: BTreeMap<(u64, u8), Queue>,
}

impl Connection {
    /// A socket of which nothing was told.
    pub(crate) fn unknown() -> Self {
        Self {
            transport: Transport::Tcp,
            local: None,
            remote: None,
            path: String::new(),
            unix_pair: None,
            is_new: false,
            connecting: None,
            main: [Queue::default(), Queue::default()],
            streams: BTreeMap::new(),
        }
    }

    /// A socket as it was described.
    pub(crate) fn new(open: &Open, time: BootTime) -> Self {
        let inet = |end: &Endpoint| match end {
            Endpoint::Inet(address) => Some(*address),
            _ => None,
        };
        let path = [&open.local, &open.remote].into_iter().find_map(|end| match end {
            Endpoint::Unix(path) if !path.is_empty() => Some(path.clone()),
            _ => None,
        });
        let connecting = open.origin == Origin::Connected && open.transport == Transport::Tcp;
        Self {
            transport: open.transport,
            local: inet(&open.local),
            remote: inet(&open.remote),
            path: path.unwrap_or_default(),
            unix_pair: open.unix_pair,
            is_new: matches!(open.origin, Origin::Connected | Origin::Accepted),
            connecting: connecting.then(|| (open.clone(), time)),
            ..Self::unknown()
        }
    }

    /// The queue for requests of `direction` on `stream`.
    pub(crate) fn queue(&mut self, stream: u64, direction: Direction) -> &mut Queue {
        if stream == 0 {
            return &mut self.main[direction as usize];
        }
        self.streams.entry((stream, direction as u8)).or_default()
    }

    /// Forgets the queue of a stream on which nothing waits.
    pub(crate) fn tidy(&mut self, stream: u64, direction: Direction) {
        let key = (stream, direction as u8);
        if stream != 0 && self.streams.get(&key).is_some_and(Queue::is_empty) {
            self.streams.remove(&key);
        }
    }

    /// Streams with something waiting on them.
    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Every queue.
    pub(crate) fn queues(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.main.iter_mut().chain(self.streams.values_mut())
    }

    /// All requests that still wait, oldest first on each stream.
    pub(crate) fn drain(&mut self) -> Vec<Message> {
        let mut requests = Vec::new();
        for queue in self.queues() {
            requests.extend(queue.requests.drain(..));
        }
        self.streams.clear();
        requests
    }
}
