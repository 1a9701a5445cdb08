//! Block: spans of one batch, by columns where they are searched, then their bodies.
//!
//! A search reads columns only; a body is decoded for spans that are wanted.

use deeptrace_model::{
    Exchange, ExchangeKey, ExchangeKind, RequestKey, Span, SpanId, SpanKind, SpanStatus,
    TraceContext, WallTime,
};
use serde::{Deserialize, Serialize};

use super::{body, column};
use crate::SpanKey;

/// Spans of one batch.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Block {
    /// Services and names, each once.
    strings: Vec<String>,
    #[serde(with = "column::fixed")]
    id: Vec<u64>,
    #[serde(with = "column::delta")]
    start: Vec<u64>,
    duration: Vec<u64>,
    /// Kind, status, kind of exchange, and whether a response was seen; see [`Flags`].
    flags: Vec<u8>,
    /// Index into `strings`.
    service: Vec<u32>,
    /// Index into `strings`.
    name: Vec<u32>,
    request: Vec<u64>,
    response: Vec<u64>,
    stream: Vec<u64>,
    #[serde(with = "column::fixed")]
    request_hash: Vec<u64>,
    /// Trace contexts of the few spans that carry one, by index.
    contexts: Vec<(u32, TraceContext)>,
    /// Length of each body.
    lengths: Vec<u32>,
    #[serde(skip)]
    bodies: Vec<u8>,
    /// Where each body starts, from `lengths`.
    #[serde(skip)]
    offsets: Vec<usize>,
}

/// What a block shows of a span without decoding its body.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) id: SpanId,
    pub(crate) start: WallTime,
    pub(crate) end: WallTime,
    pub(crate) kind: SpanKind,
    pub(crate) status: SpanStatus,
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
}

const KINDS: [SpanKind; 5] = [
    SpanKind::Server,
    SpanKind::Client,
    SpanKind::Producer,
    SpanKind::Consumer,
    SpanKind::Internal,
];
const STATUSES: [SpanStatus; 3] = [SpanStatus::Ok, SpanStatus::Error, SpanStatus::Unset];
const EXCHANGES: [ExchangeKind; 3] =
    [ExchangeKind::Tcp, ExchangeKind::Unix, ExchangeKind::Datagram];

/// Bits of a flag byte: 0–2 kind, 3–4 status, 5–6 kind of exchange, 7 answered.
fn flags(span: &Span) -> u8 {
    let place = |found: Option<usize>| found.unwrap_or_default() as u8;
    place(KINDS.iter().position(|kind| *kind == span.kind))
        | place(STATUSES.iter().position(|status| *status == span.status)) << 3
        | place(EXCHANGES.iter().position(|kind| *kind == span.exchange.kind)) << 5
        | u8::from(span.exchange.response.is_some()) << 7
}

impl Block {
    /// Appends a span.
    pub(crate) fn push(&mut self, span: &Span) -> postcard::Result<()> {
        let before = self.bodies.len();
        self.bodies = body::write(span, std::mem::take(&mut self.bodies))?;
        self.offsets.push(before);
        self.lengths.push((self.bodies.len() - before) as u32);
        let index = self.id.len() as u32;
        self.contexts.extend(span.trace_context.map(|context| (index, context)));
        let service = self.intern(&span.service);
        let name = self.intern(&span.name);
        self.service.push(service);
        self.name.push(name);
        self.id.push(span.id.0);
        self.start.push(span.start.0);
        self.duration.push(span.end.since(span.start).0);
        self.flags.push(flags(span));
        self.request.push(span.exchange.request);
        self.response.push(span.exchange.response.unwrap_or_default());
        self.stream.push(span.exchange.stream);
        self.request_hash.push(span.exchange.request_hash);
        Ok(())
    }

    /// Few strings repeat much, the last ones most: searching backwards is faster than hashing.
    fn intern(&mut self, text: &str) -> u32 {
        let found = self.strings.iter().rposition(|string| string == text);
        found.unwrap_or_else(|| {
            self.strings.push(text.to_owned());
            self.strings.len() - 1
        }) as u32
    }

    /// Number of spans.
    pub(crate) fn len(&self) -> usize {
        self.id.len()
    }

    /// Bytes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.bodies.len() + self.len() * 72 + self.strings.iter().map(String::len).sum::<usize>()
    }

    /// The block as bytes, not compressed.
    pub(crate) fn to_bytes(&self) -> postcard::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len() * 48 + self.bodies.len());
        bytes = postcard::to_extend(self, bytes)?;
        bytes.extend_from_slice(&self.bodies);
        Ok(bytes)
    }

    /// Reads what [`Block::to_bytes`] wrote. Lengths are checked, so that no later access can
    /// miss.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (mut block, bodies) =
            postcard::take_from_bytes::<Self>(bytes).map_err(|error| error.to_string())?;
        let count = block.id.len();
        let equal = [
            block.start.len(),
            block.duration.len(),
            block.flags.len(),
            block.service.len(),
            block.name.len(),
            block.request.len(),
            block.response.len(),
            block.stream.len(),
            block.request_hash.len(),
            block.lengths.len(),
        ];
        let strings = block.strings.len();
        let indices = block.service.iter().chain(&block.name);
        if equal.iter().any(|length| *length != count) {
            return Err("its columns differ in length".to_owned());
        }
        if indices.max().is_some_and(|index| *index as usize >= strings) {
            return Err("it names a string that it does not hold".to_owned());
        }
        let mut end = 0_usize;
        for length in &block.lengths {
            block.offsets.push(end);
            end = end.saturating_add(*length as usize);
        }
        if end != bodies.len() {
            return Err("its bodies are cut".to_owned());
        }
        block.bodies = bodies.to_vec();
        Ok(block)
    }

    /// The columns of span `index`.
    pub(crate) fn head(&self, index: usize) -> Head<'_> {
        let flags = self.flags[index];
        Head {
            id: SpanId(self.id[index]),
            start: WallTime(self.start[index]),
            end: WallTime(self.start[index].saturating_add(self.duration[index])),
            kind: KINDS[usize::from(flags & 7).min(KINDS.len() - 1)],
            status: STATUSES[usize::from(flags >> 3 & 3).min(STATUSES.len() - 1)],
            service: &self.strings[self.service[index] as usize],
            name: &self.strings[self.name[index] as usize],
        }
    }

    fn exchange(&self, index: usize, confidence: f32) -> Exchange {
        let flags = self.flags[index];
        Exchange {
            kind: EXCHANGES[usize::from(flags >> 5 & 3).min(EXCHANGES.len() - 1)],
            request: self.request[index],
            response: (flags >> 7 == 1).then_some(self.response[index]),
            stream: self.stream[index],
            request_hash: self.request_hash[index],
            confidence,
        }
    }

    fn context(&self, index: usize) -> Option<TraceContext> {
        let found = self.contexts.binary_search_by_key(&(index as u32), |(at, _)| *at);
        found.ok().map(|at| self.contexts[at].1)
    }

    /// Id, and keys of the exchange.
    pub(crate) fn keys(&self, index: usize) -> (SpanId, Option<ExchangeKey>, RequestKey) {
        let exchange = self.exchange(index, 1.0);
        (SpanId(self.id[index]), exchange.key(), exchange.request_key())
    }

    /// All keys by which span `index` is looked up.
    pub(crate) fn each_key(&self, index: usize, mut each: impl FnMut(SpanKey)) {
        let (id, exchange, request) = self.keys(index);
        each(SpanKey::Id(id));
        exchange.into_iter().for_each(|key| each(SpanKey::Exchange(key)));
        each(SpanKey::Request(request));
        self.context(index).into_iter().for_each(|it| each(SpanKey::Application(it.trace)));
    }

    /// The whole span `index`.
    pub(crate) fn span(&self, index: usize) -> Result<Span, String> {
        let from = self.offsets[index];
        let bytes = &self.bodies[from..from + self.lengths[index] as usize];
        let body = body::read(bytes).map_err(|error| error.to_string())?;
        let (request, response) = body.touches();
        let head = self.head(index);
        Ok(Span {
            id: head.id,
            kind: head.kind,
            name: head.name.to_owned(),
            service: head.service.to_owned(),
            start: head.start,
            end: head.end,
            status: head.status,
            exchange: self.exchange(index, body.confidence),
            trace_context: self.context(index),
            request,
            response,
            protocol: body.protocol.into(),
            status_message: body.status_message,
            attributes: body.attributes,
            request_size: body.sizes.0,
            response_size: body.sizes.1,
            request_payload: body.request_payload,
            response_payload: body.response_payload,
            process: body.process,
            connection: body.connection,
            unknown: body.unknown,
            truncated: body.truncated,
            lost_events: body.lost_events,
        })
    }
}
