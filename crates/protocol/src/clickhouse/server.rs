//! What the server sends: hellos, and responses of several packets.

use deeptrace_model::{SpanStatus, Value};

use super::block::Walk;
use super::client::ADDENDUM;
use super::response::{End, Response};
use super::session::{Asked, Session};
use crate::due::Answers;
use crate::{Draft, Head, Input, Side, Verdict};

/// What ends a response where logs are not sent: a block without columns, and `EndOfStream`.
const TAIL: &[u8] = &[1, 0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5];

/// The server's direction.
#[derive(Default)]
pub(super) struct Server {
    response: Option<Response>,
    /// The open response answers something that is not known.
    is_stray: bool,
    /// Where the response ends is not known, so that only a call that surely ends it does.
    is_blind: bool,
}

impl Server {
    pub(super) fn parse(&mut self, input: &Input<'_>, session: &mut Session) -> Verdict {
        if input.bytes.is_empty() {
            return Verdict::More;
        }
        if self.is_blind {
            return self.feel(input, session);
        }
        if self.response.is_none() {
            self.begin(session);
        }
        let is_first = self.response.as_ref().is_some_and(|response| response.is_between());
        if is_first && !narrow(self.response.as_ref(), input.bytes, session) {
            self.response = None;
            return Verdict::NotMine;
        }
        let Some(response) = &mut self.response else { return Verdict::NotMine };
        let (used, walk) = response.walk(input.bytes, input.is_last, session.revision());
        match walk {
            Walk::End => self.finish(used, session),
            Walk::More if used == 0 => Verdict::More,
            Walk::More => self.pass(used),
            Walk::Blind => {
                self.is_blind = true;
                response.is_cut = true;
                self.feel(input, session)
            }
            Walk::Wrong => {
                self.response = None;
                Verdict::NotMine
            }
        }
    }

    /// Looks for the end of a response that can't be followed: a call that ends as responses do.
    fn feel(&mut self, input: &Input<'_>, session: &mut Session) -> Verdict {
        let is_whole = !input.is_last;
        let Some(response) = &mut self.response else { return Verdict::NotMine };
        let len = input.bytes.len() as u64;
        let mut rest = response.after();
        let ends = rest.walk(input.bytes, false, session.revision()) == (len, Walk::End);
        if is_whole && ends {
            response.adopt(rest);
        }
        if is_whole && (ends || input.bytes.ends_with(TAIL)) {
            self.is_blind = false;
            return self.finish(len, session);
        }
        self.pass(Verdict::CALL)
    }

    fn pass(&self, len: u64) -> Verdict {
        if self.is_stray { Verdict::Skip(len) } else { Verdict::Part { len, stream: 0 } }
    }

    /// Whether a response is open that was begun after its question, or nobody knows after which.
    pub(super) fn is_known_open(&self) -> bool {
        self.response.as_ref().is_some_and(|open| self.is_stray || open.asked.is_some())
    }

    fn begin(&mut self, session: &mut Session) {
        self.is_stray = session.due.is_stray();
        let asked = match session.due.next() {
            Answers::To(asked) => Some(*asked),
            _ => None,
        };
        self.response = Some(Response::new(asked));
    }

    fn finish(&mut self, used: u64, session: &mut Session) -> Verdict {
        let Some(response) = self.response.take() else { return Verdict::Skip(used) };
        let is_stray = std::mem::take(&mut self.is_stray);
        let End::Hello(revision) = response.end else {
            return self.answer(response, used, is_stray, session);
        };
        session.agree(session.client_revision, Some(revision));
        session.expects_addendum =
            session.client_revision.is_some() && session.revision() >= ADDENDUM;
        self.answer(response, used, is_stray, session)
    }

    /// The response is at its end: to whom is it?
    fn answer(
        &mut self,
        response: Response,
        used: u64,
        is_stray: bool,
        session: &mut Session,
    ) -> Verdict {
        let is_pong = response.end == End::Pong;
        if !response.fits() {
            // Both sides are not where they were thought to be.
            session.due.lost(Side::Server);
        }
        if is_stray || !response.fits() {
            session.due.heard();
            return if is_pong { Verdict::Skip(used) } else { Verdict::Stray(used) };
        }
        let answers = session.due.answer();
        let is_ok = response.error.is_none();
        if let Some(name) = session.next_namespace.take_if(|_| is_ok) {
            session.namespace = Some(name).filter(|name| !name.is_empty());
        }
        if is_pong || answers == Answers::To(Asked::Ping) {
            return Verdict::Skip(used);
        }
        let status = if is_ok { SpanStatus::Ok } else { SpanStatus::Error };
        let draft = Draft { skips: session.due.skips(), ..draft(response, status) };
        Verdict::Done { len: used, draft: Box::new(draft) }
    }

    /// Bytes are lost, or the response `is_overtaken`: it is over.
    pub(super) fn lost(&mut self, session: &mut Session, is_overtaken: bool) -> Option<Draft> {
        self.is_blind = false;
        let is_stray = std::mem::take(&mut self.is_stray);
        let response = self.response.take().filter(|response| !is_stray && response.fits_begun());
        let draft = response.map(|response| {
            let _ = session.due.answer();
            let is_error = response.error.is_some();
            let status = if is_error { SpanStatus::Error } else { SpanStatus::Unset };
            Draft { skips: session.due.skips(), ..draft(response, status) }
        });
        if !is_overtaken {
            session.due.lost(Side::Server);
        }
        draft
    }
}

/// Leaves the revisions in which the bytes are packets; returns whether there is one.
fn narrow(response: Option<&Response>, bytes: &[u8], session: &mut Session) -> bool {
    if session.candidates().len() == 1 {
        return true;
    }
    let Some(response) = response else { return true };
    let walk = |revision: u32| {
        let mut response = response.clone();
        let (mut used, mut walk) = (0, Walk::More);
        while used < bytes.len() && walk != Walk::Wrong {
            let (len, next) = response.walk(&bytes[used..], false, revision);
            walk = next;
            if len == 0 || walk == Walk::Blind {
                break;
            }
            used = used.saturating_add(len as usize);
            if walk == Walk::End && used < bytes.len() {
                walk = Walk::Wrong;
            }
        }
        (walk, response.is_between() && used == bytes.len())
    };
    // Calls end with a packet.
    session.keep(|revision| walk(revision).1)
        || session.keep(|revision| walk(revision).0 != Walk::Wrong)
}

fn draft(response: Response, status: SpanStatus) -> Draft {
    let mut draft = Draft::response(status);
    draft.truncated = response.is_cut;
    if let Some(rows) = response.returned_rows().filter(|_| status == SpanStatus::Ok) {
        let rows = Value::Int(i64::try_from(rows).unwrap_or(i64::MAX));
        draft.attributes.push(("db.response.returned_rows".into(), rows));
    }
    if let Some((code, message)) = response.error {
        draft.status = SpanStatus::Error;
        let code = Value::from(code.to_string());
        draft.attributes.push(("db.response.status_code".into(), code.clone()));
        draft.attributes.push(("error.type".into(), code));
        draft.status_message = Some(message).filter(|message| !message.is_empty());
    }
    if response.asked == Some(Asked::Hello) {
        draft.redact.push(0..usize::MAX);
    }
    draft
}

/// Whether the call is a server's: surely, perhaps, or not.
pub(super) fn recognise(head: &Head<'_>) -> Option<bool> {
    if is_hello(head) {
        return Some(true);
    }
    // Block info leaves no doubt, at the front or in the block that ends a response.
    let ends = head.bytes.ends_with(TAIL) || head.bytes.ends_with(&TAIL[..12]);
    (ends || head.bytes.starts_with(&TAIL[..9])).then_some(true)
}

fn is_hello(head: &Head<'_>) -> bool {
    if !head.bytes.starts_with(b"\0\x0aClickHouse") {
        return false;
    }
    let is_whole = |revision: &u32| {
        let mut response = Response::new(Some(Asked::Hello));
        response.walk(head.bytes, false, *revision) == (head.call_len as u64, Walk::End)
    };
    Session::default().candidates().iter().any(is_whole)
}

/// Whether the response to what was asked last may start here.
pub(super) fn is_start(bytes: &[u8], session: &Session) -> bool {
    let Some(asked) = session.due.oldest() else { return false };
    let begins = |revision: &u32| {
        let mut response = Response::new(Some(*asked));
        let (used, walk) = response.walk(bytes, false, *revision);
        walk != Walk::Wrong && used > 0 && response.has_packet && response.fits()
    };
    session.candidates().iter().any(begins)
}
