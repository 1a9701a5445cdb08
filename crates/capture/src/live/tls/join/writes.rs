//! Writes of libraries that work on memory: they wait for the call that sends their records.

use deeptrace_model::{BootTime, UnitId};

use super::{
    Join, PASSED_MAX, PENDING_BYTES_MAX, PENDING_MAX, Pending, Place, Session, Sink, Thread,
    WRITERS_MAX, tell_all,
};
use crate::live::record::{Header, PlaintextRecord};

impl Join {
    /// A library wrote its records into memory: they are yet to go to a socket.
    pub(super) fn wait(
        &mut self,
        header: &Header,
        record: &PlaintextRecord<'_>,
        session: Session,
        since: BootTime,
    ) {
        let is_full = self.pending_bytes + record.payload.len() > PENDING_BYTES_MAX;
        let known = self.known(session);
        known.since = since;
        if known.pending.len() >= PENDING_MAX || is_full {
            let pending = std::mem::take(&mut known.pending);
            self.drop_pending(pending);
        }
        self.pending_bytes += record.payload.len();
        let known = self.known(session);
        known.pending.push_back(Pending {
            len: header.len,
            passed: 0,
            payload: record.payload.into(),
        });
        if known.link.is_none() {
            let thread = self.threads.get_or_insert_mut(header.tid, Thread::default);
            thread.writers.retain(|writer| *writer != session);
            if thread.writers.len() >= WRITERS_MAX {
                thread.writers.pop_front();
            }
            thread.writers.push_back(session);
        }
    }

    /// Records went out on a connection: which writes are they of?
    pub(super) fn settle(&mut self, header: &Header, unit: Option<UnitId>, sink: &mut Sink<'_>) {
        let id = header.connection;
        if self.links.peek(&id).is_some_and(|link| link.session.is_none()) {
            self.guess_write(header);
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(known) = link.session.and_then(|session| self.sessions.get_mut(&session)) else {
            return;
        };
        if known.pending.is_empty() {
            return;
        }
        link.begin(known.since);
        loop {
            let lens: Vec<u32> = known.pending.iter().map(|write| write.len).collect();
            let Some((index, parts)) = link.flows[1].sent_one_of(&lens, &mut link.overhead) else {
                return;
            };
            let Some(write) = known.pending.remove(index) else { return };
            self.pending_bytes -= write.payload.len();
            link.has_told = true;
            self.counts.told += 1;
            tell_all(&Place::of(header, id, unit), &parts, &write.payload, sink);
            // Threads may write in another order than they began to.
            known.pending.iter_mut().take(index).for_each(|before| before.passed += 1);
            let (bytes, counts) = (&mut self.pending_bytes, &mut self.counts);
            known.pending.retain(|write| {
                let waits = write.passed <= PASSED_MAX;
                if !waits {
                    *bytes -= write.payload.len();
                    counts.unmatched += 1;
                }
                waits
            });
        }
    }

    /// Ties a connection to the one session whose thread writes to it now, and of which the first write
    /// that waits is in its records.
    fn guess_write(&mut self, header: &Header) {
        let Some(link) = self.links.peek(&header.connection) else { return };
        let Some(thread) = self.threads.get_mut(&header.tid) else { return };
        let sessions = &self.sessions;
        thread.writers.retain(|session| {
            sessions.peek(session).is_some_and(|s| s.link.is_none() && !s.pending.is_empty())
        });
        let fits = |session: &&Session| {
            let known = sessions.peek(*session).and_then(|known| known.pending.front());
            known.is_some_and(|w| link.flows[1].may_be_written(w.len, link.overhead))
        };
        let mut found = thread.writers.iter().filter(fits);
        if let (Some(session), None) = (found.next().copied(), found.next()) {
            self.tie(session, header.connection);
        }
    }
}
