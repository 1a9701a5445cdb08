//! Join: which socket a TLS session belongs to, and which records its plaintext is in.
//!
//! A library that reads and writes its socket itself does so inside the call that we see: that ties them
//! for sure. One that works on memory (Node, Python's asyncio) leaves sockets to its program. Then a
//! session is tied to the connection that the same thread read last before it decrypted, or writes next
//! after it encrypted, and only if the lengths of records agree with those of the plaintext. What does
//! not agree is counted and not told.

mod tell;
mod writes;

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use deeptrace_model::{BootTime, ConnectionId, Direction, Pid, Plaintext, Tid};
use lru::LruCache;

use self::tell::{Place, tell, tell_all, tell_both};
use super::flow::{Flow, Overhead, Part, TLS_1_3};
use crate::live::record::{CallRecord, Header, PlaintextRecord, RecordsRecord};

/// Connections, sessions and threads that are remembered; what was not used for longest makes room.
const LINKS_MAX: usize = 32_768;
const SESSIONS_MAX: usize = 16_384;
const THREADS_MAX: usize = 16_384;
/// Writes of a session, and sessions of a thread, that wait for their records.
const PENDING_MAX: usize = 64;
const WRITERS_MAX: usize = 8;
/// Writes after one that waits, after which it is not waited for any more.
const PASSED_MAX: u32 = 4;
/// Bytes of all writes that wait.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// Reads in a row that do not agree, after which a tie is given up that was not seen.
const STRIKES_MAX: u32 = 3;

/// Of the number of a socket that was not asked for its own yet (`guessed_cookie` in `bpf/socket.bpf.h`): it may
/// get another one at its next call.
const GUESSED: u64 = 1 << 63;

/// A session of a TLS library: its address in a process.
type Session = (Pid, u64);

/// Takes what is told.
pub(in crate::live) type Sink<'a> = dyn FnMut(BootTime, Plaintext<'_>) + 'a;

/// A connection that may carry TLS.
#[derive(Debug, Default)]
struct Link {
    /// Since when it is there, where its beginning was seen.
    opened: Option<BootTime>,
    pid: Pid,
    session: Option<Session>,
    overhead: Overhead,
    flows: [Flow; 2],
    strikes: u32,
    /// A byte that was read alone: it is told with what follows.
    alone: Option<(Part, u8)>,
    has_begun: bool,
    has_told: bool,
}

#[derive(Debug, Default)]
struct Known {
    link: Option<ConnectionId>,
    /// The library reads and writes the socket itself.
    has_socket: bool,
    /// When its process was first probed.
    since: BootTime,
    /// Written, and not yet in a record.
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
struct Pending {
    len: u32,
    /// Writes after it that found their records.
    passed: u32,
    payload: Box<[u8]>,
}

#[derive(Debug, Default)]
struct Thread {
    /// The connection with TLS that it read last.
    read: Option<ConnectionId>,
    /// Sessions that are not tied, and wrote.
    writers: VecDeque<Session>,
}

#[derive(Debug, Default)]
pub(in crate::live) struct Counts {
    pub(in crate::live) told: u64,
    /// Plaintext that fits no record, or records that fit no plaintext.
    pub(in crate::live) unmatched: u64,
    /// Plaintext of a session that is tied to no connection.
    pub(in crate::live) untied: u64,
    /// Ties that were given up.
    pub(in crate::live) given_up: u64,
    /// Writes that waited for too long, or with too many others.
    pub(in crate::live) shed: u64,
}

/// All connections with TLS.
pub(in crate::live) struct Join {
    links: LruCache<ConnectionId, Link>,
    sessions: LruCache<Session, Known>,
    threads: LruCache<Tid, Thread>,
    pending_bytes: usize,
    pub(in crate::live) counts: Counts,
}

fn table<K: std::hash::Hash + Eq, V>(max: usize) -> LruCache<K, V> {
    LruCache::new(NonZeroUsize::new(max).expect("limits are not zero"))
}

impl Default for Join {
    fn default() -> Self {
        Self {
            links: table(LINKS_MAX),
            sessions: table(SESSIONS_MAX),
            threads: table(THREADS_MAX),
            pending_bytes: 0,
            counts: Counts::default(),
        }
    }
}

impl Join {
    /// A TCP connection became known; `is_new`: its beginning was seen.
    pub(in crate::live) fn opened(
        &mut self,
        connection: ConnectionId,
        is_new: bool,
        time: BootTime,
    ) {
        let opened = is_new.then_some(time);
        let before = self.links.pop(&connection).unwrap_or_default();
        let mut session = before.session;
        // Who writes its first plaintext is met before its socket is; else the number was another socket's.
        if let Some(other) = session.take_if(|_| before.has_told) {
            self.forget(other);
        }
        self.links.put(connection, Link { opened, session, ..Link::default() });
    }

    /// A connection ended.
    pub(in crate::live) fn closed(&mut self, connection: ConnectionId) {
        let Some(link) = self.links.pop(&connection) else { return };
        if let Some(session) = link.session {
            self.forget(session);
        }
    }

    /// A session was freed.
    pub(in crate::live) fn freed(&mut self, pid: Pid, session: u64) {
        let link = self.forget((pid, session)).and_then(|id| self.links.peek_mut(&id));
        if let Some(link) = link {
            link.session = None;
        }
    }

    /// By what the kernel knows the plaintext of a connection: its socket, where the library uses that
    /// itself, else the session in its process. `None`: it is tied to none.
    pub(in crate::live) fn whose(&self, connection: ConnectionId) -> Option<(u64, Pid)> {
        let (pid, session) = self.links.peek(&connection)?.session?;
        let has_socket = self.sessions.peek(&(pid, session))?.has_socket;
        Some(if has_socket { (connection.0, Pid(0)) } else { (session, pid) })
    }

    fn forget(&mut self, session: Session) -> Option<ConnectionId> {
        let known = self.sessions.pop(&session)?;
        self.drop_pending(known.pending);
        known.link
    }

    fn drop_pending(&mut self, pending: VecDeque<Pending>) {
        self.counts.shed += pending.len() as u64;
        self.pending_bytes -= pending.iter().map(|write| write.payload.len()).sum::<usize>();
    }

    /// Records begin in the call that comes next.
    pub(in crate::live) fn records(&mut self, header: &Header, records: &RecordsRecord<'_>) {
        let link = self.links.get_or_insert_mut(header.connection, Link::default);
        let flow = &mut link.flows[records.direction as usize];
        for (position, len, kind) in records.iter() {
            if flow.begin(position, len, kind) {
                link.overhead = Some(TLS_1_3);
            }
        }
        if records.is_broken {
            flow.lose();
        }
    }

    /// A socket call moved bytes. True: they are records of which the plaintext is told.
    pub(in crate::live) fn call(
        &mut self,
        header: &Header,
        record: &CallRecord<'_>,
        sink: &mut Sink<'_>,
    ) -> bool {
        let Some(link) = self.links.get_mut(&header.connection) else { return false };
        link.pid = header.pid;
        let flow = &mut link.flows[record.direction as usize];
        flow.moved(record.start as u32, header.len);
        if !flow.is_tls() {
            return link.has_told;
        }
        match record.direction {
            Direction::Received => {
                let thread = self.threads.get_or_insert_mut(header.tid, Thread::default);
                thread.read = Some(header.connection);
            }
            Direction::Sent => self.settle(header, record.unit, sink),
        }
        self.links.peek(&header.connection).is_some_and(|link| link.has_told)
    }

    /// Plaintext went through a session. `since`: when the process was first probed.
    pub(in crate::live) fn plaintext(
        &mut self,
        header: &Header,
        record: &PlaintextRecord<'_>,
        since: BootTime,
        sink: &mut Sink<'_>,
    ) {
        let session = (header.pid, record.session);
        let is_known =
            header.connection.0 & GUESSED == 0 || self.links.contains(&header.connection);
        let is_tied = header.connection.0 != 0 && is_known && record.sockets != u8::MAX;
        if is_tied {
            self.tie(session, header.connection);
            self.known(session).has_socket = true;
        }
        match record.direction {
            Direction::Received => {
                if !is_tied && self.link_of(session).is_none() {
                    self.guess_read(header, record, session);
                }
                self.read(header, record, session, since, sink);
            }
            Direction::Sent if is_tied && record.sockets > 0 => {
                self.write(header, record, since, sink);
            }
            Direction::Sent => self.wait(header, record, session, since),
        }
    }

    fn link_of(&mut self, session: Session) -> Option<ConnectionId> {
        self.sessions.get(&session)?.link
    }

    /// From now on the session is the connection's.
    fn tie(&mut self, session: Session, connection: ConnectionId) {
        if self.sessions.get(&session).is_some_and(|known| known.link == Some(connection)) {
            return;
        }
        let link = self.links.get_or_insert_mut(connection, Link::default);
        let before = link.session.replace(session);
        link.strikes = 0;
        if let Some(before) = before.filter(|before| *before != session) {
            self.forget(before);
        }
        let other = self.known(session).link.replace(connection);
        if let Some(link) = other.and_then(|id| self.links.peek_mut(&id)) {
            link.session = None;
        }
    }

    /// What is known of a session. Another one makes room for it.
    fn known(&mut self, session: Session) -> &mut Known {
        if !self.sessions.contains(&session)
            && let Some((_, old)) = self.sessions.push(session, Known::default())
        {
            if let Some(link) = old.link.and_then(|id| self.links.peek_mut(&id)) {
                link.session = None;
            }
            self.drop_pending(old.pending);
        }
        self.sessions.get_or_insert_mut(session, Known::default)
    }

    /// Ties a session to the connection that its thread read last, if the plaintext fits.
    fn guess_read(&mut self, header: &Header, record: &PlaintextRecord<'_>, session: Session) {
        let Some(id) = self.threads.get(&header.tid).and_then(|thread| thread.read) else { return };
        let Some(link) = self.links.get(&id) else { return };
        let fits = link.session.is_none()
            && link.pid == header.pid
            && link.flows[0].may_be_read(header.len, record.asked, link.overhead);
        if fits {
            self.tie(session, id);
        }
    }

    fn read(
        &mut self,
        header: &Header,
        record: &PlaintextRecord<'_>,
        session: Session,
        since: BootTime,
        sink: &mut Sink<'_>,
    ) {
        let known =
            self.sessions.get(&session).and_then(|known| Some((known.link?, known.has_socket)));
        let Some((id, has_socket)) = known else {
            self.counts.untied += 1;
            return;
        };
        let Some(link) = self.links.get_mut(&id) else { return };
        let has_read = record.sockets > 0;
        link.begin(since);
        let is_known = has_read || link.flows[0].is_aligned || !has_socket;
        let part = is_known.then(|| {
            link.flows[0].received(header.len, record.asked, has_read, &mut link.overhead)
        });
        match part.flatten() {
            Some(part) => {
                link.strikes = 0;
                link.has_told = true;
                self.counts.told += 1;
                let place = Place::of(header, id, record.unit);
                match (link.alone.take(), record.payload) {
                    // Go's HTTP server reads one byte to see whether its client is still there.
                    (None, [byte]) if record.asked == 1 => link.alone = Some((part, *byte)),
                    (Some((first, byte)), rest) => {
                        tell_both(&place, (first, &[byte]), (part, rest), sink);
                    }
                    (None, payload) => {
                        tell(&place, Direction::Received, part, payload, sink);
                    }
                }
            }
            None => {
                self.counts.unmatched += 1;
                link.flows[0].leap(header.len.into());
                link.strikes += 1;
                if link.strikes >= STRIKES_MAX {
                    link.overhead = None;
                }
                if link.strikes >= STRIKES_MAX && !has_socket {
                    self.counts.given_up += 1;
                    link.session = None;
                    self.forget(session);
                }
            }
        }
    }

    /// A library wrote its records itself: they are the last ones of its connection.
    fn write(
        &mut self,
        header: &Header,
        record: &PlaintextRecord<'_>,
        since: BootTime,
        sink: &mut Sink<'_>,
    ) {
        let Some(link) = self.links.get_mut(&header.connection) else { return };
        link.begin(since);
        match link.flows[1].sent(header.len, &mut link.overhead) {
            Some(parts) => {
                link.has_told = true;
                self.counts.told += 1;
                let place = Place::of(header, header.connection, record.unit);
                tell_all(&place, &parts, record.payload, sink);
            }
            None => {
                self.counts.unmatched += 1;
                link.flows[1].leap(header.len.into());
            }
        }
    }

    /// Tells each counter with its value since the start.
    pub(in crate::live) fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("capture_tls_plaintext_total", self.counts.told);
        out("capture_tls_unmatched_total", self.counts.unmatched);
        out("capture_tls_untied_total", self.counts.untied);
        out("capture_tls_ties_given_up_total", self.counts.given_up);
        out("capture_tls_writes_shed_total", self.counts.shed);
        out("capture_tls_waiting_bytes", self.pending_bytes as u64);
    }
}

impl Link {
    /// Where plaintext begins, before the first is told: at zero only if all of it is seen.
    fn begin(&mut self, since: BootTime) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        if self.opened.is_none_or(|opened| opened < since) {
            self.flows.iter_mut().for_each(Flow::begin_unseen);
        } else {
            self.flows.iter_mut().for_each(|flow| flow.is_aligned = true);
        }
    }
}

#[cfg(test)]
mod tests;
