//! The stage: events of sockets in, messages and demands out.

use std::collections::VecDeque;

use deeptrace_bounded::Bounded;
use deeptrace_model::{
    BootTime, Call, ConnectionId, Demand, Duration, Event, EventBody, Message, Transport,
};

use crate::connection::{Connection, Stage};
use crate::counters::Counters;
use crate::payloads::Payloads;
use crate::redactor::Redactor;
use crate::rows::Rows;
use crate::{Handler, Protocol, Rules, TABLE};

/// Limits and sizes of the stage.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections followed at once; beyond, one that was not used lately is dropped.
    pub connections: usize,
    /// First bytes of a message that it carries as its payload.
    pub max_payload_size: usize,
    /// Bytes copied of each call where the protocol asks for the head only. Heads of HTTP are
    /// often longer than 256 bytes, and their lengths are needed to stay in step.
    pub head_bytes: u32,
    /// Bytes copied of each call of a connection whose protocol stays unknown: enough to
    /// recognise it later.
    pub unknown_bytes: u32,
    /// Bodies with more than so many bytes to come are not copied at all.
    pub skip_bytes_min: u64,
    /// How long calls wait for one before them that is missing.
    pub reorder_wait: Duration,
    /// Bytes that one connection may hold back while it waits.
    pub reorder_bytes: usize,
    /// Bytes that all connections may hold back.
    pub reorder_bytes_total: usize,
    /// Unfinished messages in one direction of a connection.
    pub open_messages: usize,
    /// Responses of one connection that may wait for requests that are still on their way.
    pub deferred_max: usize,
    /// Protocols beside those of the table; see [`Handler::check`].
    pub handlers: Vec<Handler>,
    /// What must not be kept, beside the credentials that protocols carry.
    pub rules: Rules,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 65_536,
            max_payload_size: 512,
            head_bytes: 1024,
            unknown_bytes: 64,
            skip_bytes_min: 65_536,
            reorder_wait: Duration::from_millis(200),
            reorder_bytes: 256 * 1024,
            reorder_bytes_total: 4 * 1024 * 1024,
            open_messages: 256,
            deferred_max: 256,
            handlers: Vec::new(),
            rules: Rules::default(),
        }
    }
}

/// What the stage gives out. The caller drains it.
///
/// Messages of one connection come in the order in which they are to be paired: no response
/// before its request, where both were seen. A message's stream is its protocol's own id. On a
/// datagram socket that is not connected the peer, where known, is in `network.peer.address` and
/// `network.peer.port`; where that is so of all that is received, the high 32 bits of the streams
/// of received requests and their answers are a hash of the peer.
#[derive(Debug, Default)]
pub struct Output {
    /// Messages, each after the event that completed it.
    pub messages: Vec<Box<Message>>,
    /// What to tell capture.
    pub demands: Vec<Demand>,
}

/// Bytes of socket calls into messages.
pub struct Protocols {
    options: Options,
    rows: Rows,
    connections: Bounded<ConnectionId, Connection>,
    /// Connections that wait for missing calls, with when to look again.
    waiting: VecDeque<(BootTime, ConnectionId)>,
    held_bytes: usize,
    payloads: Payloads,
    boot: u64,
    counters: Counters,
}

impl Protocols {
    /// A stage with all protocols.
    pub fn new(options: Options) -> Self {
        Self::with_table(options, TABLE)
    }

    /// A stage with the protocols of `table`, asked in its order.
    pub fn with_table(mut options: Options, table: &'static [Protocol]) -> Self {
        let rows = Rows::new(table, std::mem::take(&mut options.handlers));
        let mut payloads = Payloads::default();
        payloads.redactor = Redactor::new(options.rules.clone());
        Self {
            connections: Bounded::new(options.connections),
            options,
            rows,
            waiting: VecDeque::new(),
            held_bytes: 0,
            payloads,
            boot: 0,
            counters: Counters::default(),
        }
    }

    /// Changes how many first bytes of a message it carries; for messages that are cut from now on.
    pub fn set_max_payload_size(&mut self, bytes: usize) {
        self.options.max_payload_size = bytes;
    }

    /// Changes what must not be kept; for messages that end from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.payloads.redactor = Redactor::new(rules);
    }

    /// Takes the next event. Events that are not of sockets are ignored.
    pub fn feed(&mut self, event: &Event<'_>, out: &mut Output) {
        match &event.body {
            EventBody::Call(call) => {
                self.call(call, out, |connection, stage| match connection.transport.is_stream() {
                    true => connection.call(event, call, stage),
                    false => connection.datagram(event, call, stage),
                })
            }
            EventBody::Plaintext(plain) => {
                self.call(&plain.call, out, |connection, stage| {
                    connection.plaintext(event, plain, stage);
                });
            }
            EventBody::Host(host) => self.boot = host.boot,
            EventBody::Open(open) => {
                if let Some(known) = self.connections.get_mut(open.connection) {
                    return known.adopt(open);
                }
                let old = self.connections.insert(open.connection, Connection::open(open));
                self.drop_connection(old, out);
            }
            EventBody::Close(close) => {
                if let Some(mut connection) = self.connections.remove(close.connection) {
                    connection.close(close.errno, &mut self.stage(out));
                }
            }
            _ => {}
        }
    }

    /// Time has come to `now`: calls that waited too long for one before them go on without it.
    pub fn tick(&mut self, now: BootTime, out: &mut Output) {
        while let Some((due, id)) = self.waiting.front().copied() {
            if due > now {
                return;
            }
            self.waiting.pop_front();
            let wait = self.options.reorder_wait;
            let mut stage = Stage {
                options: &self.options,
                rows: &self.rows,
                counters: &mut self.counters,
                held_bytes: &mut self.held_bytes,
                payloads: &mut self.payloads,
                boot: self.boot,
                out,
            };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.expire(now, &mut stage);
            let waits = connection.waits_since();
            connection.queue.watched = waits.is_some();
            if let Some(since) = waits {
                self.waiting.push_back((since.plus(wait), id));
            }
        }
    }

    /// No more events will come: what is under way in connections that did not end is given out as
    /// incomplete, as after a loss.
    pub fn end(&mut self, out: &mut Output) {
        let mut ids: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        // In an order that is the same every time.
        ids.sort_unstable();
        for id in ids {
            if let Some(mut connection) = self.connections.remove(id) {
                connection.abandon(&mut self.stage(out));
            }
        }
    }

    /// Every counter of the stage.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        self.counters.each(out);
        self.rows.counters(out);
        out("protocol_connections", self.connections.len() as u64);
        out("protocol_reorder_bytes", self.held_bytes as u64);
    }

    /// The connections followed, each with the name of its protocol once that is known: under TLS, if
    /// its plaintext is seen.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionId, Option<&'static str>)> {
        self.connections.iter().map(|(id, c)| {
            let row = c.plaintext_row().or_else(|| c.row());
            (id, row.map(|row| self.rows.name(row)))
        })
    }

    fn call(
        &mut self,
        call: &Call<'_>,
        out: &mut Output,
        take: impl FnOnce(&mut Connection, &mut Stage<'_>),
    ) {
        self.counters.calls += 1;
        if !self.connections.touch(call.connection) {
            let new = Connection::unknown(call.connection, transport_of(call));
            let old = self.connections.insert(call.connection, new);
            self.drop_connection(old, out);
        }
        let mut stage = Stage {
            options: &self.options,
            rows: &self.rows,
            counters: &mut self.counters,
            held_bytes: &mut self.held_bytes,
            payloads: &mut self.payloads,
            boot: self.boot,
            out,
        };
        let Some(connection) = self.connections.touched() else { return };
        take(connection, &mut stage);
        let waits = connection.waits_since();
        if let Some(since) = waits.filter(|_| !connection.queue.watched) {
            connection.queue.watched = true;
            self.waiting.push_back((since.plus(self.options.reorder_wait), call.connection));
        }
    }

    /// A connection made room: what was under way in it ends as if it had been closed.
    fn drop_connection(&mut self, old: Option<(ConnectionId, Connection)>, out: &mut Output) {
        if let Some((_, mut old)) = old {
            self.counters.evicted += 1;
            old.close(0, &mut self.stage(out));
        }
    }

    fn stage<'a>(&'a mut self, out: &'a mut Output) -> Stage<'a> {
        Stage {
            options: &self.options,
            rows: &self.rows,
            counters: &mut self.counters,
            held_bytes: &mut self.held_bytes,
            payloads: &mut self.payloads,
            boot: self.boot,
            out,
        }
    }
}

/// Kind of a socket whose opening was not seen.
fn transport_of(call: &Call<'_>) -> Transport {
    if call.peer.is_some() {
        Transport::Udp
    } else if call.start > u64::from(u32::MAX) {
        Transport::UnixStream
    } else {
        Transport::Tcp
    }
}
