//! Lane: one session of a connection, or all of it: requests that are answered one after the other.

use deeptrace_model::SpanStatus;

use super::collect::Message;
use super::packet::{self, Packet};
use super::request;
use super::response::{self, Outcome};
use super::session::{Asked, Encryption, Session};
use crate::due::{Answers, Due};
use crate::{Draft, Input, Side, Verdict};

/// One session.
#[derive(Default)]
pub(super) struct Lane {
    stream: u64,
    due: Due<Asked>,
    client: Option<Message>,
    server: Option<Message>,
    /// The open response is to nobody that is known.
    is_stray: bool,
}

impl Lane {
    /// A session that was just opened, if it `is_fresh`.
    pub(super) fn new(id: u16, is_fresh: bool) -> Self {
        let mut lane = Self { stream: u64::from(id) + 1, ..Self::default() };
        if !is_fresh {
            lane.due.lost(Side::Client);
            lane.due.lost(Side::Server);
        }
        lane
    }

    /// Takes a packet, before which are `around` bytes.
    pub(super) fn parse(
        &mut self,
        packet: &Packet,
        around: usize,
        input: &Input<'_>,
        session: &mut Session,
    ) -> Verdict {
        let len = packet.len + around as u64;
        let content = input.bytes.get(Packet::HEADER..).unwrap_or_default();
        if packet.kind == packet::PRELOGIN && content.is_empty() && !input.is_last {
            return Verdict::More;
        }
        if packet.kind == packet::PRELOGIN && request::is_handshake(content) {
            return Verdict::Skip(len);
        }
        if (packet.kind == packet::RESPONSE) != (input.from == Side::Server) {
            return Verdict::NotMine;
        }
        if !Message::is_enough(packet, input) {
            return Verdict::More;
        }
        match input.from {
            Side::Client => self.client(packet, around, input, session),
            Side::Server => self.server(packet, around, input, session),
        }
    }

    fn client(
        &mut self,
        packet: &Packet,
        around: usize,
        input: &Input<'_>,
        session: &mut Session,
    ) -> Verdict {
        let len = packet.len + around as u64;
        let is_aside =
            matches!(packet.kind, packet::ATTENTION | packet::SSPI | packet::FEDERATED_TOKEN);
        if is_aside {
            return Verdict::Skip(len);
        }
        if self.client.as_ref().is_some_and(|begun| begun.kind != packet.kind) {
            return Verdict::NotMine;
        }
        if self.client.is_none() {
            self.due.turn();
        }
        let message = self.client.get_or_insert_with(|| Message::new(packet.kind));
        message.add(packet, around, input.bytes);
        if !packet.is_end {
            return Verdict::Part { len, stream: self.stream };
        }
        let Some(message) = self.client.take() else { return Verdict::NotMine };
        match request::read(&message, session) {
            Some((draft, asked)) => self.ask(len, draft, asked, session),
            None if message.kind == packet::PRELOGIN => {
                self.due.push(Asked::Prelogin);
                Verdict::Skip(len)
            }
            None => Verdict::NotMine,
        }
    }

    fn ask(&mut self, len: u64, mut draft: Draft, asked: Asked, session: &Session) -> Verdict {
        draft.stream = self.stream;
        session.add_common(&mut draft);
        self.due.push(asked);
        Verdict::Done { len, draft: Box::new(draft) }
    }

    /// A record of TLS that holds a login, or the rest of one.
    pub(super) fn hidden_login(&mut self, len: u64, session: &mut Session) -> Verdict {
        if matches!(self.due.oldest(), Some(Asked::Login)) {
            return Verdict::Skip(len);
        }
        session.is_known = true;
        self.due.turn();
        self.ask(len, request::login(), Asked::Login, session)
    }

    fn server(
        &mut self,
        packet: &Packet,
        around: usize,
        input: &Input<'_>,
        session: &mut Session,
    ) -> Verdict {
        let len = packet.len + around as u64;
        if self.server.is_none() {
            self.is_stray = self.due.is_stray();
        }
        let message = self.server.get_or_insert_with(|| Message::new(packet.kind));
        message.add(packet, around, input.bytes);
        if !packet.is_end {
            return self.pass(len);
        }
        let Some(message) = self.server.take() else { return Verdict::NotMine };
        let asked = match self.due.next() {
            Answers::To(asked) => Some(asked.clone()),
            _ => None,
        };
        if matches!(asked, Some(Asked::Prelogin)) {
            session.encryption = request::encryption(&message.first);
            let _ = self.due.answer();
            return Verdict::Skip(len);
        }
        let outcome = Outcome::read(&message, session.is_old());
        let is_half = message.is_whole() && !outcome.has_done;
        if matches!(asked, Some(Asked::Login)) && is_half {
            // Both sides authenticate further.
            return self.pass(len);
        }
        if outcome.is_attention && asked.is_none() {
            // Of a request that was answered before the attention came.
            return Verdict::Skip(len);
        }
        self.finish(len, outcome, asked, session)
    }

    fn pass(&mut self, len: u64) -> Verdict {
        let is_silent = matches!(self.due.oldest(), Some(Asked::Prelogin));
        if self.is_stray || is_silent {
            Verdict::Skip(len)
        } else {
            Verdict::Part { len, stream: self.stream }
        }
    }

    fn finish(
        &mut self,
        len: u64,
        outcome: Outcome,
        asked: Option<Asked>,
        session: &mut Session,
    ) -> Verdict {
        outcome.settle(asked.as_ref(), session);
        if self.is_stray {
            self.due.heard();
            return Verdict::Stray(len);
        }
        let _ = self.due.answer();
        let is_login = matches!(asked, Some(Asked::Login));
        if is_login && session.encryption == Encryption::Login {
            session.encryption = Encryption::None;
        }
        let mut draft = outcome.draft();
        if is_login {
            draft.redact.push(0..usize::MAX);
        }
        draft.stream = self.stream;
        draft.skips = self.due.skips();
        Verdict::Done { len, draft: Box::new(draft) }
    }

    /// Whether a response to what was asked last may start here.
    pub(super) fn may_be_answered(&self, bytes: &[u8]) -> bool {
        self.due.oldest().is_some() && response::is_start(bytes)
    }

    /// Bytes are lost: what is known of the open message.
    pub(super) fn lost(&mut self, from: Side) -> Option<Draft> {
        let draft = match from {
            Side::Client => self.client.take().map(|message| {
                self.due.push(Asked::Query(None));
                let mut draft = Draft::request("");
                draft.truncated = true;
                draft.unknown.push("db.query.text");
                if message.kind == packet::LOGIN {
                    draft.redact.push(0..usize::MAX);
                }
                Session::default().add_common(&mut draft);
                draft
            }),
            Side::Server => {
                let is_stray = std::mem::take(&mut self.is_stray);
                self.server.take().filter(|_| !is_stray).and_then(|_| {
                    let is_silent = matches!(self.due.answer(), Answers::To(Asked::Prelogin));
                    let skips = self.due.skips();
                    (!is_silent).then(|| Draft { skips, ..Draft::response(SpanStatus::Unset) })
                })
            }
        };
        self.due.lost(from);
        draft.map(|draft| Draft { stream: self.stream, ..draft })
    }

    pub(super) fn quiet(&mut self) {
        self.due.quiet();
    }
}
