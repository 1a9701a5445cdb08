//! Shop: traces over three hosts as agents see them, from a seed: spans when they end, links when they are
//! decided, guesses that are replaced later, trace ids that begin at the root or below it.

use std::borrow::Cow;

use deeptrace_model::{
    BootTime, ConnectionId, EventId, Exchange, ExchangeKind, Link, Method, Pid, ProcessKey,
    Relation, Span, SpanId, SpanKind, SpanStatus, Tid, Touch, TraceContext, TraceId, UnitId,
    WallTime,
};
use fastrand::Rng;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
/// Wall time of boot time zero.
pub const BOOT: u64 = 1_795_000_000 * SECOND;

/// What is mixed into the traces; shares between 0 and 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix {
    pub errors: f64,
    pub slow: f64,
    /// Calls whose parent is guessed first, mostly wrongly.
    pub guesses: f64,
    /// Calls that the caller gives up.
    pub unanswered: f64,
    /// Traces with a pause of 25 s in them.
    pub long: f64,
}

/// What an agent's pipeline finishes.
#[derive(Clone, Debug)]
pub enum Item {
    Span(Box<Span>),
    Link(Link),
    Root(SpanId),
}

/// Something that an agent's pipeline finishes at a time.
#[derive(Clone, Debug)]
pub struct Made {
    pub host: usize,
    /// Boot time.
    pub at: u64,
    pub item: Item,
}

/// A trace as it was.
#[derive(Clone, Debug)]
pub struct Truth {
    pub spans: Vec<SpanId>,
    pub root_service: &'static str,
    pub from: WallTime,
    pub to: WallTime,
    pub is_wanted: bool,
}

/// Host of each service.
const SERVICES: [(&str, usize); 6] =
    [("gate", 0), ("cart", 1), ("users", 2), ("stock", 0), ("pay", 1), ("mail", 2)];

pub struct Shop {
    rng: Rng,
    mix: Mix,
    pub made: Vec<Made>,
    pub truths: Vec<Truth>,
    /// The last requests of each service: what a guess takes for the parent.
    last: [SpanId; 6],
}

/// The trace under way.
struct Under {
    truth: Truth,
    context: Option<TraceContext>,
    /// From which depth on the application sends its id along.
    carries_from: usize,
    is_long: bool,
}

impl Shop {
    /// `traces` of them, evenly over `seconds`.
    pub fn new(seed: u64, traces: usize, seconds: u64, mix: Mix) -> Self {
        let rng = Rng::with_seed(seed);
        let mut shop =
            Self { rng, mix, made: Vec::new(), truths: Vec::new(), last: [SpanId(1); 6] };
        for number in 0..traces as u64 {
            let start = 20 * SECOND + number * seconds * SECOND / traces as u64;
            shop.trace(start);
        }
        shop.made.sort_by_key(|made| made.at);
        shop
    }

    fn trace(&mut self, start: u64) {
        let context =
            TraceContext { trace: TraceId(self.rng.u128(1..)), parent: self.rng.u64(1..) };
        // Half of the applications send no ids.
        let carries_from = [usize::MAX, usize::MAX, 0, 1][self.rng.usize(..4)];
        let service = if self.rng.u8(..4) == 0 { 5 } else { 0 };
        let mut under = Under {
            truth: Truth {
                spans: Vec::new(),
                root_service: SERVICES[service].0,
                from: WallTime(u64::MAX),
                to: WallTime(0),
                is_wanted: false,
            },
            context: Some(context),
            carries_from,
            is_long: self.rng.f64() < self.mix.long,
        };
        if service == 5 {
            // A job: nobody called it. It calls the gate on another host.
            let (id, _) = self.call(&mut under, 5, 0, start, 0);
            self.give(SERVICES[5].1, start + 700 * MS, Item::Root(id));
        } else {
            let exchange = self.exchange();
            // Every caller from outside has a connection of its own.
            let peer = self.rng.u64(1_000..);
            self.serve(&mut under, service, start, 0, exchange, peer);
        }
        self.truths.push(under.truth);
    }

    /// A request at a service with all that it causes, on a connection to `peer`. When it ends.
    fn serve(
        &mut self,
        under: &mut Under,
        service: usize,
        start: u64,
        depth: usize,
        exchange: Exchange,
        peer: u64,
    ) -> u64 {
        let id = SpanId(self.rng.u64(1..));
        let (guessed, host) = (self.last[service], SERVICES[service].1);
        self.last[service] = id;
        let mut now = start + self.rng.u64(1..20) * MS;
        let mut calls = Vec::new();
        let count =
            if depth >= 4 { 0 } else { self.rng.usize(usize::from(depth == 0)..4 - depth / 2) };
        for _ in 0..count {
            let callee = self.rng.usize(1..8);
            let (call, end) = self.call(under, service, callee, now, depth);
            calls.push((call, WallTime(BOOT + now)));
            now = end + self.rng.u64(1..5) * MS;
        }
        if depth == 0 && std::mem::take(&mut under.is_long) {
            now += 25 * SECOND;
        }
        for (call, start) in calls {
            let link = Link {
                child: call,
                parent: Some(id),
                child_start: start,
                method: Method::Thread,
                relation: Relation::Child,
                confidence: 0.99,
                algorithm: "auto".into(),
                candidates: 2,
                generation: 0,
                is_final: true,
            };
            if self.rng.f64() < self.mix.guesses {
                let (method, confidence) = (Method::Inferred, 0.6);
                let guess = Link { parent: Some(guessed), method, confidence, ..link.clone() };
                self.give(host, now + MS, Item::Link(guess));
                let better = Link { method, confidence: 0.9, generation: 2, ..link };
                self.give(host, now + 1_500 * MS, Item::Link(better));
            } else {
                self.give(host, now + MS, Item::Link(link));
            }
        }
        self.span(under, id, service, SpanKind::Server, start, now, depth, exchange, peer);
        now
    }

    /// A call of `service`. Beyond the services there are callees that nobody watches.
    fn call(
        &mut self,
        under: &mut Under,
        service: usize,
        callee: usize,
        start: u64,
        depth: usize,
    ) -> (SpanId, u64) {
        let (id, exchange) = (SpanId(self.rng.u64(1..)), self.exchange());
        let end = match SERVICES.get(callee) {
            Some(_) => {
                self.serve(under, callee, start + MS / 5, depth + 1, exchange, 100 + service as u64)
                    + MS / 5
            }
            None => start + self.rng.u64(1..10) * MS,
        };
        let given_up = self.rng.f64() < self.mix.unanswered;
        let seen = Exchange { response: exchange.response.filter(|_| !given_up), ..exchange };
        self.span(under, id, service, SpanKind::Client, start, end, depth + 1, seen, callee as u64);
        (id, end)
    }

    fn exchange(&mut self) -> Exchange {
        Exchange {
            kind: ExchangeKind::Tcp,
            request: self.rng.u32(..).into(),
            response: Some(self.rng.u32(..).into()),
            stream: 0,
            request_hash: self.rng.u64(..),
            confidence: 1.0,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a span has many parts")]
    fn span(
        &mut self,
        under: &mut Under,
        id: SpanId,
        service: usize,
        kind: SpanKind,
        start: u64,
        end: u64,
        depth: usize,
        exchange: Exchange,
        peer: u64,
    ) {
        let is_error = self.rng.f64() < self.mix.errors;
        let end = if self.rng.f64() < self.mix.slow { end.max(start + 1_100 * MS) } else { end };
        let touch = |time: u64| Touch {
            event: EventId(time),
            time: BootTime(time),
            pid: Pid(service as u32 + 1),
            tid: Tid(1),
            unit: UnitId(1),
        };
        let span = Span {
            id,
            kind,
            name: "GET /".into(),
            service: SERVICES[service].0.into(),
            protocol: Cow::Borrowed("http"),
            start: WallTime(BOOT + start),
            end: WallTime(BOOT + end),
            status: if is_error { SpanStatus::Error } else { SpanStatus::Ok },
            status_message: None,
            attributes: Default::default(),
            request_size: 100,
            response_size: 100,
            request_payload: Default::default(),
            response_payload: Default::default(),
            process: ProcessKey { pid: Pid(service as u32 + 1), started: BootTime(1) },
            connection: ConnectionId(peer),
            exchange,
            request: [touch(start); 2],
            response: exchange.response.map(|_| [touch(end); 2]),
            trace_context: under.context.filter(|_| depth >= under.carries_from),
            unknown: Vec::new(),
            truncated: false,
            lost_events: 0,
        };
        under.truth.spans.push(id);
        under.truth.from = under.truth.from.min(span.start);
        under.truth.to = under.truth.to.max(span.end);
        under.truth.is_wanted |= is_error || end - start >= SECOND;
        let late = self.rng.u64(..5) * MS;
        self.give(SERVICES[service].1, end + late, Item::Span(Box::new(span)));
    }

    fn give(&mut self, host: usize, at: u64, item: Item) {
        self.made.push(Made { host, at, item });
    }
}
