//! LDAP version 3 (RFC 4511), over TCP and UNIX sockets, not in datagrams.
//!
//! The stream is the message's number, which all that answers it repeats. A search is answered by any
//! number of entries and references and a result; all of them are one response. `unbind` and `abandon`
//! are one-way; so is the server's notice that it disconnects, which has the number zero. After a
//! successful StartTLS another protocol follows.
//!
//! Of a bind and of extended operations no byte is kept, nor of requests and answers to a search with an
//! attribute that is named like a password, or with more than the 4 KiB which are looked at. Results other than
//! success are errors, but those of a comparison, a referral, and a bind that goes on.

mod ber;
mod message;
mod request;
mod response;

use std::collections::VecDeque;

use deeptrace_model::{SpanStatus, Transport};

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use message::{
    ABANDON, BIND_RESPONSE, ENTRY, EXTENDED, EXTENDED_RESPONSE, Front, INTERMEDIATE, Message,
    REFERENCE, SEARCH, SEARCH_DONE, WINDOW,
};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "ldap",
    title: "LDAP version 3 (RFC 4511)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[389, 3268],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("message id"),
        errors: "a result other than success, compare, referral and bind in progress",
        context: "",
        tls: "StartTLS",
        limits: &["no datagrams (CLDAP)"],
    },
    recognise,
    parser: || Box::<Ldap>::default(),
};

/// Searches under way that are remembered; of an older one the entries are not counted, and after
/// that no byte of what answers an unknown search is kept.
const SEARCHES_MAX: usize = 64;

fn recognise(head: &Head<'_>) -> Recognition {
    let sides = [Side::Client, Side::Server];
    for side in sides.into_iter().filter(|side| head.from.is_none_or(|from| from == *side)) {
        let Front::Message(message) = Message::read(head.bytes, side, true) else { continue };
        match message.is_sound() {
            Some(true) if message.len <= head.call_len as u64 => return Recognition::Yes(side),
            Some(false) => {}
            _ => return Recognition::Maybe(side),
        }
    }
    Recognition::No
}

/// A search whose result has not come.
#[derive(Debug)]
struct Search {
    id: u32,
    /// Entries so far; `None` where some may not have been seen.
    entries: Option<i64>,
    /// No byte of its answer is kept.
    is_secret: bool,
}

#[derive(Default)]
struct Ldap {
    searches: VecDeque<Search>,
    /// Searches were forgotten; what their entries held is not known.
    has_forgotten: bool,
    /// Number of the last `StartTLS`.
    start_tls: Option<u32>,
    is_encrypted: bool,
}

impl Ldap {
    fn request(&mut self, message: &Message<'_>) -> Draft {
        match message.operation.tag {
            SEARCH => {
                self.search(message.id, Some(0));
            }
            ABANDON => {
                let id = message.operation.number();
                self.searches.retain(|search| Some(search.id) != id);
            }
            EXTENDED => {
                let oid = message.parts().next().map(|oid| oid.content);
                if oid == Some(request::START_TLS) {
                    self.start_tls = Some(message.id);
                }
            }
            _ => {}
        }
        request::read(message)
    }

    /// The search with this number; a new one has so many entries.
    fn search(&mut self, id: u32, entries: Option<i64>) -> Option<&mut Search> {
        let at = self.searches.iter().position(|search| search.id == id);
        let at = at.unwrap_or_else(|| {
            if self.searches.len() >= SEARCHES_MAX {
                self.searches.pop_front();
                self.has_forgotten = true;
            }
            let is_secret = self.has_forgotten && entries.is_none();
            self.searches.push_back(Search { id, entries, is_secret });
            self.searches.len() - 1
        });
        self.searches.get_mut(at)
    }

    /// An entry or a reference: a part of the answer to a search.
    fn entry(&mut self, message: &Message<'_>) {
        let Some(search) = self.search(message.id, None) else { return };
        let count = i64::from(message.operation.tag == ENTRY);
        search.entries = search.entries.map(|entries| entries.saturating_add(count));
        search.is_secret |=
            request::is_secret(message.operation.content) || message.len > WINDOW as u64;
    }

    fn result(&mut self, message: &Message<'_>) -> Draft {
        let mut draft = response::read(message);
        if message.operation.tag == SEARCH_DONE {
            let at = self.searches.iter().position(|search| search.id == message.id);
            let search = at.and_then(|at| self.searches.remove(at));
            if let Some(entries) = search.as_ref().and_then(|search| search.entries) {
                draft.attributes.push(("db.response.returned_rows".into(), entries.into()));
            }
            if search.map_or(self.has_forgotten, |search| search.is_secret) {
                draft.redact.push(0..usize::MAX);
            }
        } else if matches!(message.operation.tag, BIND_RESPONSE | EXTENDED_RESPONSE) {
            // Tokens of a bind, a generated password.
            draft.redact.push(message.start..usize::MAX);
        }
        let is_tls = self.start_tls == Some(message.id);
        if message.operation.tag == EXTENDED_RESPONSE && is_tls {
            self.start_tls = None;
            self.is_encrypted = draft.status == SpanStatus::Ok;
        }
        if message.id == 0 {
            let notice = Draft::one_way("notice of disconnection");
            draft = Draft { role: notice.role, name: notice.name, ..draft };
            draft.attributes.prepend(vec![("db.system.name".into(), "ldap".into())]);
        }
        draft
    }
}

impl Parser for Ldap {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        if self.is_encrypted {
            return Verdict::Switch;
        }
        let message = match Message::read(input.bytes, input.from, input.is_last) {
            Front::Message(message) if message.is_sound() != Some(false) => message,
            Front::More => return Verdict::More,
            _ => return Verdict::NotMine,
        };
        let (len, stream) = (message.len, u64::from(message.id));
        let mut draft = match (input.from, message.operation.tag) {
            (Side::Client, _) => self.request(&message),
            (Side::Server, ENTRY | REFERENCE | INTERMEDIATE) => {
                self.entry(&message);
                return Verdict::Part { len, stream };
            }
            (Side::Server, _) => self.result(&message),
        };
        draft.stream = stream;
        Verdict::Done { len, draft: Box::new(draft) }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match Message::read(bytes, from, true) {
            Front::Message(message) => message.is_sound() != Some(false),
            _ => false,
        }
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        if from == Side::Server {
            self.searches.iter_mut().for_each(|search| search.entries = None);
            self.start_tls = None;
        }
        None
    }
}

#[cfg(test)]
mod tests;
