//! Streams: requests and calls that share connections (HTTP/2, gRPC, and whatever has streams). Who reads
//! or writes a shared connection works for nobody, so every stream is treated as a connection of its own, whose
//! events happen in the unit that owns the stream.
//!
//! Where a runtime has tasks, the owner is told by order (`windows.rs`), and the rules of `flow` go on from
//! there. Elsewhere three rules vote on each call: threads that write their own frames (`gaps.rs`), rounds of
//! loops (`rounds.rs`), and balance where nothing else is known (`balance.rs`). Where two of them speak and
//! differ there is no answer.
//!
//! Everything is looked at a little later than it happened, in the order in which it happened: a message is
//! known when it is complete.

mod balance;
mod decide;
mod gaps;
mod roles;
mod rounds;
#[cfg(test)]
mod tests;
mod windows;

use deeptrace_model::{
    BootTime, Call, ConnectionId, Direction, Duration, EventId, HandOver, HandOverKind, Message,
    SpanId, Touch, UnitId, UnitKind,
};
use rustc_hash::FxHashMap;

use self::balance::Balance;
use self::gaps::Gaps;
use self::roles::Roles;
use self::rounds::Rounds;
use self::windows::{Acted, Part, Windows};
use crate::flow::{Decided, Flow};

/// Connections with streams that are followed; beyond, all are forgotten and found again.
const CONNECTIONS_MAX: usize = 4096;
/// Requests and calls that are followed, and things that wait to be looked at; beyond, new ones are not.
const STREAMS_MAX: usize = 16_384;
const THINGS_MAX: usize = 65_536;
/// A side of a process whose streams overlapped is taken to share connections for so long.
const SHARED_MEMORY: Duration = Duration::from_secs(60);
/// How much later than it happened everything is looked at.
pub(crate) const LATER: Duration = Duration::from_millis(60);
/// How much later it is looked at who is made ready: by then it is known who carries bytes for others.
const SOON: Duration = Duration::from_millis(30);

/// The unit that owns a stream, and when that was seen.
#[derive(Clone, Copy, Debug)]
struct Bound {
    unit: UnitId,
    time: BootTime,
}

/// A request or a call.
#[derive(Clone, Copy, Debug)]
struct Stream {
    is_request: bool,
    /// Whether the units of its process are tasks.
    is_task: bool,
    /// Whether it came over a connection that others share.
    is_shared: bool,
    /// Who wrote the call, and when; when the request was read.
    writer: UnitId,
    since: BootTime,
    /// When the answer began to be written, or the response was there.
    end: Option<BootTime>,
    reader: UnitId,
    /// What threads that write their own frames say, and how many calls there were beside it.
    gap: Option<(SpanId, usize)>,
    is_told: bool,
}

/// Something that came into the process or went out.
#[derive(Clone, Copy, Debug)]
struct Thing {
    time: BootTime,
    event: EventId,
    start: u64,
    connection: ConnectionId,
    thread: UnitId,
    span: SpanId,
    is_in: bool,
    is_request: bool,
}

/// The streams of one process.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Open streams of a connection; whether requests are read from it.
    connections: FxHashMap<ConnectionId, (u32, bool)>,
    /// Since when requests, and calls, have been seen to share connections.
    shared: [Option<BootTime>; 2],
    streams: FxHashMap<SpanId, Stream>,
    bound: FxHashMap<SpanId, Bound>,
    roles: Roles,
    windows: Windows,
    fresh: Vec<Part>,
    things: Vec<Thing>,
    settled: BootTime,
    /// Things that are open, as far as the order of things was looked at.
    open: usize,
    gaps: Gaps,
    rounds: Rounds,
    balance: Balance,
    pub(crate) shed: u64,
}

impl Streams {
    /// A message of this connection came or went; its stream begins or ends with it.
    fn count(&mut self, message: &Message, begins: bool) {
        if message.stream.stream == 0 {
            return;
        }
        if self.connections.len() >= CONNECTIONS_MAX {
            self.connections.clear();
        }
        let is_server = (message.direction == Direction::Received) == begins;
        let known = self.connections.entry(message.stream.connection).or_default();
        known.1 = is_server;
        known.0 = if begins { known.0.saturating_add(1) } else { known.0.saturating_sub(1) };
        if known.0 >= 2 {
            self.shared[usize::from(is_server)] = Some(message.last.time);
        }
    }

    /// Whether anything of this process shares connections.
    pub(crate) fn is_used(&self) -> bool {
        self.shared.iter().any(Option::is_some)
    }

    /// Whether a request or call is treated as a connection of its own.
    fn takes(&self, message: &Message, is_server: bool) -> bool {
        message.stream.stream != 0 && self.shared[usize::from(is_server)].is_some()
    }

    /// A request was read. True: it is followed here.
    pub(crate) fn read(&mut self, span: SpanId, message: &Message, flow: &mut Flow) -> bool {
        self.count(message, true);
        let is_taken = self.takes(message, true);
        let is_taken = self.begin(span, &message.last, true, is_taken) && is_taken;
        if is_taken {
            self.part(span, message, true, None);
            flow.opened(span, message.first.time);
        }
        self.thing(span, message, &message.last, true, true);
        is_taken
    }

    /// A call was sent. True: it is followed here.
    pub(crate) fn called(&mut self, span: SpanId, message: &Message, flow: &mut Flow) -> bool {
        self.count(message, true);
        let is_taken = self.takes(message, false);
        let is_taken = self.begin(span, &message.first, false, is_taken) && is_taken;
        if is_taken {
            self.roles.wrote(message.first.unit, false);
            if message.first.unit.kind() == UnitKind::Task {
                flow.pended(span, message.first.time);
            }
        }
        self.thing(span, message, &message.first, false, false);
        is_taken
    }

    /// The response to a call was read.
    pub(crate) fn returned(&mut self, span: SpanId, message: &Message, flow: &mut Flow) {
        self.count(message, false);
        let Some(stream) = self.streams.get_mut(&span) else { return };
        stream.end = Some(message.last.time);
        stream.reader = message.last.unit;
        let stream = *stream;
        if stream.is_shared {
            let writer = Some(stream.writer).filter(|unit| !self.roles.is_carrier(*unit));
            self.part(span, message, false, writer);
            flow.ended(span, message.last.time);
        }
        self.thing(span, message, &message.last, true, false);
    }

    /// The answer to a request was sent. True: it is followed here.
    pub(crate) fn answered(&mut self, span: SpanId, message: &Message, flow: &mut Flow) -> bool {
        self.count(message, false);
        let Some(stream) = self.streams.get_mut(&span) else { return false };
        stream.end = Some(message.first.time);
        stream.reader = message.first.unit;
        let is_shared = stream.is_shared;
        if is_shared {
            self.roles.wrote(message.first.unit, true);
            flow.left(span, message.last.time);
        }
        self.thing(span, message, &message.first, false, true);
        is_shared
    }

    /// Forgets a request that nobody will answer.
    pub(crate) fn abandoned(&mut self, span: SpanId) {
        if self.streams.remove(&span).is_some() {
            self.bound.remove(&span);
            self.balance.lost();
        }
    }

    /// Bytes were read; messages that they completed were told before.
    pub(crate) fn moved(&mut self, time: BootTime, call: &Call<'_>) {
        let fresh = std::mem::take(&mut self.fresh);
        let is_read = call.direction == Direction::Received && call.unit.kind() == UnitKind::Task;
        let Some((_, is_server)) = self.connections.get(&call.connection) else { return };
        if is_read && self.shared[usize::from(*is_server)].is_some() {
            self.roles.read(call.unit, call.connection, time);
            self.windows.read(call.unit, call.connection, time, fresh);
        }
    }

    /// Work went from a task to another.
    pub(crate) fn handed(&mut self, time: BootTime, hand_over: &HandOver) {
        let HandOver { kind, from, to, .. } = *hand_over;
        let (from, to) = match kind {
            HandOverKind::Ready | HandOverKind::Birth => (from, to),
            HandOverKind::Taken => (to, from),
            _ => return,
        };
        if self.is_used() {
            if kind != HandOverKind::Birth {
                self.roles.pinged(from, to);
            }
            self.windows.acted(Acted { time, from, to, kind });
        }
    }

    /// Events are missing before now.
    pub(crate) fn lost(&mut self) {
        self.balance.lost();
        self.rounds.lost();
        self.gaps = Gaps::default();
    }

    /// Looks at what happened until [`LATER`] before `now`. `is_idle`: nothing is open in the process.
    pub(crate) fn settle(
        &mut self,
        now: BootTime,
        is_idle: bool,
        flow: &mut Flow,
        out: &mut Vec<Decided>,
    ) {
        let until = now.minus(LATER);
        flow.set_carriers(self.roles.carriers());
        self.windows.look(now.minus(SOON), &self.roles);
        self.windows.bind(until, &self.roles, &mut self.bound);
        self.shed += std::mem::take(&mut self.windows.shed);
        self.things.sort_by_key(|thing| (thing.time, thing.event, thing.start));
        let ready = self.things.partition_point(|thing| thing.time <= until);
        let things: Vec<Thing> = self.things.drain(..ready).collect();
        if things.first().is_some_and(|thing| thing.time < self.settled) {
            self.balance.lost();
        }
        self.settled = self.settled.max(until);
        for writes in things.chunk_by(|a, b| a.event == b.event && a.is_in == b.is_in) {
            for thing in writes {
                self.look(thing, writes.len() == 1);
            }
        }
        if is_idle && self.things.is_empty() {
            self.open = 0;
            self.balance.idle();
            self.rounds.idle();
        }
        let streams = &self.streams;
        self.balance.settle(&|span| streams.get(&span).is_some_and(|it| it.is_request));
        self.tell(until, flow, out);
        let before = now.minus(SHARED_MEMORY);
        for shared in &mut self.shared {
            *shared = shared.filter(|time| *time >= before);
        }
    }

    /// Forgets what is older than `before`.
    pub(crate) fn expire(&mut self, before: BootTime) {
        self.streams.retain(|_, stream| stream.since >= before);
        let streams = &self.streams;
        self.bound.retain(|span, _| streams.contains_key(span));
        self.balance.forget(|span| streams.contains_key(&span));
        self.rounds.forget(before, |span| streams.contains_key(&span));
        self.gaps.expire(before);
        self.roles.expire(before);
        if !self.is_used() {
            self.things.clear();
            self.connections.retain(|_, (open, _)| *open > 0);
        }
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.things.is_empty() && self.bound.is_empty()
    }

    /// Begins to follow a request or call. False: it is not.
    fn begin(&mut self, span: SpanId, touch: &Touch, is_request: bool, is_shared: bool) -> bool {
        let is_task = touch.unit.kind() == UnitKind::Task;
        if !self.is_used() || (is_task && !is_shared) {
            return false;
        }
        if self.streams.len() >= STREAMS_MAX {
            self.shed += 1;
            self.balance.lost();
            return false;
        }
        let (writer, since) = (touch.unit, touch.time);
        let (end, gap, is_told, reader) = (None, None, false, touch.unit);
        let stream =
            Stream { is_request, is_task, is_shared, writer, since, end, reader, gap, is_told };
        self.streams.insert(span, stream);
        true
    }

    fn part(&mut self, span: SpanId, message: &Message, is_request: bool, writer: Option<UnitId>) {
        if message.last.unit.kind() == UnitKind::Task && self.fresh.len() < STREAMS_MAX {
            let (start, time) = (message.start, (message.first.time, message.last.time));
            self.fresh.push(Part { span, start, is_request, writer, time });
        }
    }

    fn thing(
        &mut self,
        span: SpanId,
        message: &Message,
        touch: &Touch,
        is_in: bool,
        is_request: bool,
    ) {
        let is_followed = self.streams.get(&span).is_some_and(|stream| !stream.is_task);
        if !is_followed {
            return;
        }
        if self.things.len() >= THINGS_MAX {
            self.shed += 1;
            self.balance.lost();
            return;
        }
        let (time, event, thread) = (touch.time, touch.event, UnitId::of(touch.tid));
        let (start, connection) = (message.start, message.stream.connection);
        let thing = Thing { time, event, start, connection, thread, span, is_in, is_request };
        self.things.push(thing);
    }

    /// Shows the rules what happened; `alone`: nothing else did in the same read or write.
    fn look(&mut self, thing: &Thing, alone: bool) {
        let Thing { time, connection, thread, span, is_in, is_request, .. } = *thing;
        let begins = is_in == is_request;
        self.open = if begins { self.open + 1 } else { self.open.saturating_sub(1) };
        if is_in {
            self.balance.came(span);
            self.rounds.read(thread, time, span, is_request);
        } else {
            self.balance.went(span);
            self.rounds.wrote(thread, span, is_request, connection);
        }
        match (is_in, is_request) {
            (false, false) => self.gaps.called(thread, time, span, alone),
            (false, true) => {
                let Some(since) = self.streams.get(&span).map(|stream| stream.since) else {
                    return;
                };
                let streams = &self.streams;
                let ended = |call| streams.get(&call).and_then(|call: &Stream| call.end);
                let mut found = Vec::new();
                self.gaps.answered(thread, time, since, alone, &ended, &mut |call, count| {
                    found.push((call, count));
                });
                for (call, count) in found {
                    if let Some(stream) = self.streams.get_mut(&call) {
                        stream.gap = Some((span, count));
                    }
                }
            }
            _ => {}
        }
        if self.open == 0 {
            self.balance.idle();
            self.rounds.idle();
        }
    }
}
