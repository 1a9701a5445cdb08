//! Metadata: what the parser of a registered handler says of the bytes it was given.

use std::ops::Range;

use deeptrace_model::{Text, Value};

use crate::TraceHeaders;

/// Attributes of one message; more are dropped and counted.
pub(crate) const ATTRIBUTES_MAX: usize = 32;

/// Ranges of one message that are overwritten; if there are more, all of it is.
pub(crate) const SECRETS_MAX: usize = 32;

/// What the bytes at the front of one direction of a connection are.
///
/// A parser makes one of [`request`](Self::request), [`response`](Self::response),
/// [`one_way`](Self::one_way), [`skip`](Self::skip), [`need_more`](Self::need_more) and
/// [`not_mine`](Self::not_mine), and adds what the message says.
#[derive(Clone, Debug)]
#[must_use]
pub struct ProtocolMetadata {
    pub(crate) kind: Kind,
    /// Bytes, from the front.
    pub(crate) length: usize,
    pub(crate) name: Text,
    pub(crate) id: Option<u64>,
    pub(crate) error: Option<(Text, String)>,
    pub(crate) attributes: Vec<(Text, Value)>,
    /// Attributes that were dropped.
    pub(crate) dropped: u64,
    pub(crate) headers: TraceHeaders,
    pub(crate) secrets: Vec<Range<usize>>,
}

/// What bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    OneWay,
    Skip,
    NeedMore,
    NotMine,
}

impl ProtocolMetadata {
    /// A request of `length` bytes, perhaps more than are there yet: what is missing is passed over
    /// when it comes. `name` becomes the span's, so it should have few values (`GET`, not `GET 17`).
    pub fn request(length: usize, name: impl Into<Text>) -> Self {
        Self::new(Kind::Request, length, name.into())
    }

    /// A response of `length` bytes. It answers the oldest open request in the other direction, or,
    /// with an [`id`](Self::id), the one of the same id.
    pub fn response(length: usize) -> Self {
        Self::new(Kind::Response, length, Text::default())
    }

    /// A message of `length` bytes that asks for no answer; either side may send it.
    pub fn one_way(length: usize, name: impl Into<Text>) -> Self {
        Self::new(Kind::OneWay, length, name.into())
    }

    /// `length` bytes that make no span: a greeting, a heartbeat, padding.
    pub fn skip(length: usize) -> Self {
        Self::new(Kind::Skip, length, Text::default())
    }

    /// A message that can't be told before more of it comes; the parser is asked again with all its
    /// bytes. Up to 64 KiB are kept so: return a length as soon as the head says it.
    pub fn need_more() -> Self {
        Self::new(Kind::NeedMore, 0, Text::default())
    }

    /// Bytes that are not of this protocol.
    pub fn not_mine() -> Self {
        Self::new(Kind::NotMine, 0, Text::default())
    }

    fn new(kind: Kind, length: usize, name: Text) -> Self {
        Self {
            kind,
            length,
            name,
            id: None,
            error: None,
            attributes: Vec::new(),
            dropped: 0,
            headers: TraceHeaders::default(),
            secrets: Vec::new(),
        }
    }

    /// The id that a request and its response have in common, where answers may come in any order.
    /// A protocol either gives all of them one, or none.
    pub fn id(mut self, id: u64) -> Self {
        self.id = Some(id);
        self
    }

    /// The request failed: its span has the status `error`, `kind` (few values) as `error.type`, and
    /// `message` as its status message, if that is not empty.
    pub fn error(mut self, kind: impl Into<Text>, message: impl Into<String>) -> Self {
        self.error = Some((kind.into(), message.into()));
        self
    }

    /// An attribute of the span, best named after OpenTelemetry's semantic conventions. At most 32;
    /// of each name the first counts.
    pub fn attribute(mut self, name: impl Into<Text>, value: impl Into<Value>) -> Self {
        let name = name.into();
        if self.attributes.iter().any(|(known, _)| *known == name) {
            return self;
        }
        if self.attributes.len() < ATTRIBUTES_MAX {
            self.attributes.push((name, value.into()));
        } else {
            self.dropped += 1;
        }
        self
    }

    /// A header that may carry the application's own trace context: `traceparent` (W3C), `b3` or
    /// `X-B3-…` (Zipkin); others are ignored.
    pub fn trace_header(mut self, name: &[u8], value: &[u8]) -> Self {
        self.headers.header(name, value);
        self
    }

    /// Bytes, counted from the front of the message, that must not be kept.
    pub fn secret(mut self, range: Range<usize>) -> Self {
        if self.secrets.len() < SECRETS_MAX {
            self.secrets.push(range);
        } else {
            self.secrets.clear();
            self.secrets.push(0..usize::MAX);
        }
        self
    }
}
