//! A session: calls of one connection as written in a `.stream` file of the corpus.
//!
//! One line each; `#` begins a comment. `C` and `S` say who sent (client, server):
//!
//! ```text
//! open accepted tcp 8080     how the socket became known (accepted, connected, server, found,
//!                            none), its kind (tcp, udp, unix), the server's port
//! C "GET / HTTP/1.1\r\n"     one call; escapes \r \n \t \0 \" \\ \xNN
//! S "HTTP" *3 "x" +5000      repeated text, and bytes that were not copied
//! C gap 300                  bytes whose call was lost
//! S eof                      the end of this direction (of what the owner receives)
//! C peer 10.0.0.1:53 "…"     a datagram of an unconnected socket
//! tick 500                   milliseconds pass
//! close 104                  the socket is closed, with this errno
//! ```
//!
//! Calls are a millisecond apart; positions begin at 1000 (client) and 2000 (server).

pub mod corpus;

use std::net::SocketAddr;

use deeptrace_model::{
    BootTime, Call, Close, ConnectionId, Direction, Endpoint, Event, EventBody, EventId, Open,
    Origin, Pid, Tid, Transport, UnitId,
};
use deeptrace_protocol::{Options, Output, Protocols, Side};

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Call { from: Side, bytes: Vec<u8>, unseen: u32, peer: Option<SocketAddr> },
    Gap { from: Side, len: u32 },
    End { from: Side },
    Tick(u64),
    Close(u16),
}

/// A file.
#[derive(Clone, Debug)]
pub struct Session {
    pub origin: Option<Origin>,
    pub transport: Transport,
    pub port: u16,
    pub steps: Vec<Step>,
}

/// A call as it is delivered: where it lies, and what was copied of it.
#[derive(Clone, Debug)]
pub struct Piece {
    pub from: Side,
    pub start: u32,
    pub len: u32,
    pub bytes: Vec<u8>,
    pub peer: Option<SocketAddr>,
}

/// What is delivered.
#[derive(Clone, Debug)]
pub enum Delivery {
    Piece(Piece),
    Tick(u64),
    Close(u16),
}

pub const CONNECTION: ConnectionId = ConnectionId(7);

impl Session {
    /// Reads a file; panics with the line that is wrong.
    pub fn parse(text: &str) -> Self {
        let mut session = Self {
            origin: Some(Origin::Accepted),
            transport: Transport::Tcp,
            port: 0,
            steps: vec![],
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                session.line(line).unwrap_or_else(|| panic!("line {}: {line}", number + 1));
            }
        }
        session
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let from = match word {
            "C" => Side::Client,
            "S" => Side::Server,
            "open" => return self.open(rest),
            "tick" => return self.step(Step::Tick(rest.parse().ok()?)),
            "close" => return self.step(Step::Close(rest.parse().ok()?)),
            _ => return None,
        };
        if rest == "eof" {
            return self.step(Step::End { from });
        }
        if let Some(len) = rest.strip_prefix("gap ") {
            return self.step(Step::Gap { from, len: len.parse().ok()? });
        }
        let step = call(from, rest)?;
        self.step(step)
    }

    fn step(&mut self, step: Step) -> Option<()> {
        self.steps.push(step);
        Some(())
    }

    fn open(&mut self, rest: &str) -> Option<()> {
        for word in rest.split(' ') {
            match word {
                "accepted" => self.origin = Some(Origin::Accepted),
                "connected" => self.origin = Some(Origin::Connected),
                "server" => self.origin = Some(Origin::FoundServer),
                "found" => self.origin = Some(Origin::Found),
                "none" => self.origin = None,
                "tcp" => self.transport = Transport::Tcp,
                "udp" => self.transport = Transport::Udp,
                "unix" => self.transport = Transport::UnixStream,
                port => self.port = port.parse().ok()?,
            }
        }
        Some(())
    }

    /// Whether all bytes are there, so that it may be cut up in any way.
    pub fn is_whole_stream(&self) -> bool {
        self.transport.is_stream()
            && matches!(self.origin, Some(Origin::Accepted | Origin::Connected))
            && self.steps.iter().all(|step| match step {
                Step::Call { unseen, .. } => *unseen == 0,
                Step::Gap { .. } => false,
                _ => true,
            })
    }

    /// The deliveries as written.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let mut at = [1000u32, 2000];
        if !self.transport.is_stream() {
            at = [0, 0];
        }
        let mut all = Vec::new();
        for step in &self.steps {
            match step {
                Step::Call { from, bytes, unseen, peer } => {
                    let len = bytes.len() as u32 + unseen;
                    let start = at[*from as usize];
                    at[*from as usize] += if self.transport.is_stream() { len } else { 1 };
                    let bytes = bytes.clone();
                    all.push(Delivery::Piece(Piece {
                        from: *from,
                        start,
                        len,
                        bytes,
                        peer: *peer,
                    }));
                }
                Step::Gap { from, len } => at[*from as usize] += len,
                Step::End { from } => {
                    let start = at[*from as usize];
                    let end = Piece { from: *from, start, len: 0, bytes: vec![], peer: None };
                    all.push(Delivery::Piece(end));
                }
                Step::Tick(millis) => all.push(Delivery::Tick(*millis)),
                Step::Close(errno) => all.push(Delivery::Close(*errno)),
            }
        }
        all
    }

    /// Runs deliveries through the stage, and returns what came out.
    pub fn run(&self, deliveries: &[Delivery]) -> (Output, Protocols) {
        let mut stage = Protocols::new(Options::default());
        let mut out = Output::default();
        self.run_in(&mut stage, &mut out, deliveries);
        (out, stage)
    }

    /// Runs deliveries through a stage.
    pub fn run_in(&self, stage: &mut Protocols, out: &mut Output, deliveries: &[Delivery]) {
        let (mut id, mut now) = (0, 0);
        let mut feed = |stage: &mut Protocols, out: &mut Output, now: u64, body: EventBody<'_>| {
            id += 1;
            stage.feed(&Event { id: EventId(id), time: BootTime(now), body }, out);
        };
        if let Some(origin) = self.origin {
            feed(stage, out, now, EventBody::Open(self.opening(origin)));
        }
        for delivery in deliveries {
            now += 1_000_000;
            match delivery {
                Delivery::Piece(piece) => {
                    let call = self.call(piece);
                    feed(stage, out, now, EventBody::Call(call));
                }
                Delivery::Tick(millis) => {
                    now += millis * 1_000_000;
                    stage.tick(BootTime(now), out);
                }
                Delivery::Close(errno) => {
                    let close = Close { connection: CONNECTION, errno: *errno };
                    feed(stage, out, now, EventBody::Close(close));
                }
            }
        }
    }

    /// How its socket became known.
    pub fn opening(&self, origin: Origin) -> Open {
        let server = SocketAddr::from(([127, 0, 0, 1], self.port));
        let client = SocketAddr::from(([127, 0, 0, 1], 40000));
        let owner_is_client = self.owner() == Side::Client;
        let (local, remote) = if owner_is_client { (client, server) } else { (server, client) };
        let [from_client, from_server] =
            if self.transport.is_stream() { [1000, 2000] } else { [0, 0] };
        Open {
            connection: CONNECTION,
            pid: Pid(1),
            tid: Tid(1),
            transport: self.transport,
            local: Endpoint::Inet(local),
            remote: Endpoint::Inet(remote),
            origin,
            netns: 0,
            cgroup: 0,
            unix_pair: None,
            sent: if owner_is_client { from_client } else { from_server },
            received: if owner_is_client { from_server } else { from_client },
        }
    }

    /// Which side the socket's owner is.
    pub fn owner(&self) -> Side {
        match self.origin {
            Some(Origin::Connected | Origin::Found) => Side::Client,
            _ => Side::Server,
        }
    }

    /// A call as the kernel tells it.
    pub fn call<'a>(&self, piece: &'a Piece) -> Call<'a> {
        let is_own = piece.from == self.owner();
        Call {
            connection: CONNECTION,
            pid: Pid(1),
            tid: Tid(1),
            unit: UnitId(1),
            direction: if is_own { Direction::Sent } else { Direction::Received },
            start: u64::from(piece.start),
            len: piece.len,
            payload: &piece.bytes,
            drained: false,
            peer: piece.peer,
        }
    }
}

/// `peer ADDR`, texts with `*N` before them, and `+N`.
fn call(from: Side, mut rest: &str) -> Option<Step> {
    let (mut bytes, mut unseen, mut peer, mut times) = (Vec::new(), 0, None, 1);
    while !rest.is_empty() {
        rest = rest.trim_start();
        if let Some(text) = rest.strip_prefix('"') {
            let (part, after) = unescape(text)?;
            (0..times).for_each(|_| bytes.extend_from_slice(&part));
            (times, rest) = (1, after);
            continue;
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        if word == "peer" {
            let (address, after) = after.split_once(' ')?;
            (peer, rest) = (Some(address.parse().ok()?), after);
            continue;
        }
        match word.split_at_checked(1)? {
            ("*", number) => times = number.parse().ok()?,
            ("+", number) => unseen = number.parse().ok()?,
            _ => return None,
        }
        rest = after;
    }
    Some(Step::Call { from, bytes, unseen, peer })
}

/// The bytes of a text up to its closing quote, and what follows.
fn unescape(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut bytes = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((bytes, &text[at + 1..])),
            '\\' => bytes.push(match chars.next()?.1 {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '0' => 0,
                'x' => {
                    let digits = [chars.next()?.1, chars.next()?.1];
                    u8::from_str_radix(&String::from_iter(digits), 16).ok()?
                }
                other => u8::try_from(other).ok()?,
            }),
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    None
}

/// Bytes as text that [`Session::parse`] reads back.
pub fn escape(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'\r' => "\\r".into(),
            b'\n' => "\\n".into(),
            b'"' => "\\\"".into(),
            b'\\' => "\\\\".into(),
            b' '..=b'~' => char::from(*byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        })
        .collect()
}
