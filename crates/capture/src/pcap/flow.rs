//! Flow: segments of one pair of addresses become the events of the server's socket.
//!
//! A SYN opens a connection, also on addresses that had one; FIN ends a direction, both close it;
//! RST closes it with errno 104. A datagram whose bytes were seen in the same direction less than
//! 10 ms before was captured on two interfaces: a resolver asks again after seconds, not earlier.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use deeptrace_model::{
    BootTime, Call, Close, ConnectionId, Direction, Duration, Endpoint, EventBody, Open, Origin,
    Pid, Process, ProcessKey, Tid, Transport, UnitId, hash_bytes,
};
use lru::LruCache;

use super::FIRST_PID;
use super::counters::Counters;
use super::direction::{Guess, guess};
use super::packet::{Header, Segment, Tcp};
use super::stream::Stream;

/// The same datagram again within this is a copy.
const COPY_WITHIN: Duration = Duration::from_millis(10);

const ECONNRESET: u16 = 104;

/// Tells an event at the time of the packet.
pub(super) type Emit<'a> = dyn FnMut(EventBody<'_>) + 'a;

/// All flows of a capture.
pub(super) struct Flows {
    flows: LruCache<(SocketAddr, SocketAddr, bool), Flow>,
    servers: LruCache<SocketAddr, Pid>,
    connections: u64,
    pids: u32,
    /// Reused: what of a segment is new.
    new: Vec<(u32, u32)>,
}

struct Flow {
    connection: ConnectionId,
    client: SocketAddr,
    server: SocketAddr,
    pid: Pid,
    origin: Origin,
    state: State,
    /// Received and sent, by [`Direction`].
    streams: [Stream; 2],
    /// Sequence number of the client's SYN.
    client_syn: Option<u32>,
    /// Datagrams: how many, and the last one's hash and time, by direction.
    datagrams: [(u64, u64, BootTime); 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was told of it.
    New,
    Open,
    Closed,
}

impl Flows {
    /// At most `limit` flows, and as many servers.
    pub(super) fn new(limit: usize) -> Self {
        let limit = NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN);
        Self {
            flows: LruCache::new(limit),
            servers: LruCache::new(limit),
            connections: 0,
            pids: 0,
            new: Vec::new(),
        }
    }

    /// Takes the next segment of the capture.
    pub(super) fn feed(
        &mut self,
        segment: &Segment<'_>,
        time: BootTime,
        counters: &mut Counters,
        emit: &mut Emit<'_>,
    ) {
        match segment.header {
            Header::Tcp(tcp) => self.tcp(segment, tcp, counters, emit),
            Header::Udp => self.udp(segment, time, counters, emit),
        }
    }

    fn tcp(
        &mut self,
        segment: &Segment<'_>,
        tcp: Tcp,
        counters: &mut Counters,
        emit: &mut Emit<'_>,
    ) {
        let key = key(segment, true);
        let known = self.flows.get_mut(&key);
        let start = tcp.seq.wrapping_add(u32::from(tcp.syn));
        let is_new = match &known {
            None => true,
            Some(flow) if tcp.syn && tcp.ack.is_none() => flow.client_syn != Some(tcp.seq),
            Some(flow) => {
                let is_moving = tcp.syn || segment.len > 0;
                is_moving && flow.streams[flow.direction(segment) as usize].is_elsewhere(start)
            }
        };
        if is_new {
            if tcp.rst || (!tcp.syn && !tcp.fin && segment.len == 0) {
                counters.stray += u64::from(tcp.rst);
                return;
            }
            if let Some(old) = known {
                old.close(0, emit);
            }
            let origin = if tcp.syn { Origin::Accepted } else { Origin::FoundServer };
            let server = tcp.syn.then_some(tcp.ack.is_some());
            self.add(key, segment, origin, server, counters, emit);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if flow.state == State::Closed {
            counters.stray += u64::from(segment.len > 0);
            return;
        }
        flow.tcp(segment, tcp, start, &mut self.new, counters, emit);
    }

    fn udp(
        &mut self,
        segment: &Segment<'_>,
        time: BootTime,
        counters: &mut Counters,
        emit: &mut Emit<'_>,
    ) {
        if segment.len == 0 {
            // A call without bytes would say that the stream has ended.
            counters.other += 1;
            return;
        }
        let key = key(segment, false);
        if !self.flows.contains(&key) {
            self.add(key, segment, Origin::FoundServer, None, counters, emit);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        let direction = flow.direction(segment);
        let hash = hash_bytes(segment.payload);
        let (count, last, seen) = &mut flow.datagrams[direction as usize];
        if *count > 0 && *last == hash && time.since(*seen) < COPY_WITHIN {
            counters.repeated += 1;
            return;
        }
        (*last, *seen) = (hash, time);
        let start = *count;
        *count += 1;
        flow.open(Transport::Udp, (0, 0), emit);
        flow.call(direction, start, segment.len, segment.payload, emit);
    }

    /// A new flow; `from_server` says whether the segment came from the server, where that is
    /// known.
    fn add(
        &mut self,
        key: (SocketAddr, SocketAddr, bool),
        segment: &Segment<'_>,
        origin: Origin,
        from_server: Option<bool>,
        counters: &mut Counters,
        emit: &mut Emit<'_>,
    ) {
        let (source, destination) = (segment.source, segment.destination);
        let told = from_server.map(|is_sender| Guess { is_sender, is_sure: true });
        let Guess { is_sender: from_server, is_sure } = told.unwrap_or_else(|| {
            counters.guessed += 1;
            guess(source, destination, |end| self.servers.contains(&end))
        });
        let is_stream = matches!(segment.header, Header::Tcp(_));
        let origin = if is_stream && !is_sure { Origin::Found } else { origin };
        let (client, server) =
            if from_server { (destination, source) } else { (source, destination) };
        self.connections += 1;
        counters.connections += 1;
        let flow = Flow {
            connection: ConnectionId(self.connections),
            client,
            server,
            pid: self.process(server, emit),
            origin,
            state: State::New,
            streams: <[Stream; 2]>::default(),
            client_syn: None,
            datagrams: <[(u64, u64, BootTime); 2]>::default(),
        };
        if let Some((old, _)) = self.flows.push(key, flow)
            && old != key
        {
            counters.evicted += 1;
        }
    }

    /// The process that stands for a server's address.
    fn process(&mut self, server: SocketAddr, emit: &mut Emit<'_>) -> Pid {
        if let Some(pid) = self.servers.get(&server) {
            return *pid;
        }
        let pid = Pid(FIRST_PID.0.saturating_add(self.pids));
        self.pids = self.pids.saturating_add(1);
        self.servers.put(server, pid);
        emit(EventBody::Process(Process {
            key: ProcessKey { pid, started: BootTime(0) },
            parent: Pid(0),
            comm: String::new(),
            executable: String::new(),
            service: server.to_string(),
            service_source: "address".to_owned(),
            container_id: None,
            watched_by: "capture file".to_owned(),
        }));
        pid
    }
}

impl Flow {
    /// Which way the segment goes, for the server.
    fn direction(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.server { Direction::Sent } else { Direction::Received }
    }

    fn tcp(
        &mut self,
        segment: &Segment<'_>,
        tcp: Tcp,
        start: u32,
        new: &mut Vec<(u32, u32)>,
        counters: &mut Counters,
        emit: &mut Emit<'_>,
    ) {
        let direction = self.direction(segment);
        if tcp.rst {
            counters.refused += u64::from(self.state == State::New);
            self.close(ECONNRESET, emit);
            return;
        }
        if tcp.syn {
            if tcp.ack.is_none() {
                self.client_syn = Some(tcp.seq);
            }
            self.streams[direction as usize].begin(start);
        }
        if let Some(ack) = tcp.ack
            && self.state == State::New
        {
            self.streams[direction.opposite() as usize].begin(ack);
        }
        let is_finishing = tcp.fin && !self.streams[direction as usize].is_finished;
        if (tcp.syn && tcp.ack.is_some()) || segment.len > 0 || is_finishing {
            self.streams[direction as usize].begin(start);
            let at = |stream: &Stream| u64::from(stream.next().unwrap_or(0));
            let [received, sent] = &self.streams;
            let positions = (at(received), at(sent));
            self.open(Transport::Tcp, positions, emit);
        }

        new.clear();
        let stream = &mut self.streams[direction as usize];
        counters.holes_dropped += stream.take(start, segment.len, new);
        counters.repeated += u64::from(segment.len > 0 && new.is_empty());
        for &(offset, len) in new.iter() {
            let rest = segment.payload.get(offset as usize..).unwrap_or_default();
            let payload = &rest[..rest.len().min(len as usize)];
            self.call(direction, u64::from(start.wrapping_add(offset)), len, payload, emit);
        }
        if is_finishing {
            self.streams[direction as usize].is_finished = true;
            let end = start.wrapping_add(segment.len);
            self.call(direction, u64::from(end), 0, &[], emit);
        }
        if self.streams.iter().all(Stream::is_complete) {
            self.close(0, emit);
        }
    }

    /// Tells of the connection, once. `positions`: of the next byte received and sent.
    fn open(&mut self, transport: Transport, positions: (u64, u64), emit: &mut Emit<'_>) {
        if self.state != State::New {
            return;
        }
        self.state = State::Open;
        emit(EventBody::Open(Open {
            connection: self.connection,
            pid: self.pid,
            tid: Tid(0),
            transport,
            local: Endpoint::Inet(self.server),
            remote: Endpoint::Inet(self.client),
            origin: self.origin,
            netns: 0,
            cgroup: 0,
            unix_pair: None,
            sent: positions.1,
            received: positions.0,
        }));
    }

    fn call(
        &self,
        direction: Direction,
        start: u64,
        len: u32,
        payload: &[u8],
        emit: &mut Emit<'_>,
    ) {
        emit(EventBody::Call(Call {
            connection: self.connection,
            pid: self.pid,
            tid: Tid(0),
            unit: UnitId(self.connection.0),
            direction,
            start,
            len,
            payload,
            drained: false,
            peer: None,
        }));
    }

    fn close(&mut self, errno: u16, emit: &mut Emit<'_>) {
        if self.state == State::Open {
            emit(EventBody::Close(Close { connection: self.connection, errno }));
        }
        self.state = State::Closed;
    }
}

/// The same for both directions.
fn key(segment: &Segment<'_>, is_tcp: bool) -> (SocketAddr, SocketAddr, bool) {
    let (a, b) = (segment.source, segment.destination);
    if a < b { (a, b, is_tcp) } else { (b, a, is_tcp) }
}
