//! Connection: two halves, the protocol they speak, and the calls that came too early.

use deeptrace_model::{
    BootTime, Call, ConnectionId, Demand, Direction, Endpoint, Event, Message, MessageRole, Open,
    Origin, Touch, Transport,
};

use crate::counters::Counters;
use crate::half::{Half, Stop, Work};
use crate::open_message::Who;
use crate::recognition::{Guess, Question, ask};
use crate::reorder::{Piece, Place, Queue, place};
use crate::{CopyPolicy, Options, Output, Parser, Protocol, Side};

/// Times of failure after which the protocol is in doubt.
const FAILURES_MAX: u32 = 3;

/// Calls in which no start was found, after which the protocol is in doubt.
const MISSES_MAX: u32 = 256;

/// Calls of an unknown connection that are all looked at; later ones now and then.
const ASKED_MAX: u32 = 32;

/// Bytes kept of an unknown connection, in case that a head came in pieces.
const KEPT_MAX: usize = 256;

/// Bytes that capture may skip at once: half of what 32-bit sequence numbers can compare.
const SKIP_MAX: u64 = 1 << 30;

/// No stream gets so far; positions beyond are not believed.
const POSITION_MAX: u64 = 1 << 60;

/// What a connection needs of its stage.
pub(crate) struct Stage<'a> {
    pub(crate) options: &'a Options,
    pub(crate) table: &'a [Protocol],
    pub(crate) counters: &'a mut Counters,
    pub(crate) held_bytes: &'a mut usize,
    pub(crate) out: &'a mut Output,
}

/// The protocol of a connection.
pub(crate) struct Speaker {
    pub(crate) row: usize,
    pub(crate) parser: Box<dyn Parser>,
    /// Whether it is sure: a parser that was only tried has cut a whole message.
    confirmed: bool,
    failures: u32,
    misses: u32,
}

impl Speaker {
    /// The protocol in `row`, beyond doubt.
    pub(crate) fn sure(table: &[Protocol], row: usize) -> Self {
        Self { row, parser: (table[row].parser)(), confirmed: true, failures: 0, misses: 0 }
    }
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
    deferred: Vec<Message>,
    /// How often recognition was asked.
    asked: u32,
    /// Rows that were tried in vain.
    rejected: u128,
    demanded: u32,
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
            asked: 0,
            rejected: 0,
            demanded: 0,
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
        if call.len == 0 {
            if call.direction == Direction::Received {
                self.release_all(stage);
                self.end_half(Direction::Received, 0, stage);
            }
            return;
        }
        let wraps = self.transport == Transport::Tcp;
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
                piece.trim(by);
                piece.start = next;
            }
        }
        let ready = piece.start == next;
        if ready && self.queue.is_empty() {
            self.deliver(piece, stage);
        } else if ready && self.queue.stuck() == Some(piece.direction) {
            self.deliver(piece, stage);
            self.drain(event.time, stage);
        } else {
            self.hold(&piece, event.time, stage);
        }
    }

    /// The connection ended with `errno`.
    pub(crate) fn close(&mut self, errno: u16, stage: &mut Stage<'_>) {
        self.release_all(stage);
        let first = self.client.unwrap_or(Direction::Received);
        self.end_half(first, errno, stage);
        self.end_half(first.opposite(), errno, stage);
        stage.out.messages.append(&mut self.deferred);
    }

    /// Gives up waiting for calls that are missing for too long.
    pub(crate) fn expire(&mut self, now: BootTime, stage: &mut Stage<'_>) {
        while !self.queue.is_empty() && now.since(self.queue.since) >= stage.options.reorder_wait {
            self.give_up(now, stage);
        }
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
            let mut piece = held.piece();
            if piece.end() <= at {
                stage.counters.duplicates += 1;
            } else {
                piece.trim(at - piece.start);
                self.deliver(piece, stage);
            }
        }
        *stage.held_bytes -= before - self.queue.bytes;
        self.queue.since = now;
    }

    /// A call that is next in its direction.
    fn deliver(&mut self, piece: Piece<'_>, stage: &mut Stage<'_>) {
        self.halves[piece.direction as usize].next = Some(piece.end());
        let before = stage.out.messages.len();
        self.advance(piece, stage);
        self.order(piece.direction, before, stage);
        self.ask_skip(&piece, stage);
    }

    fn advance(&mut self, mut piece: Piece<'_>, stage: &mut Stage<'_>) {
        loop {
            if self.speaker.is_none() {
                match self.recognise(&piece, stage) {
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
            self.asked = 0;
            self.halves.iter_mut().for_each(|half| half.fresh = true);
            if at >= piece.end() {
                return;
            }
            if at > piece.start {
                piece.trim(at - piece.start);
            }
        }
    }

    /// Gives a call to the parser, if the direction is in step or the call starts a message.
    fn parse(&mut self, piece: Piece<'_>, stage: &mut Stage<'_>) -> Stop {
        let Some(speaker) = &mut self.speaker else { return Stop::Drained };
        let half = &mut self.halves[piece.direction as usize];
        let mut work = work(self.id, speaker.row, self.client, piece.direction, stage);
        if !half.synced {
            let is_start =
                !piece.bytes.is_empty() && speaker.parser.is_start(work.from, piece.bytes);
            if !is_start {
                work.counters.unsynchronised_bytes += piece.len;
                speaker.misses += 1;
                return if speaker.misses > MISSES_MAX { Stop::NotMine } else { Stop::Drained };
            }
            work.counters.resynchronised += 1;
            half.restart(piece.start, true);
        }
        let finished = half.finished;
        let stop = half.feed(speaker.parser.as_mut(), &mut work, piece);
        if half.finished > finished {
            speaker.failures = 0;
            speaker.misses = 0;
            if !speaker.confirmed {
                speaker.confirmed = true;
                self.know(stage);
            }
        }
        stop
    }

    /// The protocol is sure.
    pub(crate) fn know(&mut self, stage: &mut Stage<'_>) {
        stage.counters.recognised += 1;
        let Some(row) = self.row() else { return };
        let bytes = match stage.table[row].copy {
            CopyPolicy::Head => stage.options.head_bytes,
            CopyPolicy::All => 16384,
        };
        self.demand(bytes, stage);
    }

    fn demand(&mut self, bytes: u32, stage: &mut Stage<'_>) {
        if std::mem::replace(&mut self.demanded, bytes) != bytes {
            stage.counters.demands += 1;
            stage.out.demands.push(Demand {
                connection: self.id,
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
        let is_tcp = self.transport == Transport::Tcp;
        let position = if is_tcp { u64::from(until as u32) } else { until };
        stage.counters.demands += 1;
        stage.out.demands.push(Demand {
            connection: self.id,
            bytes_per_call: if self.demanded == 0 {
                stage.options.head_bytes
            } else {
                self.demanded
            },
            skip_until: Some((piece.direction, position)),
        });
    }

    /// Bytes that the parser does not know: it looks for the next start, or is in doubt.
    fn failed(&mut self, direction: Direction, stage: &mut Stage<'_>) {
        stage.counters.not_mine += 1;
        let Some(speaker) = &mut self.speaker else { return };
        let half = &mut self.halves[direction as usize];
        let mut from = work(self.id, speaker.row, self.client, direction, stage).from;
        if self.client.is_none() {
            from = Side::Client;
        }
        let _ = speaker.parser.lost(from);
        half.restart(half.next.unwrap_or(0), false);
        half.forget();
        speaker.failures += 1;
        if speaker.confirmed && speaker.failures < FAILURES_MAX && speaker.misses <= MISSES_MAX {
            return;
        }
        stage.counters.misrecognised += 1;
        if !speaker.confirmed {
            self.rejected |= 1u128.checked_shl(speaker.row as u32).unwrap_or(0);
        }
        self.asked = 0;
        self.forget_speaker(stage);
        self.halves.iter_mut().for_each(Half::forget);
    }

    fn forget_speaker(&mut self, stage: &mut Stage<'_>) {
        self.speaker = None;
        self.client = self.origin_side.map(client_direction);
        if self.demanded != 0 {
            self.demand(stage.options.head_bytes, stage);
        }
    }

    /// Whether a datagram is to be looked at: of unknown sockets only the first, then now and then.
    pub(crate) fn worth_asking(&mut self) -> bool {
        if self.speaker.is_some() {
            return true;
        }
        self.asked = self.asked.saturating_add(1);
        self.asked <= ASKED_MAX || self.asked.is_multiple_of(ASKED_MAX)
    }

    /// Looks for the protocol of a call of an unknown connection, and parses it when found.
    fn recognise(&mut self, piece: &Piece<'_>, stage: &mut Stage<'_>) -> Option<Stop> {
        self.asked = self.asked.saturating_add(1);
        let late = self.asked > ASKED_MAX;
        if late {
            self.halves[piece.direction as usize].forget();
            if self.asked == ASKED_MAX + 1 {
                self.demand(stage.options.unknown_bytes, stage);
            }
            if !self.asked.is_multiple_of(ASKED_MAX) {
                return None;
            }
            self.rejected = 0;
        }
        if piece.bytes.is_empty() {
            self.halves[piece.direction as usize].forget();
            return None;
        }
        let half = &mut self.halves[piece.direction as usize];
        if !half.kept().is_empty() {
            half.keep(piece);
            let call_len = half.kept().len() + piece.len as usize - piece.bytes.len();
            if let Some(guess) = self.guess(piece.direction, call_len, None, stage) {
                return Some(self.begin(guess, piece, true, stage));
            }
        }
        if let Some(guess) =
            self.guess(piece.direction, piece.len as usize, Some(piece.bytes), stage)
        {
            let half = &mut self.halves[piece.direction as usize];
            if !half.kept().is_empty() {
                half.forget();
            }
            return Some(self.begin(guess, piece, false, stage));
        }
        let half = &mut self.halves[piece.direction as usize];
        if half.kept().is_empty() && !late {
            half.keep(piece);
        }
        if half.kept().len() > KEPT_MAX || (piece.bytes.len() as u64) < piece.len {
            half.forget();
        }
        None
    }

    fn guess(
        &self,
        direction: Direction,
        call_len: usize,
        bytes: Option<&[u8]>,
        stage: &Stage<'_>,
    ) -> Option<Guess> {
        let from = self.client.map(|client| side(client, direction));
        ask(
            stage.table,
            &Question {
                bytes: bytes.unwrap_or_else(|| self.halves[direction as usize].kept()),
                call_len,
                transport: self.transport,
                from,
                server_port: self.server_port,
                rejected: self.rejected,
            },
        )
    }

    /// A protocol is believed, or tried: parses what came of the other direction and this call.
    fn begin(
        &mut self,
        guess: Guess,
        piece: &Piece<'_>,
        kept: bool,
        stage: &mut Stage<'_>,
    ) -> Stop {
        let parser = (stage.table[guess.row].parser)();
        let confirmed = guess.sure;
        let direction = piece.direction;
        self.client = Some(match guess.from {
            Side::Client => direction,
            Side::Server => direction.opposite(),
        });
        self.speaker = Some(Speaker { row: guess.row, parser, confirmed, failures: 0, misses: 0 });
        if confirmed {
            self.know(stage);
        }
        self.begin_other(direction.opposite(), stage);
        let half = &mut self.halves[direction as usize];
        half.finished = 0;
        half.synced = true;
        if kept {
            self.replay(direction, stage)
        } else {
            half.restart(piece.start, true);
            self.parse(*piece, stage)
        }
    }

    /// The direction in which the protocol was not recognised: from its start, if that is known.
    fn begin_other(&mut self, direction: Direction, stage: &mut Stage<'_>) {
        let Some(speaker) = &mut self.speaker else { return };
        let half = &mut self.halves[direction as usize];
        let from = work(self.id, speaker.row, self.client, direction, stage).from;
        half.finished = 0;
        let kept = !half.kept().is_empty();
        half.synced = half.fresh || (kept && speaker.parser.is_start(from, half.kept()));
        if !kept || !half.synced {
            half.restart(half.next.unwrap_or(0), half.synced && half.next.is_some());
        } else if self.replay(direction, stage) != Stop::Drained {
            let half = &mut self.halves[direction as usize];
            half.restart(half.next.unwrap_or(0), false);
        }
    }

    /// Parses what was kept while the protocol was unknown.
    fn replay(&mut self, direction: Direction, stage: &mut Stage<'_>) -> Stop {
        let Some(speaker) = &mut self.speaker else { return Stop::Drained };
        let half = &mut self.halves[direction as usize];
        let mut work = work(self.id, speaker.row, self.client, direction, stage);
        let stop = half.replay(speaker.parser.as_mut(), &mut work);
        if half.finished > 0 && !speaker.confirmed {
            speaker.confirmed = true;
            self.know(stage);
        }
        stop
    }

    /// Puts responses aside whose request is still on its way, and lets go those that waited.
    fn order(&mut self, direction: Direction, from: usize, stage: &mut Stage<'_>) {
        let requests = &self.halves[direction.opposite() as usize];
        let mut index = from;
        while index < stage.out.messages.len() {
            let message = &stage.out.messages[index];
            if message.role == MessageRole::Response && requests.is_busy(message.stream.stream) {
                self.deferred.push(stage.out.messages.remove(index));
            } else {
                index += 1;
            }
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
        let waits = |message: &mut Message| {
            halves[message.direction.opposite() as usize].is_busy(message.stream.stream)
        };
        stage.out.messages.extend(self.deferred.extract_if(.., |message| !waits(message)));
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
            protocol: stage.table[row].name,
            connection,
            direction,
            payload_max: stage.options.max_payload_size,
        },
        from: client.map_or(Side::Client, |client| side(client, direction)),
        open_max: stage.options.open_messages,
        counters: stage.counters,
        messages: &mut stage.out.messages,
    }
}
