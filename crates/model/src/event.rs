//! Event: one thing the kernel told.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{BootTime, ConnectionId, EventId, Message, Pid, Process, Tid, UnitId, WallTime};

/// One thing the kernel told, or the source around it.
///
/// Borrowed, because hundreds of thousands a second pass from the ring buffer through the parsers
/// without being kept. A recording is a sequence of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event<'a> {
    /// Position in the source's delivery, counting up from 1.
    pub id: EventId,
    /// When it ended. Calls are stamped at their end.
    pub time: BootTime,
    /// What happened.
    #[serde(borrow)]
    pub body: EventBody<'a>,
}

impl Event<'_> {
    /// The same without the bytes of its call.
    pub fn without_payload(&self) -> Event<'static> {
        let body = match &self.body {
            EventBody::Call(call) => EventBody::Call(call.without_payload()),
            EventBody::Plaintext(plain) => EventBody::Plaintext(Plaintext {
                call: plain.call.without_payload(),
                ..plain.clone()
            }),
            EventBody::Host(host) => EventBody::Host(host.clone()),
            EventBody::Clock(time) => EventBody::Clock(*time),
            EventBody::Process(process) => EventBody::Process(process.clone()),
            EventBody::Exit(pid) => EventBody::Exit(*pid),
            EventBody::Open(open) => EventBody::Open(open.clone()),
            EventBody::Close(close) => EventBody::Close(close.clone()),
            EventBody::Lost { cause, count } => EventBody::Lost { cause: *cause, count: *count },
            EventBody::HandOver(hand_over) => EventBody::HandOver(*hand_over),
            EventBody::Redacted => EventBody::Redacted,
            EventBody::Message(message) => EventBody::Message(message.clone()),
        };
        Event { id: self.id, time: self.time, body }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventBody<'a> {
    /// The host that all following events come from. First event of every source.
    Host(Host),
    /// The wall clock reads this at the event's time. Second event of every source, every 10 s,
    /// and on steps.
    Clock(WallTime),
    /// A process became known, or changed its identity (exec).
    Process(Process),
    /// A process ended.
    Exit(Pid),
    /// A socket became known: opened, accepted, or found. Comes before its first call.
    Open(Open),
    /// A socket call moved bytes, or saw the end of the stream.
    #[serde(borrow)]
    Call(Call<'a>),
    /// A socket was closed, reset, or failed to connect.
    Close(Close),
    /// So many events are known to be missing before this one.
    Lost {
        /// Why.
        cause: LossCause,
        /// How many, at least.
        count: u64,
    },
    /// Inside a process that is followed, work or its result went from one unit to another.
    HandOver(HandOver),
    /// A TLS library encrypted or decrypted bytes of a connection. From the first of these on, the
    /// calls that move its records are not told.
    #[serde(borrow)]
    Plaintext(Plaintext<'a>),
    /// From here on the bytes of calls are overwritten, and what they said comes as messages.
    Redacted,
    /// What calls before the next event said, where their bytes are overwritten.
    Message(Box<Message>),
}

/// Plaintext of a TLS connection, from or to one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plaintext<'a> {
    /// As if it were a socket call of the same connection. Its positions count the bytes of plaintext,
    /// in both directions from zero, or from [`UNSEEN`](Self::UNSEEN) where the beginning was not seen.
    #[serde(borrow)]
    pub call: Call<'a>,
    /// Where it is on the wire, alike for both ends: the sequence number of the record's header, and
    /// one more for each byte of the record's plaintext before it.
    pub position: u32,
}

impl Plaintext<'_> {
    /// Where positions begin of a stream whose beginning was not seen.
    pub const UNSEEN: u64 = 1 << 40;
}

/// The host that events come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Hash of the kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot: u64,
    /// Host name, as `uname` gives it.
    pub name: String,
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LossCause {
    /// The ring buffer was full.
    RingFull,
    /// The user's buffer could not be read: bytes are missing, the call itself is not.
    CopyFailed,
    /// A kernel map was full.
    MapFull,
    /// Capture was stepped down or paused on purpose.
    Paused,
    /// The recording or capture file says that packets were dropped.
    Source,
    /// More hand-overs than may be told.
    Shed,
}

/// Which way bytes go, as seen by the socket's owner.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Direction {
    /// Read by the owner.
    #[default]
    Received = 0,
    /// Written by the owner.
    Sent = 1,
}

impl Direction {
    /// The other way.
    pub fn opposite(self) -> Self {
        match self {
            Self::Received => Self::Sent,
            Self::Sent => Self::Received,
        }
    }
}

/// Kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// TCP, over IPv4 or IPv6.
    Tcp,
    /// UDP, over IPv4 or IPv6. Each call is one datagram.
    Udp,
    /// `AF_UNIX`, `SOCK_STREAM`.
    UnixStream,
    /// `AF_UNIX`, `SOCK_DGRAM` or `SOCK_SEQPACKET`. Each call is one datagram.
    UnixDatagram,
}

impl Transport {
    /// Whether bytes form a stream (else every call is a whole datagram).
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::UnixStream)
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    /// IPv4 or IPv6. A mapped address (`::ffff:a.b.c.d`) is given as IPv4.
    Inet(SocketAddr),
    /// Path of a UNIX socket; abstract names start with `@`; empty where unnamed.
    Unix(String),
    /// Not known.
    Unknown,
}

/// How a socket became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// Its owner called `connect`: it is the client.
    Connected,
    /// It was accepted: its owner is the server.
    Accepted,
    /// It was there before the agent and its local port is listened on: its owner is the server.
    FoundServer,
    /// It was there before the agent, or no part of its opening was seen.
    Found,
}

/// A socket became known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Its id.
    pub connection: ConnectionId,
    /// The process that used it first (or was found to hold it).
    pub pid: Pid,
    /// The thread that used it first (the one that called `connect`, where that was seen).
    pub tid: Tid,
    /// Kind of socket.
    pub transport: Transport,
    /// Our end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
    /// How it became known.
    pub origin: Origin,
    /// Inode of its network namespace; zero where unknown.
    pub netns: u64,
    /// Inode of the cgroup (v2) of the process; zero where unknown.
    pub cgroup: u64,
    /// UNIX sockets: a number that names this pair of sockets alike on both ends, and which
    /// of the two this is. `None` elsewhere.
    pub unix_pair: Option<(u64, bool)>,
    /// Position of the next byte to be sent, at this moment; see [`Call::start`].
    pub sent: u64,
    /// Position of the next byte to be received, at this moment.
    pub received: u64,
}

/// A socket call that moved bytes, or saw the end of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call<'a> {
    /// The socket.
    pub connection: ConnectionId,
    /// Process that made the call.
    pub pid: Pid,
    /// Thread that made the call.
    pub tid: Tid,
    /// What ran on the thread.
    pub unit: UnitId,
    /// Which way the bytes went.
    pub direction: Direction,
    /// Position of the first byte in its direction. TCP: the 32-bit sequence number of the
    /// connection. UNIX stream: bytes since the socket was opened or found. Datagrams: a count
    /// of calls.
    pub start: u64,
    /// Bytes moved; zero when received: the other side has closed its direction. `start + len`
    /// wraps at 32 bits for TCP.
    pub len: u32,
    /// The first of these bytes; shorter than `len` where the call was cut, empty where the bytes
    /// could not be seen (`sendfile`, splice).
    #[serde(borrow)]
    pub payload: &'a [u8],
    /// UNIX, received: the queue was empty after this call, so both sides agree on the position.
    pub drained: bool,
    /// Address of the peer of an unconnected datagram socket.
    pub peer: Option<SocketAddr>,
}

impl Call<'_> {
    /// The same without its bytes.
    pub fn without_payload(&self) -> Call<'static> {
        let Self { connection, pid, tid, unit, direction, start, len, drained, peer, .. } = *self;
        Call { connection, pid, tid, unit, direction, start, len, payload: &[], drained, peer }
    }

    /// Whether bytes are missing at the end of `payload`.
    pub fn is_cut(&self) -> bool {
        self.payload.len() < self.len as usize
    }
}

/// A socket was closed, reset, or failed to connect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Close {
    /// The socket.
    pub connection: ConnectionId,
    /// The `errno` that ended it (104 reset, 111 refused, 110 timed out), zero for an orderly end.
    pub errno: u16,
}

/// By what work or its result went from one unit to another. Recordings number these in this order: new ones
/// come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HandOverKind {
    /// A wake-up of a thread that slept in futex(2).
    Futex,
    /// A write that woke a thread out of its poll: likely to an eventfd, pipe or socket on which that
    /// waited. It says what kind of thread that is, and not who works for whom.
    Write,
    /// A copy of a context: the copy works for whom the original does.
    Copy,
    /// A runtime made a waiting task ready.
    Ready,
    /// A task was made ready, and the data goes the other way: that task had waited to be rid of it.
    Taken,
    /// A runtime made a new task.
    Birth,
    /// An item was put into a queue: it is for whom the one that put it works.
    Put,
    /// An item was got out of a queue by a thread, which works for the same from now on; an item that is
    /// not known, for nobody.
    Got,
    /// A runtime made a waiting task ready, and nobody knows what that waited for: it may have been a lock.
    Wake,
}

/// Work, or its result, went from one unit to another of the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// The process.
    pub pid: Pid,
    /// The thread on which it happened.
    pub tid: Tid,
    /// By what.
    pub kind: HandOverKind,
    /// Where it was.
    pub from: UnitId,
    /// Where it is.
    pub to: UnitId,
    /// Address of the futex; zero elsewhere.
    pub word: u64,
}

/// What `context` asks of capture for one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Tell hand-overs and units: what is seen of sockets leaves calls unexplained.
    Begin(Pid),
    /// A thread works for several requests at once, so threads are not its units: the same, if its runtime's own
    /// can be read.
    Units(Pid),
    /// Tell them no more.
    End(Pid),
    /// Tell nothing of this futex: it is a lock.
    Mute(Pid, u64),
}

/// What the parsers ask of capture for one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The socket.
    pub connection: ConnectionId,
    /// Whether it is about plaintext of TLS, else about what the socket moves.
    pub plaintext: bool,
    /// Bytes to copy of each call from now on: 0 for none, at most 16384.
    pub bytes_per_call: u32,
    /// Copy nothing of calls that end before this position (inside an announced body).
    pub skip_until: Option<(Direction, u64)>,
}
