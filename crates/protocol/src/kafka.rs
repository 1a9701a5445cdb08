//! Apache Kafka's protocol (<https://kafka.apache.org/protocol>; KIP-482 for flexible versions,
//! KIP-227 for fetch sessions, KIP-516 for topic ids; record batches after the implementation guide).
//!
//! Every message is one frame that announces its length; the first [`WINDOW`] bytes of it are read and
//! the rest is passed over. Responses carry nothing but the correlation id of their request, so what
//! was asked is remembered by it; brokers answer a connection's requests in their order, so
//! an answer ends the wait for all that were asked before it. An answer to what was not seen is
//! stray. A `Produce` without acknowledgement (`acks` zero) is one-way.
//!
//! Assumed: one client id per connection, as all clients have; after a loss only requests with the id
//! that was seen are believed. Errors are told where they stand near the front of a response,
//! the first of them; the others are not looked for.

mod api;
mod cursor;
mod error;
mod records;
mod request;
mod response;
mod topics;

use std::collections::VecDeque;

use deeptrace_model::Transport;

use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, SharedNames, Side,
    Support, Verdict,
};

use api::{Api, key};
use request::{Front, Header};
use topics::Topics;

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "kafka",
    title: "Apache Kafka (all api keys, versions with and without flexible fields)",
    transports: &[Transport::Tcp],
    ports: &[9092, 9093, 9094],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("correlation id"),
        errors: "an error code near the front of the answer",
        context: "headers of records",
        tls: "",
        limits: &[
            "topic ids whose name was told before the attach are unknown until clients ask for it again",
            "producers without acknowledgement are one-way, and unnamed where only their answer could name them",
            "headers of compressed batches are not read",
            "who fetches is linked to who produced for the batches in the first 16 KiB of an answer, on one \
             host, and where the broker leaves a batch's own time",
        ],
    },
    recognise,
    parser: || Box::<Kafka>::default(),
};

/// Bytes of a message that are read.
const WINDOW: usize = 16 * 1024;
/// Requests of a connection that wait for an answer; the oldest is forgotten.
const ASKED_MAX: usize = 4096;
/// Responses above are not believed.
const RESPONSE_MAX: i32 = 1 << 30;

/// Bytes of a request that is believed although its client does not name itself.
const UNNAMED_MAX: usize = 64 * 1024;

fn recognise(head: &Head<'_>) -> Recognition {
    if head.from == Some(Side::Server) {
        return Recognition::No;
    }
    let mut at = 0usize;
    let mut is_named = false;
    let mut is_whole = false;
    while let Some(rest) = head.bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match Header::read(rest) {
            // Mostly zeros, or a length that is none: so begins what other protocols say as well.
            Front::Header(header)
                if header.client_id.is_empty()
                    && (header.api.key == 0 || header.len > UNNAMED_MAX) =>
            {
                return Recognition::No;
            }
            Front::Header(header) if may_be(&header, rest) => {
                is_named |= !header.client_id.is_empty();
                at = at.saturating_add(header.len);
                is_whole |= at <= head.call_len;
            }
            Front::More if at > 0 => break,
            _ => return Recognition::No,
        }
    }
    // A client that sends its messages in pieces goes on in the next call.
    let is_sure = is_named && (is_whole || at > head.call_len);
    if is_sure { Recognition::Yes(Side::Client) } else { Recognition::Maybe(Side::Client) }
}

/// Whether the request with this header may be one, of whose bytes these are there.
fn may_be(header: &Header<'_>, bytes: &[u8]) -> bool {
    header.describe(&Topics::default(), bytes.len() < header.len.min(WINDOW)).is_some()
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    correlation: i32,
    api: &'static Api,
    version: i16,
}

#[derive(Default)]
struct Kafka {
    /// Oldest first.
    asked: VecDeque<Asked>,
    topics: Topics,
    client_id: Option<Box<[u8]>>,
    /// After `SaslHandshake` version 0: tokens follow in frames without headers.
    is_authenticating: bool,
}

impl Parser for Kafka {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        match input.from {
            Side::Client => self.request(&input),
            Side::Server => self.response(&input),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        match from {
            Side::Client => match Header::read(bytes) {
                Front::Header(header) => {
                    let is_same = |id: &[u8]| id == header.client_id;
                    self.client_id.as_deref().is_none_or(is_same) && may_be(&header, bytes)
                }
                _ => false,
            },
            Side::Server => match answer(bytes) {
                Some(Some((_, correlation))) => self.position(correlation).is_some(),
                _ => false,
            },
        }
    }

    fn share(&mut self, names: &SharedNames) {
        self.topics.share(names);
    }

    /// Messages are whole or nothing; what was asked is answered by its id, whatever is lost.
    fn lost(&mut self, from: Side) -> Option<Draft> {
        if from == Side::Client {
            self.topics.lost();
        }
        self.is_authenticating = false;
        None
    }
}

impl Kafka {
    fn request(&mut self, input: &Input<'_>) -> Verdict {
        let header = match Header::read(input.bytes) {
            Front::Header(header) => header,
            Front::More => {
                // A token may be shorter than a header.
                return match self.is_authenticating.then(|| self.token(input)) {
                    Some(Verdict::Skip(len)) if len <= input.bytes.len() as u64 => {
                        Verdict::Skip(len)
                    }
                    _ => Verdict::More,
                };
            }
            Front::NotMine if self.is_authenticating => return self.token(input),
            Front::NotMine => return Verdict::NotMine,
        };
        let wanted = header.len.min(WINDOW);
        let is_cut = input.bytes.len() < wanted;
        if is_cut && !input.is_last {
            return Verdict::More;
        }
        let bytes = &input.bytes[..input.bytes.len().min(wanted)];
        let Front::Header(header) = Header::read(bytes) else { return Verdict::NotMine };
        let Some(request) = header.describe(&self.topics, is_cut) else { return Verdict::NotMine };
        self.is_authenticating = (header.api.key, header.version) == (key::SASL_HANDSHAKE, 0);
        if self.client_id.as_deref() != Some(header.client_id) {
            self.client_id = Some(header.client_id.into());
        }
        if let Some(session) = request.session {
            self.topics.fetch(session);
        }
        if !request.is_one_way {
            if self.asked.len() >= ASKED_MAX {
                self.asked.pop_front();
            }
            let Header { api, version, correlation, .. } = header;
            self.asked.push_back(Asked { correlation, api, version });
        }
        Verdict::Done { len: header.len as u64, draft: Box::new(request.draft) }
    }

    fn response(&mut self, input: &Input<'_>) -> Verdict {
        let Some(answer) = answer(input.bytes) else { return Verdict::More };
        let Some((len, correlation)) = answer else {
            return if self.is_authenticating { self.token(input) } else { Verdict::NotMine };
        };
        let Some(position) = self.position(correlation) else {
            return match self.is_authenticating {
                true => Verdict::Skip(len as u64),
                false => Verdict::Stray(len as u64),
            };
        };
        let wanted = len.min(WINDOW);
        let is_cut = input.bytes.len() < wanted;
        if is_cut && !input.is_last {
            return Verdict::More;
        }
        let body = input.bytes.get(response::HEADER..input.bytes.len().min(wanted));
        let body = body.unwrap_or_default();
        let asked = self.asked.drain(..=position).next_back();
        let draft = asked.map_or_else(
            || request::bare(correlation),
            |Asked { api, version, .. }| {
                response::describe(api, version, correlation, body, is_cut, &mut self.topics)
            },
        );
        Verdict::Done { len: len as u64, draft: Box::new(draft) }
    }

    /// A token of the old authentication: a length, and nothing that anybody may keep.
    fn token(&self, input: &Input<'_>) -> Verdict {
        const TOKEN_MAX: i32 = 64 * 1024;
        match cursor::Cursor::new(input.bytes, false).int() {
            Some(len @ 0..TOKEN_MAX) => Verdict::Skip(len as u64 + 4),
            Some(_) => Verdict::NotMine,
            None => Verdict::More,
        }
    }

    fn position(&self, correlation: i32) -> Option<usize> {
        self.asked.iter().position(|asked| asked.correlation == correlation)
    }
}

/// Length with the length field, and correlation id, of a response; `None` where bytes are missing,
/// `Some(None)` where it is none.
fn answer(bytes: &[u8]) -> Option<Option<(usize, i32)>> {
    let mut cursor = cursor::Cursor::new(bytes, false);
    let len = cursor.int()?;
    if !(4..RESPONSE_MAX).contains(&len) {
        return Some(None);
    }
    let correlation = cursor.int()?;
    Some((correlation >= 0).then_some((len as usize + 4, correlation)))
}

#[cfg(test)]
mod tests;
