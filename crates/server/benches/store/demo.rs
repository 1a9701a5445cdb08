//! Demo: as many spans as are wanted, made from a recording of the demo application.
//!
//! Three seconds of it are repeated, each trace anew: it begins at a random moment of its three seconds, takes
//! 0.7 to 1.6 times as long, has other ids and positions, and whatever has a digit in it and is not in many
//! traces (ids in paths, statements, headers and bodies) is another number of the same length, the same
//! one in all spans of the trace. So names, sizes and shapes are the demo's, and contents repeat less
//! than there.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use deeptrace_model::{
    AttributeSet, Attributes, BootTime, EventId, Method, Payload, Span, SpanId, Text, TraceId,
    TraceSpan, Value, WallTime, hash_bytes, hash64,
};
use deeptrace_query::{Limits, walk};
use deeptrace_store::{Batch, Filter, Mode, Options, StoreError};

/// Nanoseconds of the recording, which is repeated after that.
const ROUND: u64 = 3_000_000_000;
/// What is in more than one of so many traces is no id.
const COMMON: usize = 50;
/// Events and positions between one round and the next.
const EVENTS: u64 = 100_000;
const POSITIONS: u64 = 50_021;

/// A trace: its id and spans.
pub struct Trace {
    pub id: TraceId,
    pub spans: Vec<TraceSpan>,
}

/// The recording, as traces.
pub struct Demo {
    traces: Vec<Trace>,
    begin: u64,
    common: HashSet<Vec<u8>>,
    /// Hashes of requests that are in several traces.
    hashes: HashSet<u64>,
}

impl Demo {
    /// Reads the store into which the recording was replayed.
    pub fn open(folder: &Path) -> Self {
        let options = Options { cache_bytes: 256 << 20, ..Options::new(folder) };
        let store = deeptrace_store::open("embedded", &options, Mode::Read).unwrap();
        let mut traces: Vec<Trace> = Vec::new();
        let mut take = |trace: &deeptrace_model::Trace| {
            traces.push(Trace { id: trace.id, spans: trace.spans.clone() });
            Ok::<bool, StoreError>(true)
        };
        let limit = 1_000_000;
        walk(&*store, &Filter::default(), None, limit, Limits::default(), &mut take).unwrap();
        traces.sort_by_key(|trace| (trace.spans[0].span.start, trace.id));
        let begin = traces[0].spans[0].span.start.0;
        let mut demo = Self { traces, begin, common: HashSet::new(), hashes: HashSet::new() };
        demo.count();
        demo
    }

    /// Spans of one round.
    pub fn len(&self) -> usize {
        self.traces.iter().map(|trace| trace.spans.len()).sum()
    }

    /// When round `number` begins.
    pub fn begin(&self, number: u64) -> WallTime {
        WallTime(self.begin + number * ROUND)
    }

    /// Service of most roots.
    pub fn entry(&self) -> String {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for trace in &self.traces {
            *counts.entry(&trace.spans[0].span.service).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name).unwrap().to_owned()
    }

    fn count(&mut self) {
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut requests: HashMap<u64, usize> = HashMap::new();
        for trace in &self.traces {
            let (mut tokens, mut hashes) = (HashSet::new(), HashSet::new());
            for TraceSpan { span, .. } in &trace.spans {
                hashes.insert(span.exchange.request_hash);
                each_token(&span.request_payload, |token| _ = tokens.insert(token.to_vec()));
                each_token(&span.response_payload, |token| _ = tokens.insert(token.to_vec()));
                for (_, value) in span.attributes.iter() {
                    let Value::Text(text) = value else { continue };
                    each_token(text.as_bytes(), |token| _ = tokens.insert(token.to_vec()));
                }
            }
            tokens.into_iter().for_each(|token| *seen.entry(token).or_default() += 1);
            hashes.into_iter().for_each(|hash| *requests.entry(hash).or_default() += 1);
        }
        let many = self.traces.len() / COMMON;
        self.common = seen.into_iter().filter(|it| it.1 > many).map(|it| it.0).collect();
        self.hashes = requests.into_iter().filter(|it| it.1 > 1).map(|it| it.0).collect();
    }

    /// The traces of a round, by start.
    pub fn round(&self, number: u64) -> Vec<Trace> {
        let traces = self.traces.iter().zip(0..);
        let mut traces: Vec<Trace> =
            traces.map(|it| self.again(it.0, hash64(&[number, it.1]), number)).collect();
        traces.sort_by_key(|trace| (trace.spans[0].span.start, trace.id));
        traces
    }

    fn again(&self, trace: &Trace, seed: u64, number: u64) -> Trace {
        let begin = trace.spans.iter().map(|it| it.span.start.0).min().unwrap_or_default();
        let moved = self.begin + number * ROUND + hash64(&[seed, 1]) % ROUND;
        let scale = 0.7 + (hash64(&[seed, 2]) % 1000) as f64 * 0.0009;
        let time = |time: u64| {
            let after = (time as i64).wrapping_sub(begin as i64) as f64 * scale;
            moved.wrapping_add_signed(after as i64)
        };
        let id = |id: SpanId| SpanId(hash64(&[id.0, seed]));
        let mut texts = Texts { demo: self, seed, sets: HashMap::new(), payloads: HashMap::new() };
        let spans = trace.spans.iter().map(|it| {
            let mut it = it.clone();
            it.parent = it.parent.map(id);
            if let Some(link) = &mut it.link {
                (link.child, link.parent) = (id(link.child), link.parent.map(id));
                link.child_start = WallTime(time(link.child_start.0));
            }
            let span = Arc::make_mut(&mut it.span);
            // From the clock since boot to the wall's.
            let boot = span.start.0.wrapping_sub(span.request[0].time.0);
            for touch in span.request.iter_mut().chain(span.response.iter_mut().flatten()) {
                touch.time = BootTime(time(touch.time.0.wrapping_add(boot)).wrapping_sub(boot));
                touch.event = EventId(touch.event.0 + number * EVENTS);
            }
            span.id = id(span.id);
            (span.start, span.end) = (WallTime(time(span.start.0)), WallTime(time(span.end.0)));
            span.exchange.request = position(span.exchange.request, number);
            let response = span.exchange.response;
            span.exchange.response = response.map(|at| position(at, number));
            if !self.hashes.contains(&span.exchange.request_hash) {
                span.exchange.request_hash = hash64(&[span.exchange.request_hash, seed]);
            }
            if let Some(context) = &mut span.trace_context {
                let half = |part: u64| u128::from(hash64(&[context.trace.0 as u64, part, number]));
                (context.trace, context.parent) =
                    (TraceId((half(0) << 64) | half(1)), hash64(&[context.parent, number]));
            }
            span.request_payload = texts.payload(&span.request_payload);
            span.response_payload = texts.payload(&span.response_payload);
            span.attributes = texts.attributes(&span.attributes);
            it
        });
        let spans: Vec<TraceSpan> = spans.collect();
        let root = &spans[0].span;
        let own = root.trace_context.map(|context| context.trace);
        Trace { id: own.unwrap_or(TraceId::from_root(root.id)), spans }
    }
}

/// Where a request or response starts in that round.
/// All spans of some traces, with the links that were observed: those across an exchange are found by its key.
pub fn batch(traces: &[Trace]) -> Batch {
    let all = || traces.iter().flat_map(|trace| &trace.spans);
    let mut spans: Vec<_> = all().map(|it| Span::clone(&it.span)).collect();
    spans.sort_by_key(|span| (span.end, span.id));
    let links = all().filter_map(|it| it.link.clone());
    Batch {
        spans,
        links: links.filter(|link| link.method != Method::Connection).collect(),
        ..Batch::default()
    }
}

fn position(at: u64, number: u64) -> u64 {
    (at + number * POSITIONS) & 0xffff_ffff
}

/// Texts of one trace; what its spans share they share again.
struct Texts<'a> {
    demo: &'a Demo,
    seed: u64,
    sets: HashMap<*const AttributeSet, Arc<AttributeSet>>,
    payloads: HashMap<*const u8, Payload>,
}

impl Texts<'_> {
    fn payload(&mut self, payload: &Payload) -> Payload {
        let (demo, seed) = (self.demo, self.seed);
        let known = self.payloads.entry(payload.as_ptr());
        known
            .or_insert_with(|| vary(demo, seed, payload).map_or(payload.clone(), Payload::from))
            .clone()
    }

    fn attributes(&mut self, attributes: &Attributes) -> Attributes {
        let (demo, seed) = (self.demo, self.seed);
        let varied = |value: &Value| match value {
            Value::Text(text) => vary(demo, seed, text.as_bytes())
                .and_then(|text| String::from_utf8(text).ok())
                .map(|text| Value::Text(Text::from(text))),
            _ => None,
        };
        let mut all = Attributes::new();
        for set in attributes.shared() {
            let again = self.sets.entry(Arc::as_ptr(set)).or_insert_with(|| {
                if !set.as_slice().iter().any(|(_, value)| varied(value).is_some()) {
                    return Arc::clone(set);
                }
                let again = |(key, value): &(_, Value)| {
                    (Clone::clone(key), varied(value).unwrap_or_else(|| value.clone()))
                };
                Arc::new(set.as_slice().iter().map(again).collect::<Vec<_>>().into())
            });
            all.share_new(again);
        }
        for (key, value) in attributes.own() {
            all.push((key.clone(), varied(value).unwrap_or_else(|| value.clone())));
        }
        all
    }
}

/// Other digits in what is not common; `None` where nothing changes.
fn vary(demo: &Demo, seed: u64, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut varied = None;
    each_token(bytes, |token| {
        if demo.common.contains(token) {
            return;
        }
        let at = token.as_ptr() as usize - bytes.as_ptr() as usize;
        let mut digits = hash64(&[hash_bytes(token), seed]);
        let varied = varied.get_or_insert_with(|| bytes.to_vec());
        for byte in varied[at..at + token.len()].iter_mut().filter(|byte| byte.is_ascii_digit()) {
            *byte = b'0' + (digits % 10) as u8;
            digits = (digits / 10) ^ digits.rotate_left(60);
        }
    });
    varied
}

/// Runs of letters and digits with a digit in them, two long at least.
fn each_token<'a>(bytes: &'a [u8], mut each: impl FnMut(&'a [u8])) {
    let tokens = bytes.split(|byte| !byte.is_ascii_alphanumeric());
    tokens
        .filter(|token| token.len() > 1 && token.iter().any(u8::is_ascii_digit))
        .for_each(&mut each);
}
