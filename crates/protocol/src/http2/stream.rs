//! Streams: RFC 9113 §5.1, as far as they carry a request and its response.

use std::collections::BTreeMap;
use std::ops::Range;

use super::block::Block;
use super::fields::Fields;
use crate::grpc;
use crate::web::meaning::Row;

/// Streams that are followed at once; beyond, the oldest is forgotten. Servers allow 100 to 250.
const STREAMS_MAX: usize = 1024;

/// Longest message of gRPC that is believed.
const MESSAGE_MAX: u64 = 64 * 1024 * 1024;

/// Data of a frame in which every message of gRPC is counted; of more data only the first is.
pub(super) const COUNTED_MAX: usize = 256;

/// A message that is under way.
#[derive(Debug, Default)]
pub(super) struct Under {
    pub(super) fields: Fields,
    has_head: bool,
    /// Bytes so far.
    pub(super) size: u64,
    /// Where values lie in the message that must not be kept.
    pub(super) redact: Vec<Range<usize>>,
    pub(super) count: Count,
    /// The start of the body, where a detector may look at it.
    pub(super) body: Vec<u8>,
    /// Bytes of the body that are wanted yet.
    pub(super) body_left: usize,
}

impl Under {
    /// Takes data of the body; what was not copied ends what is looked at.
    pub(super) fn add_body(&mut self, seen: &[u8], len: usize) {
        self.body.extend_from_slice(&seen[..seen.len().min(self.body_left)]);
        self.body_left = if seen.len() < len.min(self.body_left) {
            0
        } else {
            self.body_left.saturating_sub(seen.len())
        };
    }

    /// Takes the fields of a block that comes after the bytes so far.
    pub(super) fn add_fields(&mut self, mut fields: Fields, block: &Block) {
        let base = usize::try_from(self.size).unwrap_or(usize::MAX);
        for place in block.places(std::mem::take(&mut fields.redact)) {
            self.redact.push(base.saturating_add(place.start)..base.saturating_add(place.end));
        }
        self.size = self.size.saturating_add(block.before as u64);
        if std::mem::replace(&mut self.has_head, true) {
            self.fields.add_trailers(fields);
        } else {
            self.fields = fields;
        }
    }
}

/// Counts messages of gRPC in data.
#[derive(Debug)]
pub(super) struct Count {
    /// `None` where not all were seen.
    messages: Option<u32>,
    /// Bytes of the last message to come.
    left: u64,
    /// Whether the first data were a message of gRPC.
    fits: bool,
}

impl Default for Count {
    fn default() -> Self {
        Self { messages: Some(0), left: 0, fits: false }
    }
}

impl Count {
    /// Messages of gRPC, if these were some.
    pub(super) fn messages(&self) -> Option<u32> {
        self.messages
    }

    /// Whether the data look like gRPC.
    pub(super) fn fits(&self) -> bool {
        self.fits
    }

    /// Some data were not seen.
    pub(super) fn miss(&mut self) {
        self.messages = None;
    }

    /// Takes `len` bytes of data, of which `seen` are the first.
    pub(super) fn add(&mut self, seen: &[u8], len: usize) {
        let mut at = 0u64;
        let len = len as u64;
        while let Some(messages) = self.messages
            && at < len
        {
            if self.left > 0 {
                let step = self.left.min(len - at);
                self.left -= step;
                at += step;
                continue;
            }
            let prefix = usize::try_from(at).ok().and_then(|at| seen.get(at..));
            let message = prefix.and_then(grpc::message_len).filter(|len| *len <= MESSAGE_MAX);
            self.fits |= messages == 0 && message.is_some_and(|message| message + 5 >= len);
            self.messages = message.map(|_| messages.saturating_add(1));
            self.left = message.map_or(0, |message| message + grpc::PREFIX as u64);
        }
    }
}

/// A request and its response.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The request, until it was given out.
    pub(super) request: Option<Box<Under>>,
    /// The response, from its head on.
    pub(super) response: Option<Box<Under>>,
    /// Whether a head of the request was seen; else its response came first.
    pub(super) is_asked: bool,
    /// Whether the server said its last.
    pub(super) is_answered: bool,
    /// Whether it carries gRPC, once its fields told.
    pub(super) is_grpc: Option<bool>,
    /// Whether it seems to, as long as they did not.
    pub(super) guess: bool,
    /// Who reads the body of the response.
    pub(super) reader: Option<Row>,
}

/// Streams by their id.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<u32, Stream>,
}

impl Streams {
    pub(super) fn get(&self, id: u32) -> Option<&Stream> {
        self.streams.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.streams.remove(&id);
    }

    /// The stream, made if it is not there.
    pub(super) fn open(&mut self, id: u32) -> &mut Stream {
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&id) {
            self.streams.pop_first();
        }
        self.streams.entry(id).or_default()
    }

    /// Requests that are under way are lost.
    pub(super) fn lose_requests(&mut self) {
        self.streams.retain(|_, stream| stream.request.is_none());
    }

    /// Parts of the responses that are under way are lost.
    pub(super) fn tear_responses(&mut self) {
        let responses = self.streams.values_mut().filter_map(|stream| stream.response.as_mut());
        for response in responses {
            response.fields.is_cut = true;
            response.size = 0;
            response.redact.clear();
            response.count.miss();
        }
    }
}
