//! Who calls whom: both sides of an exchange are joined as their spans are written, and counted under
//! the names of OpenTelemetry's service graph connector; for `GET /metrics`.
//!
//! Simplifying assumption: both sides are written within [`WAIT`] of each other. A side that stays alone
//! is an edge to or from what is not watched, a virtual node: the callee is named by the call, the
//! caller is `user`. Where other servers write to the same store, it is looked for there first.

pub(crate) mod apart;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use deeptrace_bounded::{Added, Numbered, Pairs};
use deeptrace_http::{Exposition, Kind};
use deeptrace_model::{Span, SpanKind, SpanStatus, Text, Value};
use deeptrace_store::SpanLookup;

use crate::histogram::{BOUNDS, Histogram, Observed};
use crate::red::OTHER;
use apart::Apart;

/// Edges with series of their own; further ones are counted in one from and to `{other}`.
const EDGES_MAX: usize = 1_000;
/// Spans that wait for their other side; of more, the longest waiting is taken to be alone.
const WAITING_MAX: usize = 16_384;
/// The same where other servers write as well: most of what comes to one waits.
const APART_WAITING_MAX: usize = 4 * WAITING_MAX;
/// Kinds of them, at most. Beyond, all that wait are taken to be alone, and their kinds forgotten.
const WHO_MAX: usize = 4_096;
/// After which a span is taken to be alone.
const WAIT: Duration = Duration::from_secs(10);
/// Who calls where nobody is watched, in the words of OpenTelemetry's connector.
const USER: Text = Text::new_static("user");

/// All edges.
#[derive(Clone, Debug, Default)]
pub struct Edges {
    edges: HashMap<Edge, Row>,
    overflow: u64,
}

/// Spans that wait for their other side.
#[derive(Debug)]
pub struct Waiting {
    sides: Pairs<Side>,
    who: Numbered<Who>,
    shed: u64,
    /// Those that stayed alone here, where other servers may have the other side.
    pub(crate) apart: Option<Apart>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Edge {
    client: Text,
    server: Text,
    /// What Grafana shows beside the edge; empty where both sides are watched.
    connection: &'static str,
}

#[derive(Clone, Debug, Default)]
struct Row {
    requests: u64,
    failed: u64,
    client: Histogram,
    server: Histogram,
}

/// What many spans share of what their edge needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Who {
    service: Text,
    /// Of a call: who is called, as far as the call says.
    peer: Text,
    is_server: bool,
    is_database: bool,
}

/// What is a span's own.
#[derive(Debug)]
pub(crate) struct Side {
    /// Number in [`Waiting::who`].
    who: u32,
    is_error: bool,
    since: Instant,
    observed: Observed,
    /// Where the other side is to be looked for; `None`: nowhere but here.
    sought: Option<Box<SpanLookup>>,
}

impl Side {
    fn of(span: &Span, who: u32, since: Instant) -> Self {
        let is_error = span.status == SpanStatus::Error;
        Self { who, is_error, since, observed: Observed::of(span), sought: None }
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self { sides: Pairs::default(), who: Numbered::new(WHO_MAX), shed: 0, apart: None }
    }
}

impl Waiting {
    /// Takes a span; an edge that it completes, and those of spans that stayed alone, go to `edges`.
    pub fn add(&mut self, span: &Span, now: Instant, edges: &mut Edges) {
        if span.kind == SpanKind::Internal {
            return;
        }
        let is_server = span.kind.is_receiver();
        let who = match self.who.number(Who::of(span, is_server)) {
            Ok(number) => number,
            Err(who) => {
                while self.shed_oldest(edges) {}
                self.who.clear();
                // There is room for it now.
                self.who.number(who).unwrap_or_default()
            }
        };
        // What an SDK reports has no other side.
        let is_sought = self.apart.is_some() && !span.is_reported();
        let sought = is_sought.then(|| Box::new(apart::lookup(span)));
        let side = Side { sought, ..Side::of(span, who, now) };
        let key = span.exchange.key_or_request();
        if let Added::Pair(one, other) = self.sides.add(key, is_server, side) {
            let (client, server) = if is_server { (one, other) } else { (other, one) };
            if let (Some(from), Some(to)) = (self.who.get(client.who), self.who.get(server.who)) {
                edges.add_both((from, &client), (to, &server));
            }
        }
        let max = if self.apart.is_some() { APART_WAITING_MAX } else { WAITING_MAX };
        while self.sides.span() > max {
            self.shed_oldest(edges);
        }
    }

    /// Gives out what has waited long enough.
    pub fn tick(&mut self, now: Instant, edges: &mut Edges) {
        while let Some(oldest) = self.sides.oldest()
            && now.duration_since(oldest.since) >= WAIT
        {
            let Some(mut alone) = self.sides.pop() else { return };
            let Some(who) = self.who.get(alone.who) else { continue };
            match (alone.sought.take(), &mut self.apart) {
                (Some(lookup), Some(apart)) => apart.push(*lookup, (who.clone(), alone), edges),
                _ => edges.add_alone(who, &alone),
            }
        }
    }

    /// Gives out what has waited longest; whether there was any.
    fn shed_oldest(&mut self, edges: &mut Edges) -> bool {
        let Some(alone) = self.sides.pop() else { return false };
        if let Some(who) = self.who.get(alone.who) {
            edges.add_alone(who, &alone);
        }
        self.shed += 1;
        true
    }

    /// What was counted since the start.
    pub fn write(&self, out: &mut Exposition) {
        let name = "deeptrace_service_graph_shed_spans_total";
        let help = "Spans whose other side was not waited for, as too many were waiting.";
        out.family(name, Kind::Counter, help);
        out.sample(name, &[], self.shed);
        if let Some(apart) = &self.apart {
            apart.write(out);
        }
    }
}

impl Who {
    fn of(span: &Span, is_server: bool) -> Self {
        Self {
            service: span.service.clone(),
            peer: if is_server { Text::default() } else { peer(span) },
            is_server,
            is_database: span.attributes.get("db.system.name").is_some(),
        }
    }
}

impl Edges {
    fn add_both(&mut self, client: (&Who, &Side), server: (&Who, &Side)) {
        let row = self.row(client.0.service.clone(), server.0.service.clone(), "");
        row.count(client.1.is_error || server.1.is_error);
        row.client.add(client.1.observed);
        row.server.add(server.1.observed);
    }

    fn add_alone(&mut self, who: &Who, side: &Side) {
        if who.is_server {
            let row = self.row(USER, who.service.clone(), "virtual_node");
            row.count(side.is_error);
            row.server.add(side.observed);
        } else {
            let kind = if who.is_database { "database" } else { "virtual_node" };
            let row = self.row(who.service.clone(), who.peer.clone(), kind);
            row.count(side.is_error);
            row.client.add(side.observed);
        }
    }

    fn row(&mut self, client: Text, server: Text, connection: &'static str) -> &mut Row {
        let mut edge = Edge { client, server, connection };
        if self.edges.len() >= EDGES_MAX && !self.edges.contains_key(&edge) {
            self.overflow += 1;
            edge = Edge { client: OTHER, server: OTHER, connection: "" };
        }
        self.edges.entry(edge).or_default()
    }

    /// All series.
    pub fn write(&self, out: &mut Exposition) {
        let mut rows: Vec<(&Edge, &Row)> = self.edges.iter().collect();
        rows.sort_by_key(|(edge, _)| (&edge.client, &edge.server, edge.connection));
        let name = "traces_service_graph_request_total";
        out.family(name, Kind::Counter, "Requests from one service to another.");
        rows.iter().for_each(|(edge, row)| out.sample(name, &edge.labels(), row.requests));
        let name = "traces_service_graph_request_failed_total";
        out.family(name, Kind::Counter, "Those of them that failed.");
        rows.iter().for_each(|(edge, row)| out.sample(name, &edge.labels(), row.failed));
        let name = "traces_service_graph_request_client_seconds";
        out.family(name, Kind::Histogram, "How long they took as the caller saw it.");
        for (edge, row) in rows.iter().filter(|(_, row)| !row.client.is_empty()) {
            out.buckets(name, &edge.labels(), BOUNDS, &row.client.buckets());
        }
        let name = "traces_service_graph_request_server_seconds";
        out.family(name, Kind::Histogram, "How long they took as the callee saw it.");
        for (edge, row) in rows.iter().filter(|(_, row)| !row.server.is_empty()) {
            out.buckets(name, &edge.labels(), BOUNDS, &row.server.buckets());
        }
        let name = "deeptrace_service_graph_overflow_requests_total";
        let help = "Requests counted under {other}, as there are too many edges.";
        out.family(name, Kind::Counter, help);
        out.sample(name, &[], self.overflow);
        let name = "deeptrace_service_graph_edges";
        out.family(name, Kind::Gauge, "Edges with series of their own.");
        out.sample(name, &[], self.edges.len());
    }
}

impl Edge {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [("client", &self.client), ("server", &self.server), ("connection_type", self.connection)]
    }
}

impl Row {
    fn count(&mut self, is_error: bool) {
        self.requests += 1;
        self.failed += u64::from(is_error);
    }
}

/// Who is called, by name where the call has one; an address alone has its port, as many services share one.
fn peer(span: &Span) -> Text {
    let text = |name| span.attributes.get(name).and_then(Value::as_text);
    let port = |name| span.attributes.get(name).and_then(Value::as_int);
    let (address, port) = match text("server.address") {
        Some(name) if name.parse::<IpAddr>().is_err() => return name.into(),
        Some(address) => (address, port("server.port")),
        None => match text("network.peer.address") {
            Some(address) => (address, port("network.peer.port")),
            None => return Text::new_static("unknown"),
        },
    };
    port.map_or_else(|| address.into(), |port| format!("{address}:{port}").into())
}
