//! Deliver: records of the ring buffer into events.

use deeptrace_model::{
    BootTime, Call, Close, Event, EventBody, HandOver, HandOverKind, Open, Origin, Pid, Transport,
    UnitId,
};

use super::Live;
use super::describe::describe;
use super::record::{Body, CallRecord, HandOverRecord, Header, OpenRecord, PlaintextRecord};
use super::tls::{Join, is_record};

impl Live {
    /// Turns one record into events.
    pub(super) fn deliver(
        &mut self,
        header: Header,
        body: Body<'_>,
        sink: &mut dyn FnMut(&Event<'_>),
    ) {
        match body {
            Body::Listen => self.listening.add(header.connection.0, header.len as u16),
            Body::Exec => self.changed(header.pid, header.time),
            // The parent's pid travels in the place of the cookie.
            Body::Fork => self.roster.born(header.pid, Pid(header.connection.0 as u32)),
            Body::Exit => {
                self.follower.gone(header.pid);
                self.tls.ended(header.pid, header.time);
                if self.roster.ended(header.pid) {
                    self.emit(header.time, EventBody::Exit(header.pid), sink);
                }
            }
            Body::Close => {
                if let Some(join) = &mut self.join {
                    join.closed(header.connection);
                }
                let close = Close { connection: header.connection, errno: header.errno };
                self.emit(header.time, EventBody::Close(close), sink);
            }
            Body::Open(record) => self.opened(&header, &record, sink),
            Body::Call(record) => {
                if self.introduce(header.pid, "", header.time, sink) {
                    self.call(&header, &record, sink);
                }
            }
            Body::HandOver(record) => {
                if self.roster.is_introduced(header.pid)
                    && let Some(hand_over) = self.hand_over(&header, &record)
                {
                    self.emit(header.time, EventBody::HandOver(hand_over), sink);
                }
            }
            Body::Records(records) => {
                if let Some(join) = &mut self.join {
                    join.records(&header, &records);
                }
            }
            Body::Plaintext(record) => {
                if self.introduce(header.pid, "", header.time, sink) {
                    self.plaintext(&header, &record, sink);
                }
            }
            Body::TlsFree => {
                if let Some(join) = &mut self.join {
                    join.freed(header.pid, header.connection.0);
                }
            }
        }
    }

    /// A socket is told before its first call, and its process before it.
    fn opened(&mut self, header: &Header, record: &OpenRecord, sink: &mut dyn FnMut(&Event<'_>)) {
        if !self.introduce(header.pid, &record.comm, header.time, sink) {
            return;
        }
        let open: Open = describe(header, record, &self.listening);
        if matches!(open.origin, Origin::Accepted | Origin::FoundServer) {
            self.follower.meet(header.pid);
        }
        if let Some(join) = &mut self.join
            && open.transport == Transport::Tcp
        {
            let is_new = matches!(open.origin, Origin::Connected | Origin::Accepted);
            join.opened(header.connection, is_new, header.time);
        }
        self.emit(header.time, EventBody::Open(open), sink);
    }

    /// A process has another program now.
    fn changed(&mut self, pid: Pid, time: BootTime) {
        self.follower.gone(pid);
        self.roster.changed(&self.kernel, pid);
        match self.roster.is_watched(pid) {
            true => self.tls.began(pid, time),
            false => self.tls.ended(pid, time),
        }
    }

    /// A socket moved bytes. What is known as plaintext is not told as records too.
    fn call(&mut self, header: &Header, record: &CallRecord<'_>, sink: &mut dyn FnMut(&Event<'_>)) {
        if is_record(record.payload) {
            self.tls.suspect(header.pid, header.time);
        }
        // Nothing is joined where no library is probed.
        let is_told = self.is_probing
            && self.join(|live, join| {
                join.call(header, record, &mut |time, plain| {
                    live.emit(time, EventBody::Plaintext(plain), sink);
                })
            });
        if !is_told {
            self.emit(header.time, EventBody::Call(call(header, record)), sink);
        }
    }

    fn plaintext(
        &mut self,
        header: &Header,
        record: &PlaintextRecord<'_>,
        sink: &mut dyn FnMut(&Event<'_>),
    ) {
        let since = self.tls.covered_since(header.pid).or(self.tls.probed_since());
        let since = since.unwrap_or(header.time);
        self.join(|live, join| {
            join.plaintext(header, record, since, &mut |time, plain| {
                live.emit(time, EventBody::Plaintext(plain), sink);
            });
        });
    }

    fn join<T: Default>(&mut self, act: impl FnOnce(&mut Self, &mut Join) -> T) -> T {
        let Some(mut join) = self.join.take() else { return T::default() };
        let result = act(self, &mut join);
        self.join = Some(join);
        result
    }

    /// `None`: nothing changed hands.
    fn hand_over(&self, header: &Header, record: &HandOverRecord) -> Option<HandOver> {
        let is_ready = record.kind == HandOverKind::Ready;
        let kind = match is_ready {
            true => self.follower.meaning(header.pid, record.word)?,
            false => record.kind,
        };
        let from = if record.from.0 == 0 { UnitId::of(header.tid) } else { record.from };
        let word = if is_ready { 0 } else { record.word };
        Some(HandOver { pid: header.pid, tid: header.tid, kind, from, to: record.to, word })
    }

    /// Tells of a process before its first event. False: it is not watched after all.
    fn introduce(
        &mut self,
        pid: Pid,
        comm: &str,
        time: BootTime,
        sink: &mut dyn FnMut(&Event<'_>),
    ) -> bool {
        if self.roster.is_introduced(pid) {
            return true;
        }
        match self.roster.introduce(&self.kernel, pid, comm) {
            Some(process) => {
                self.tls.meet(pid, time);
                self.emit(time, EventBody::Process(process), sink);
                true
            }
            None => {
                self.counts.unwatched += 1;
                false
            }
        }
    }
}

fn call<'a>(header: &Header, record: &CallRecord<'a>) -> Call<'a> {
    Call {
        connection: header.connection,
        pid: header.pid,
        tid: header.tid,
        unit: record.unit.unwrap_or(UnitId::of(header.tid)),
        direction: record.direction,
        start: record.start,
        len: header.len,
        payload: record.payload,
        drained: record.drained,
        peer: record.peer,
    }
}
