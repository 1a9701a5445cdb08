//! HTTP/2: RFC 9113, with HPACK (RFC 7541). It also carries gRPC (`grpc.rs`).
//!
//! A request and its response are what is on one stream, each from its `HEADERS` to `END_STREAM`. Of
//! `DATA` only the length matters; other frames belong to no message. A stream's id pairs exactly, so
//! neither loss nor late attachment gives an answer to another request: answers to requests that were not
//! seen are counted and given to nobody.
//!
//! Header fields that an encoder named by its table before the agent came, or in lost bytes, are absent
//! and named as unknown (`hpack.rs`). Whether such a stream carries gRPC is then told by its data, else it
//! is taken to be what the connection carried last.
//!
//! A request that is answered while it is still being sent (streaming calls, early answers) ends
//! with the next frame of its stream, or the next of the client that belongs to none. So does a
//! response whose stream the client cancels: their sizes count that frame.

mod block;
mod data;
mod describe;
mod fields;
mod frame;
mod hpack;
mod huffman;
mod recognition;
mod static_table;
mod stream;

use std::collections::VecDeque;

use deeptrace_model::Transport;

use self::block::Block;
use self::fields::Fields;
use self::frame::{Frame, HEADER, Kind, PREFACE};
use self::hpack::Table;
use self::stream::{Streams, Under};
use crate::web::meaning::{REQUEST_MAX, RESPONSE_MAX};
use crate::{CopyPolicy, Draft, Input, Pairing, Parser, Protocol, Side, Support, Verdict};

/// The row of the table.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "http2",
    title: "HTTP/2 (RFC 9113)",
    transports: &[Transport::Tcp, Transport::UnixStream],
    ports: &[80, 8080],
    copy: CopyPolicy::All,
    support: Support {
        pairing: Pairing::ById("stream"),
        errors: "status 5xx; 4xx too, for clients; a reset stream; an error of JSON-RPC",
        context: "headers",
        tls: "",
        limits: &[
            "of a body only the start is read, and only of JSON: for JSON-RPC, GraphQL and generative AI",
            "Elasticsearch, OpenSearch and S3 are told only of clients that name themselves or sign",
            "header fields that the encoder's table had before the attach are unknown until they are sent again",
            "of a call longer than 16 KiB the frames behind that are found again at the next call, not read",
        ],
    },
    recognise: recognition::recognise,
    parser: || Box::<Http2>::default(),
};

/// The stream that answers an upgraded request (RFC 7540 §3.2).
const UPGRADED: u32 = 1;

/// Messages that the other side ended and that wait for a frame to end with.
const OWED_MAX: usize = 64;

#[derive(Default)]
struct Http2 {
    halves: [Half; 2],
    streams: Streams,
    /// Highest stream of a request that was seen.
    newest: u32,
    /// Requests before `newest` may be missing, and the next one is not known to be above it.
    is_unsure: bool,
    /// Whether the first stream answers the request of HTTP/1.1 that asked for HTTP/2.
    is_upgraded: bool,
    /// Whether the last stream of which it is known carried gRPC.
    carries_grpc: bool,
}

/// One direction.
#[derive(Default)]
struct Half {
    table: Table,
    /// A header block of which `CONTINUATION` frames are to come.
    block: Option<Block>,
    /// Stream of the last frame of a message.
    last: u32,
    /// Streams whose message the other side ended.
    owed: VecDeque<u32>,
}

impl Parser for Http2 {
    fn parse(&mut self, input: Input<'_>) -> Verdict {
        let bytes = input.bytes;
        if input.from == Side::Client && bytes.first() == Some(&PREFACE[0]) {
            if bytes.starts_with(PREFACE) {
                return Verdict::Skip(PREFACE.len() as u64);
            }
            if PREFACE.starts_with(bytes) {
                return Verdict::More;
            }
        }
        if bytes.len() < HEADER {
            return Verdict::More;
        }
        let Some(frame) = Frame::read(bytes) else { return Verdict::NotMine };
        let is_continued = self.halves[input.from as usize].block.as_ref().map(|it| it.stream);
        let continues = (frame.kind == Kind::Continuation).then_some(frame.stream);
        if is_continued != continues {
            // RFC 9113 §6.10: nothing comes between the parts of a block.
            return Verdict::NotMine;
        }
        let wanted = match frame.kind {
            Kind::Headers | Kind::PushPromise | Kind::Continuation | Kind::Reset => frame.size(),
            Kind::Data => self.wanted_data(input.from, &frame),
            _ => HEADER,
        };
        if bytes.len() < wanted && !input.is_last {
            return Verdict::More;
        }
        let seen = &bytes[..bytes.len().min(wanted)];
        match frame.kind {
            Kind::Data => self.data(input.from, &frame, seen),
            Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                self.headers(input.from, &frame, seen)
            }
            Kind::Reset => self.reset(input.from, &frame, seen),
            _ => self.noise(input.from, frame.size()),
        }
    }

    fn is_start(&self, from: Side, bytes: &[u8]) -> bool {
        let is_open = |id| self.streams.get(id).is_some();
        recognition::is_start(from, bytes, &is_open)
    }

    fn lost(&mut self, from: Side) -> Option<Draft> {
        let half = Half { table: Table::unknown(), ..Half::default() };
        let last = std::mem::replace(&mut self.halves[from as usize], half).last;
        match from {
            Side::Client => {
                self.is_unsure = true;
                let draft = self.take_request(last);
                self.streams.lose_requests();
                draft
            }
            Side::Server => {
                self.streams.tear_responses();
                self.take_torn(last)
            }
        }
    }
}

impl Http2 {
    /// A frame that belongs to no message: one that is owed ends with it.
    fn noise(&mut self, from: Side, len: usize) -> Verdict {
        while let Some(id) = self.halves[from as usize].owed.pop_front() {
            let verdict = match from {
                Side::Client => self.finish_request(id, len),
                Side::Server => self.finish_response(id, len, Some(frame::CANCEL)),
            };
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
        Verdict::Skip(len as u64)
    }

    fn owe(&mut self, from: Side, id: u32) {
        let owed = &mut self.halves[from as usize].owed;
        if owed.len() < OWED_MAX {
            owed.push_back(id);
        }
    }

    /// RFC 9113 §6.2, §6.6 and §6.10.
    fn headers(&mut self, from: Side, frame: &Frame, seen: &[u8]) -> Verdict {
        let Some(place) = frame.content(seen) else { return Verdict::NotMine };
        let half = &mut self.halves[from as usize];
        let mut block = half.block.take().unwrap_or_else(|| Block::new(frame));
        block.add(frame, seen, place);
        if !frame.ends_headers() {
            half.block = Some(block);
            let stream = self.key(frame.stream);
            let len = frame.size() as u64;
            let is_followed =
                frame.kind != Kind::PushPromise && self.is_followed(from, frame.stream);
            return if is_followed { Verdict::Part { len, stream } } else { Verdict::Skip(len) };
        }
        let Ok(fields) = block.read(&mut half.table) else { return Verdict::NotMine };
        let len = frame.size();
        if block.kind == Kind::PushPromise {
            return Verdict::Skip(len as u64);
        }
        match from {
            Side::Client => self.ask(&block, fields, len),
            Side::Server => self.answer(&block, fields, len),
        }
    }

    /// The stream of a draft.
    fn key(&self, id: u32) -> u64 {
        if self.is_upgraded && id == UPGRADED { 0 } else { u64::from(id) }
    }

    /// Whether frames of a stream are a message's, as far as that is known without their fields.
    fn is_followed(&self, from: Side, id: u32) -> bool {
        match self.streams.get(id) {
            Some(stream) => from == Side::Server || stream.request.is_some() || !stream.is_asked,
            None => {
                !id.is_multiple_of(2)
                    && id > self.newest
                    && (from == Side::Client || !self.is_unsure)
            }
        }
    }

    /// A head of a request, or its trailers.
    fn ask(&mut self, block: &Block, fields: Fields, len: usize) -> Verdict {
        let id = block.stream;
        let is_new = self.streams.get(id).is_none_or(|stream| !stream.is_asked);
        let is_head = fields.side() == Some(Side::Client) || fields.has_unknown;
        if is_new && (id.is_multiple_of(2) || id <= self.newest || !is_head) {
            return self.noise(Side::Client, len);
        }
        if is_new {
            self.is_upgraded &= id != UPGRADED;
            self.newest = id;
            self.is_unsure = false;
            let stream = self.streams.open(id);
            stream.is_asked = true;
            stream.is_grpc = fields.told_grpc();
            stream.request = Some(Box::default());
            self.carries_grpc = stream.is_grpc.unwrap_or(self.carries_grpc);
            stream.guess = self.carries_grpc;
        }
        let Some(message) = self.message(Side::Client, id) else {
            return self.noise(Side::Client, len);
        };
        message.add_fields(fields, block);
        if is_new && message.fields.words().is_json() {
            message.body_left = REQUEST_MAX;
        }
        self.go_on(Side::Client, id, block.ends_stream, len)
    }

    /// A head of a response, or its trailers.
    fn answer(&mut self, block: &Block, fields: Fields, len: usize) -> Verdict {
        let id = block.stream;
        if self.streams.get(id).is_none() && self.is_followed(Side::Server, id) {
            // Its request is still on its way from the kernel, or was one of HTTP/1.1.
            self.is_upgraded |= id == UPGRADED;
            self.streams.open(id);
        }
        let is_interim = fields.status.is_some_and(|code| code < 200) && !block.ends_stream;
        let carries_grpc = &mut self.carries_grpc;
        let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.is_answered) else {
            return self.astray(Side::Server, id, block.ends_stream, len);
        };
        if fields.status.is_some() || stream.response.is_none() {
            stream.response = Some(Box::default());
        }
        if stream.is_grpc.is_none() {
            stream.is_grpc = fields.told_grpc();
            *carries_grpc = stream.is_grpc.unwrap_or(*carries_grpc);
        }
        let has_reader = stream.reader.is_some() && !is_interim;
        let Some(message) = &mut stream.response else { return Verdict::NotMine };
        let is_head = fields.status.is_some();
        message.add_fields(fields, block);
        if has_reader && is_head && message.fields.words().is_json() {
            message.body_left = RESPONSE_MAX;
        }
        if is_interim && let Some(message) = stream.response.take() {
            let mut draft = describe::response(*message, false, id, None, None);
            draft.stream = self.key(id);
            draft.interim = true;
            return Verdict::Done { len: len as u64, draft: Box::new(draft) };
        }
        self.go_on(Side::Server, id, block.ends_stream, len)
    }

    /// The message that is under way on a stream. After a loss a response may begin anywhere.
    fn message(&mut self, from: Side, id: u32) -> Option<&mut Under> {
        let stream = self.streams.get_mut(id)?;
        match from {
            Side::Client => stream.request.as_deref_mut(),
            Side::Server if stream.is_answered => None,
            Side::Server => Some(stream.response.get_or_insert_default()),
        }
    }

    /// A frame of the message of a stream, which perhaps ends it.
    fn go_on(&mut self, from: Side, id: u32, ends: bool, len: usize) -> Verdict {
        if let Some(message) = self.message(from, id) {
            message.size = message.size.saturating_add(len as u64);
            self.halves[from as usize].last = id;
        }
        let is_begun =
            self.streams.get(id).is_some_and(|it| it.response.is_some() || it.is_answered);
        let finished = match from {
            Side::Client if ends || is_begun => self.finish_request(id, len),
            Side::Server if ends => self.finish_response(id, len, None),
            _ => None,
        };
        finished.unwrap_or(Verdict::Part { len: len as u64, stream: self.key(id) })
    }

    /// A frame of a stream that is not followed. What a server pushes answers nothing.
    fn astray(&mut self, from: Side, id: u32, ends: bool, len: usize) -> Verdict {
        match from {
            // The rest of one that was given out when bytes were lost.
            Side::Server if ends && self.streams.get(id).is_some() => {
                self.streams.remove(id);
                self.noise(from, len)
            }
            Side::Server if ends && !id.is_multiple_of(2) => Verdict::Stray(len as u64),
            _ => self.noise(from, len),
        }
    }

    /// A request ends with a frame of `len` bytes.
    fn finish_request(&mut self, id: u32, len: usize) -> Option<Verdict> {
        let draft = self.take_request(id)?;
        if self.streams.get(id).is_some_and(|stream| stream.is_answered) {
            self.streams.remove(id);
        }
        Some(Verdict::Done { len: len as u64, draft: Box::new(draft) })
    }

    /// What is known of the request of a stream, which is not expected to go on.
    fn take_request(&mut self, id: u32) -> Option<Draft> {
        let stream = self.streams.get_mut(id)?;
        let message = stream.request.take()?;
        if stream.is_grpc.is_none() && message.count.fits() {
            stream.guess = true;
            self.carries_grpc = true;
        }
        let is_grpc = stream.is_grpc.unwrap_or(stream.guess);
        let (draft, reader) = describe::request(*message, is_grpc, id);
        stream.reader = reader;
        Some(draft)
    }

    /// What is known of a response whose rest is lost, unless that says how it went.
    fn take_torn(&mut self, id: u32) -> Option<Draft> {
        let key = self.key(id);
        let stream = self.streams.get_mut(id)?;
        if stream.is_grpc.unwrap_or(stream.guess) || stream.request.is_some() {
            return None;
        }
        let message = stream.response.take_if(|response| response.fields.status.is_some())?;
        stream.is_answered = true;
        let mut draft = describe::response(*message, false, id, None, None);
        draft.stream = key;
        Some(draft)
    }

    /// A response ends with a frame of `len` bytes.
    fn finish_response(&mut self, id: u32, len: usize, reset: Option<u32>) -> Option<Verdict> {
        let stream = self.streams.get_mut(id)?;
        let message = stream.response.take()?;
        let is_grpc = stream.is_grpc.unwrap_or(stream.guess);
        let reader = stream.reader;
        stream.is_answered = true;
        if stream.request.is_some() {
            self.owe(Side::Client, id);
        } else {
            self.streams.remove(id);
        }
        let mut draft = Box::new(describe::response(*message, is_grpc, id, reset, reader));
        draft.stream = self.key(id);
        Some(Verdict::Done { len: len as u64, draft })
    }

    /// RFC 9113 §6.4.
    fn reset(&mut self, from: Side, frame: &Frame, seen: &[u8]) -> Verdict {
        let (id, len) = (frame.stream, frame.size());
        let code = seen[HEADER..].first_chunk().map_or(0, |code| u32::from_be_bytes(*code));
        let Some(stream) = self.streams.get_mut(id) else { return self.noise(from, len) };
        let verdict = match from {
            Side::Server if stream.is_answered => None,
            // RFC 9113 §8.1: it follows a whole answer, which must have been lost.
            Side::Server if code == frame::NO_ERROR && stream.response.is_none() => {
                return Verdict::Stray(len as u64);
            }
            Side::Server => {
                stream.response.get_or_insert_default();
                self.finish_response(id, len, Some(code))
            }
            // The server may have answered already, or says that it gave up.
            Side::Client => {
                if stream.response.is_some() {
                    self.owe(Side::Server, id);
                }
                self.finish_request(id, len)
            }
        };
        verdict.unwrap_or_else(|| self.noise(from, len))
    }
}

#[cfg(test)]
mod tests;
