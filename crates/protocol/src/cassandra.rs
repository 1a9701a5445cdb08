//! Cassandra's native protocol (`doc/native_protocol_v3.spec` to `v5.spec` of the server's sources).
//!
//! The stream is the envelope's stream id plus one. A client uses an id again once it is answered, so
//! after a loss on the server's side the answers to what was asked before are stray: each may be to a
//! request that was lost as well. Statements are named from their text, executed ones from the `PREPARE`
//! on the same connection; ids from elsewhere leave the text unknown. The opening of a connection,
//! authentication and `OPTIONS`, with which drivers ask whether the server is alive, are left out.
//!
//! Version 5 puts envelopes into segments, which are told by the checksum of their header. What is in
//! compressed segments can't be read and is passed over; of a compressed envelope (versions 3 and 4)
//! only the operation is told. Assumed: a statement's first 8 KiB name it.

mod envelope;
mod prepared;
mod request;
mod response;
mod segment;

use std::collections::BTreeMap;
use std::sync::Arc;

use deeptrace_model::{Transport, Value};

use crate::sql::Statement;
use crate::{
    CopyPolicy, Draft, Head, Input, Pairing, Parser, Protocol, Recognition, Side, Support, Verdict,
};

use envelope::{Envelope, Front, HEADER};
use prepared::Prepared;
use response::Response;
use segment::{HEADER_MAX, Segment, TRAILER};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "cassandra",
    title: "Cassandra (native protocol versions 3 to 5)",
    transports: &[Transport::Tcp],
    ports: &[9042, 9142],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("stream id"),
        errors: "ERROR",
        context: "the custom payload, comments of CQL",
        tls: "",
        limits: &[
            "compressed segments (v5) and bodies (LZ4, Snappy) are not read: the operation at most",
            "texts of statements prepared before the attach, or on another connection, are unknown",
        ],
    },
    recognise,
    parser: || Box::<Cassandra>::default(),
};

fn recognise(head: &Head<'_>) -> Recognition {
    let sides = [Side::Client, Side::Server];
    let mut sides = sides.into_iter().filter(|side| head.from.is_none_or(|from| from == *side));
    let guess =
        sides.find_map(|side| believe(head.bytes, head.call_len, side).map(|it| (it, side)));
    match guess {
        Some((true, side)) => Recognition::Yes(side),
        Some((false, side)) => Recognition::Maybe(side),
        None => Recognition::No,
    }
}

/// Whether bytes are of this side, and whether that is sure.
fn believe(bytes: &[u8], call_len: usize, side: Side) -> Option<bool> {
    let segment = Segment::read(bytes);
    let start = segment.map_or(0, |segment| segment.header);
    let inner = bytes.get(start..)?;
    let Front::Envelope(envelope) = Envelope::read(inner, side, u64::MAX, true) else {
        return None;
    };
    let is_alone = envelope.len == call_len as u64;
    match envelope.is_sound(side) {
        Some(false) => None,
        Some(true) => Some(true),
        None if segment.is_some() => Some(true),
        // Only the header, or nothing by which it could be told.
        None => (is_alone || bytes.len() == HEADER).then_some(false),
    }
}

/// A request that was not answered yet.
#[derive(Debug)]
enum Asked {
    /// Is left out, and so is its answer.
    Noise,
    Told,
    Prepare(Arc<Statement>),
    /// From before a loss: what answers it may answer another one.
    Doubtful,
}

/// Where one direction is.
#[derive(Debug, Default)]
struct Half {
    /// Bytes of envelopes that follow in the segment.
    in_segment: u64,
    /// Bytes of an envelope that follow in other segments, and what it says.
    big: Option<(u64, Option<Box<Draft>>)>,
}

#[derive(Default)]
struct Cassandra {
    halves: [Half; 2],
    /// By stream id: 32 768 at most. The flag: an older request of the id stays unanswered.
    asked: BTreeMap<i16, (Asked, bool)>,
    prepared: Prepared,
    keyspace: Option<String>,
    /// Bytes are missing that may have set the keyspace.
    is_partial: bool,
}

/// The stream of a stream id; zero would say that there is only one.
fn stream(id: i16) -> u64 {
    u64::from(id.cast_unsigned()) + 1
}

impl Cassandra {
    fn request(&mut self, envelope: &Envelope<'_>) -> Option<Draft> {
        let request = request::read(envelope, &self.prepared);
        let (draft, asked) = match request {
            None => (None, Asked::Noise),
            Some(request) => {
                let mut draft = request.draft;
                match &self.keyspace {
                    Some(name) => {
                        let name = Value::from(name.clone());
                        draft.attributes.push(("db.namespace".into(), name));
                    }
                    None if self.is_partial => draft.unknown.push("db.namespace"),
                    None => {}
                }
                (Some(draft), request.prepares.map_or(Asked::Told, Asked::Prepare))
            }
        };
        let skips = self.asked.get(&envelope.stream).is_some_and(|old| {
            // What is left out waits for no answer.
            !matches!(old.0, Asked::Noise)
        });
        self.asked.insert(envelope.stream, (asked, skips));
        draft
    }

    fn answer(&mut self, envelope: &Envelope<'_>) -> Result<Draft, Left> {
        let response = response::read(envelope);
        if let Response::Event(draft) = response {
            return Ok(draft);
        }
        let Some((asked, skips)) = self.asked.remove(&envelope.stream) else {
            return self.told(response, None);
        };
        match asked {
            Asked::Doubtful => {
                // Its request is still waiting where spans are made.
                self.asked.insert(envelope.stream, (Asked::Doubtful, skips));
                Err(Left::Stray)
            }
            Asked::Noise => Err(Left::Noise),
            Asked::Told => self.told(response, None).map(|draft| Draft { skips, ..draft }),
            Asked::Prepare(statement) => {
                self.told(response, Some(statement)).map(|draft| Draft { skips, ..draft })
            }
        }
    }

    fn told(
        &mut self,
        response: Response<'_>,
        prepares: Option<Arc<Statement>>,
    ) -> Result<Draft, Left> {
        match response {
            Response::Done(draft) | Response::Event(draft) => Ok(draft),
            Response::Keyspace(draft, name) => {
                self.keyspace = Some(name);
                Ok(draft)
            }
            Response::Prepared(draft, id) => {
                if let Some(statement) = prepares {
                    self.prepared.insert(id, statement);
                }
                Ok(draft)
            }
            Response::Noise => Err(Left::Noise),
        }
    }

    /// What an envelope says, as a message of `len` bytes that begins `base` bytes before it.
    fn take(&mut self, envelope: &Envelope<'_>, from: Side, base: usize) -> Result<Draft, Left> {
        let mut draft = match from {
            Side::Client => self.request(envelope).ok_or(Left::Noise),
            Side::Server => self.answer(envelope),
        }?;
        draft.stream = stream(envelope.stream);
        for range in &mut draft.redact {
            *range = range.start + base..range.end + base;
        }
        Ok(draft)
    }

    /// A segment that goes on with an envelope.
    fn go_on(&mut self, segment: &Segment, from: Side) -> Option<Verdict> {
        let half = &mut self.halves[from as usize];
        let (left, draft) = half.big.take()?;
        let len = segment.len();
        let Some(rest) = left.checked_sub(segment.payload).filter(|_| !segment.is_self_contained)
        else {
            return Some(Verdict::NotMine);
        };
        let stream = draft.as_ref().map(|draft| draft.stream);
        Some(match (rest, draft) {
            (0, Some(draft)) => Verdict::Done { len, draft },
            (0, None) => Verdict::Skip(len),
            (rest, draft) => {
                half.big = Some((rest, draft));
                stream.map_or(Verdict::Skip(len), |stream| Verdict::Part { len, stream })
            }
        })
    }
}

/// Why an envelope gives no message.
enum Left {
    Noise,
    Stray,
}

impl Parser for Cassandra {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let (bytes, from) = (input.bytes, input.from);
        let inside = self.halves[from as usize].in_segment;
        if bytes.len() < HEADER.max(HEADER_MAX) && !input.is_last {
            return Verdict::More;
        }
        let segment = if inside == 0 { Segment::read(bytes) } else { None };
        if let Some(verdict) = segment.and_then(|segment| self.go_on(&segment, from)) {
            return verdict;
        }
        if let Some(segment) = segment.filter(|segment| segment.is_compressed) {
            return Verdict::Skip(segment.len());
        }
        let base = segment.map_or(0, |segment| segment.header);
        let room = segment.map_or(if inside == 0 { u64::MAX } else { inside }, |s| s.payload);
        let rest = bytes.get(base..).unwrap_or_default();
        let envelope = match Envelope::read(rest, from, room, input.is_last) {
            Front::Envelope(envelope) => envelope,
            Front::More => return Verdict::More,
            Front::NotMine => return Verdict::NotMine,
        };
        let is_part = segment.is_some_and(|segment| !segment.is_self_contained);
        if (envelope.len > room) != is_part || envelope.is_sound(from) == Some(false) {
            return Verdict::NotMine;
        }
        let taken = self.take(&envelope, from, base);
        let half = &mut self.halves[from as usize];
        if is_part {
            let len = base as u64 + room + TRAILER;
            let draft = taken.ok().map(Box::new);
            let stream = draft.as_ref().map(|draft| draft.stream);
            half.big = Some((envelope.len - room, draft));
            return stream.map_or(Verdict::Skip(len), |stream| Verdict::Part { len, stream });
        }
        let mut len = base as u64 + envelope.len;
        if segment.is_some() || inside > 0 {
            half.in_segment = room - envelope.len;
            len += if half.in_segment == 0 { TRAILER } else { 0 };
        }
        match taken {
            Ok(draft) => Verdict::Done { len, draft: Box::new(draft) },
            Err(Left::Noise) => Verdict::Skip(len),
            Err(Left::Stray) => Verdict::Stray(len),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        believe(bytes, bytes.len(), from).is_some()
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let half = std::mem::take(&mut self.halves[from as usize]);
        if from == Side::Server {
            self.is_partial = true;
            self.keyspace = None;
            for asked in self.asked.values_mut() {
                asked.0 = Asked::Doubtful;
            }
        }
        half.big.and_then(|big| big.1).map(|draft| *draft)
    }
}

#[cfg(test)]
mod tests;
