//! Connection: two halves, the protocol they speak, and the calls that came too early.

mod datagram;
mod plaintext;
mod speaker;

use deeptrace_model::{
    Attribute, BootTime, Call, ConnectionId, Demand, Direction, Duration, Endpoint, Event, Message,
    MessageRole, Open, Origin, Touch, Transport,
};

use crate::counters::Counters;
use crate::half::{Half, Stop, Work};
use crate::open_message::Who;
use crate::payloads::Payloads;
use crate::reorder::{Piece, Place, Queue, place};
use crate::rows::Rows;
use crate::{Options, Output, Side};

use self::speaker::Speaker;

/// Bytes that capture may skip at once: half of what 32-bit sequence numbers can compare.
const SKIP_MAX: u64 = 1 << 30;

/// No stream gets so far; positions beyond are not believed.
const POSITION_MAX: u64 = 1 << 60;

/// After so long without a call no answer is under way (see [`Parser::quiet`](crate::Parser::quiet)).
const QUIET: Duration = Duration::from_secs(1);

/// What a connection needs of its stage.
pub(crate) struct Stage<'a> {
    pub(crate) options: &'a Options,
    pub(crate) rows: &'a Rows,
    pub(crate) counters: &'a mut Counters,
    pub(crate) held_bytes: &'a mut usize,
    pub(crate) payloads: &'a mut Payloads,
    /// The host that events come from.
    pub(crate) boot: u64,
    pub(crate) out: &'a mut Output,
}

/// One connection.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) transport: Transport,
    /// Which side the owner is, as its opening told.
    origin_side: Option<Side>,
    pub(crate) server_port: Option<u16>,
    /// Which direction the client's bytes take, once known.
    pub(crate) client: Option<Direction>,
    pub(crate) speaker: Option<Speaker>,
    pub(crate) halves: [Half; 2],
    pub(crate) queue: Queue,
    /// Responses that wait for their request, which is still on its way.
    #[expect(clippy::vec_box, reason = "as it is given out")]
    deferred: Vec<Box<Message>>,
    /// Requests given out whose response was not, where there is one stream.
    unanswered: u32,
    /// When the last call was.
    last_call: BootTime,
    /// Whether capture knows who sent the datagrams that are received.
    tells_peers: bool,
    /// How often recognition was asked.
    asked: u32,
    /// Rows that were tried in vain.
    rejected: u128,
    /// Rows that were believed, though not sure, and given up.
    doubted: u128,
    demanded: u32,
    is_plaintext: bool,
    /// What a TLS library decrypted from, and encrypted for, this connection.
    plaintext: Option<Box<Connection>>,
    /// What its hand-shake told of it.
    tls: Vec<Attribute>,
}

impl Connection {
    /// A connection of which nothing is known.
    pub(crate) fn unknown(id: ConnectionId, transport: Transport) -> Self {
        Self {
            id,
            transport,
            origin_side: None,
            server_port: None,
            client: None,
            speaker: None,
            halves: [Half::default(), Half::default()],
            queue: Queue::default(),
            deferred: Vec::new(),
            unanswered: 0,
            last_call: BootTime(0),
            tells_peers: false,
            asked: 0,
            rejected: 0,
            doubted: 0,
            demanded: 0,
            is_plaintext: false,
            plaintext: None,
            tls: Vec::new(),
        }
    }

    /// A connection that was opened or found.
    pub(crate) fn open(open: &Open) -> Self {
        let mut new = Self::unknown(open.connection, open.transport);
        new.adopt(open);
        let is_new = matches!(open.origin, Origin::Connected | Origin::Accepted);
        if open.transport.is_stream() {
            for (half, next) in new.halves.iter_mut().zip([open.received, open.sent]) {
                half.next = Some(next.min(POSITION_MAX));
                half.fresh = is_new;
            }
        }
        new
    }

    /// How it came about became known, perhaps late.
    pub(crate) fn adopt(&mut self, open: &Open) {
        self.origin_side = match open.origin {
            Origin::Connected => Some(Side::Client),
            Origin::Accepted | Origin::FoundServer => Some(Side::Server),
            Origin::Found => None,
        };
        self.client = self.client.or(self.origin_side.map(client_direction));
        let is_server = self.origin_side == Some(Side::Server);
        if let Endpoint::Inet(address) = if is_server { &open.local } else { &open.remote } {
            self.server_port = Some(address.port());
        }
    }

    /// The protocol, once known.
    pub(crate) fn row(&self) -> Option<usize> {
        self.speaker.as_ref().filter(|speaker| speaker.confirmed).map(|speaker| speaker.row)
    }

    /// A call on a stream.
    pub(crate) fn call(&mut self, event: &Event<'_>, call: &Call<'_>, stage: &mut Stage<'_>) {
        let touch = Touch {
            event: event.id,
            time: event.time,
            pid: call.pid,
            tid: call.tid,
            unit: call.unit,
        };
        if !self.queue.is_empty() {
            self.expire(event.time, stage);
        }
        let last_call = std::mem::replace(&mut self.last_call, event.time);
        if let Some(speaker) = &mut self.speaker
            && event.time.since(last_call) >= QUIET
        {
            speaker.parser.quiet();
        }
        if call.len == 0 {
            if call.direction == Direction::Received {
                self.release_all(stage);
                self.end_half(Direction::Received, 0, stage);
            }
            return;
        }
        let wraps = self.transport == Transport::Tcp && !self.is_plaintext;
        let start = call.start.min(POSITION_MAX);
        let next = *self.halves[call.direction as usize].next.get_or_insert(start);
        let mut piece = Piece {
            direction: call.direction,
            start: next,
            len: u64::from(call.len),
            bytes: &call.payload[..call.payload.len().min(call.len as usize)],
            touch,
        };
        match place(next, start, wraps) {
            Place::Next(_) => {}
            Place::Ahead(start) => piece.start = start,
            Place::Behind(by) => {
                stage.counters.duplicates += 1;
                if by >= piece.len {
                    return;
                }
                piece = piece.trimmed(by);
                piece.start = next;
            }
        }
        let ready = piece.start == next;
        if ready && self.queue.is_empty() {
            self.deliver(&piece, stage);
        } else if ready && self.is_stuck(piece.direction) {
            self.deliver(&piece, stage);
            self.drain(event.time, stage);
        } else {
            self.hold(&piece, event.time, stage);
        }
    }

    /// The connection ended with `errno`.
    pub(crate) fn close(&mut self, errno: u16, stage: &mut Stage<'_>) {
        self.on_plaintext(stage, |inner, stage| inner.close(errno, stage));
        self.release_all(stage);
        let first = self.client.unwrap_or(Direction::Received);
        self.end_half(first, errno, stage);
        self.end_half(first.opposite(), errno, stage);
        stage.out.messages.append(&mut self.deferred);
    }

    /// No more events will come, though it did not end.
    pub(crate) fn abandon(&mut self, stage: &mut Stage<'_>) {
        self.release_all(stage);
        let first = self.client.unwrap_or(Direction::Received);
        for direction in [first, first.opposite()] {
            let Some(speaker) = &mut self.speaker else { break };
            let before = stage.out.messages.len();
            let half = &mut self.halves[direction as usize];
            let mut work = work(self.id, speaker.row, self.client, direction, stage);
            half.abandon(speaker.parser.as_mut(), &mut work);
            self.order(direction, before, stage);
        }
        stage.out.messages.append(&mut self.deferred);
    }

    /// Gives up waiting for calls that are missing for too long.
    pub(crate) fn expire(&mut self, now: BootTime, stage: &mut Stage<'_>) {
        self.on_plaintext(stage, |inner, stage| inner.expire(now, stage));
        while !self.queue.is_empty() && now.since(self.queue.since) >= stage.options.reorder_wait {
            self.give_up(now, stage);
        }
    }

    /// Since when a call waits for one before it.
    pub(crate) fn waits_since(&self) -> Option<BootTime> {
        let inner = self.plaintext.as_ref().and_then(|inner| inner.waits_since());
        let own = (!self.queue.is_empty()).then_some(self.queue.since);
        inner.into_iter().chain(own).min()
    }

    /// Whether others wait for what goes this way.
    fn is_stuck(&self, direction: Direction) -> bool {
        self.queue.lowest().is_some_and(|(stuck, _)| stuck == direction)
    }

    fn hold(&mut self, piece: &Piece<'_>, now: BootTime, stage: &mut Stage<'_>) {
        stage.counters.reordered += 1;
        *stage.held_bytes += self.queue.push(piece, now);
        let options = stage.options;
        while !self.queue.is_empty()
            && (self.queue.bytes > options.reorder_bytes
                || *stage.held_bytes > options.reorder_bytes_total)
        {
            stage.counters.reorder_full += 1;
            self.give_up(now, stage);
        }
    }

    fn release_all(&mut self, stage: &mut Stage<'_>) {
        while !self.queue.is_empty() {
            self.give_up(self.queue.since, stage);
        }
    }

    /// The hole before the oldest held call will not be filled.
    fn give_up(&mut self, now: BootTime, stage: &mut Stage<'_>) {
        if let Some((direction, to)) = self.queue.lowest() {
            let half = &mut self.halves[direction as usize];
            let from = half.next.unwrap_or(to);
            if from < to {
                stage.counters.gaps += 1;
                stage.counters.gap_bytes += to - from;
                if let Some(speaker) = &mut self.speaker {
                    let client = self.client;
                    let mut work = work(self.id, speaker.row, client, direction, stage);
                    half.skip_gap(speaker.parser.as_mut(), &mut work, to);
                } else {
                    half.lost_events = half.lost_events.saturating_add(1);
                    half.forget();
                }
                half.next = Some(to);
            }
        }
        self.drain(now, stage);
        self.queue.since = now;
    }

    /// Lets held calls go that are in order now.
    fn drain(&mut self, now: BootTime, stage: &mut Stage<'_>) {
        let next = |halves: &[Half; 2]| [0, 1].map(|i| halves[i].next.unwrap_or(u64::MAX));
        let before = self.queue.bytes;
        while let Some(held) = self.queue.pop_ready(next(&self.halves)) {
            let half = &mut self.halves[held.direction as usize];
            let at = half.next.unwrap_or(held.start);
            let piece = held.piece();
            if piece.end() <= at {
                stage.counters.duplicates += 1;
            } else {
                self.deliver(&piece.trimmed(at - piece.start), stage);
            }
        }
        *stage.held_bytes -= before - self.queue.bytes;
        self.queue.since = now;
    }

    /// A call that is next in its direction.
    fn deliver(&mut self, piece: &Piece<'_>, stage: &mut Stage<'_>) {
        self.halves[piece.direction as usize].next = Some(piece.end());
        let before = stage.out.messages.len();
        self.advance(piece, stage);
        self.order(piece.direction, before, stage);
        if let Some(told) = stage.out.messages.get(before..) {
            self.note_handshake(told);
        }
        self.ask_skip(piece, stage);
    }

    fn advance(&mut self, piece: &Piece<'_>, stage: &mut Stage<'_>) {
        let mut rest;
        let mut piece = piece;
        loop {
            if self.speaker.is_none() {
                match self.recognise(piece, stage) {
                    Some(Stop::Drained) | None => return,
                    Some(Stop::NotMine) => return self.failed(piece.direction, stage),
                    Some(Stop::Switch) => {}
                }
            } else {
                match self.parse(piece, stage) {
                    Stop::Drained => return,
                    Stop::NotMine => return self.failed(piece.direction, stage),
                    Stop::Switch => {}
                }
            }
            let at = self.halves[piece.direction as usize].at();
            self.forget_speaker(stage);
            self.rejected = 0;
            self.doubted = 0;
            self.asked = 0;
            self.halves.iter_mut().for_each(|half| half.fresh = true);
            if at >= piece.end() {
                return;
            }
            if at > piece.start {
                rest = piece.trimmed(at - piece.start);
                piece = &rest;
            }
        }
    }

    fn demand(&mut self, bytes: u32, stage: &mut Stage<'_>) {
        if std::mem::replace(&mut self.demanded, bytes) != bytes {
            stage.counters.demands += 1;
            stage.out.demands.push(Demand {
                connection: self.id,
                plaintext: self.is_plaintext,
                bytes_per_call: bytes,
                skip_until: None,
            });
        }
    }

    /// Asks capture to copy nothing of a long body.
    fn ask_skip(&mut self, piece: &Piece<'_>, stage: &mut Stage<'_>) {
        let half = &mut self.halves[piece.direction as usize];
        let end = piece.end();
        if half.at() < end + stage.options.skip_bytes_min || half.skip_asked > end || !half.synced {
            return;
        }
        let until = half.at().min(end + SKIP_MAX);
        half.skip_asked = until;
        let wraps = self.transport == Transport::Tcp && !self.is_plaintext;
        let position = if wraps { u64::from(until as u32) } else { until };
        stage.counters.demands += 1;
        stage.out.demands.push(Demand {
            connection: self.id,
            plaintext: self.is_plaintext,
            bytes_per_call: if self.demanded == 0 {
                stage.options.head_bytes
            } else {
                self.demanded
            },
            skip_until: Some((piece.direction, position)),
        });
    }

    /// Puts responses aside whose request is still on its way, and lets go those that waited.
    fn order(&mut self, direction: Direction, from: usize, stage: &mut Stage<'_>) {
        let requests = &self.halves[direction.opposite() as usize];
        let mut index = from;
        while let Some(message) = stage.out.messages.get(index) {
            let stream = message.stream.stream;
            let is_single = stream == 0;
            match message.role {
                MessageRole::Request if is_single => {
                    self.unanswered = self.unanswered.saturating_add(1);
                }
                MessageRole::Response if is_single && self.unanswered > 0 => {
                    self.unanswered -= u32::from(!message.interim);
                }
                MessageRole::Response if requests.is_busy(stream) => {
                    self.deferred.push(stage.out.messages.remove(index));
                    continue;
                }
                _ => {}
            }
            index += 1;
        }
        if self.deferred.is_empty() {
            return;
        }
        if self.deferred.len() > stage.options.deferred_max {
            stage.counters.unordered_responses += self.deferred.len() as u64;
            stage.out.messages.append(&mut self.deferred);
            return;
        }
        let halves = &self.halves;
        let waits = |message: &mut Box<Message>| {
            halves[message.direction.opposite() as usize].is_busy(message.stream.stream)
        };
        let ready = self.deferred.extract_if(.., |message| !waits(message));
        for message in ready {
            if message.stream.stream == 0 && !message.interim {
                self.unanswered = self.unanswered.saturating_sub(1);
            }
            stage.out.messages.push(message);
        }
    }

    fn end_half(&mut self, direction: Direction, errno: u16, stage: &mut Stage<'_>) {
        let Some(speaker) = &mut self.speaker else { return };
        let before = stage.out.messages.len();
        let half = &mut self.halves[direction as usize];
        let mut work = work(self.id, speaker.row, self.client, direction, stage);
        half.end(speaker.parser.as_mut(), &mut work, errno);
        self.order(direction, before, stage);
    }
}

/// Which direction the client's bytes take where the owner is `side`.
fn client_direction(side: Side) -> Direction {
    match side {
        Side::Client => Direction::Sent,
        Side::Server => Direction::Received,
    }
}

/// Who sends in `direction`.
fn side(client: Direction, direction: Direction) -> Side {
    if client == direction { Side::Client } else { Side::Server }
}

/// What a half needs to go on.
fn work<'a>(
    connection: ConnectionId,
    row: usize,
    client: Option<Direction>,
    direction: Direction,
    stage: &'a mut Stage<'_>,
) -> Work<'a> {
    Work {
        who: Who {
            protocol: stage.rows.name(row),
            connection,
            direction,
            boot: stage.boot,
            payload_max: stage.options.max_payload_size,
        },
        from: client.map_or(Side::Client, |client| side(client, direction)),
        open_max: stage.options.open_messages,
        counters: stage.counters,
        payloads: stage.payloads,
        messages: &mut stage.out.messages,
    }
}
