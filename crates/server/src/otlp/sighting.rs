//! Sighting: which of our spans is what an SDK reports as the start of a trace. The request carried no
//! ids then, so that nothing but the caller's port tells, or the time, where there is one only. What was
//! found is written as a link: what was seen is the parent of what was reported; an assembly makes one
//! span of both.
//!
//! Simplifying assumption: what was seen is stored [`LOOK_AFTER`] after it was reported.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use deeptrace_model::{
    Duration as Length, Link, Method, Pid, Relation, Span, SpanId, SpanKind, Text, Value, WallTime,
};
use deeptrace_store::{Batch, Filter, Store, Window};

use crate::pipeline::Ingest;

/// After a report, before its spans are looked for.
const LOOK_AFTER: Duration = Duration::from_secs(2);
/// Reports that wait to be looked at.
const REPORTS_MAX: usize = 256;
/// Spans of one report that are looked for.
const SPANS_MAX: usize = 1024;
/// Spans that are looked through at once.
const SCAN_MAX: usize = 20_000;
/// A server's framework takes a request over so long after its first byte.
const BEFORE: Length = Length::from_secs(5);
/// Clocks of SDKs are read a little before the calls that we see.
const SLACK: Length = Length::from_millis(5);
/// Names of the caller's port, the current one first.
const PORTS: &[&str] = &["network.peer.port", "client.port", "net.sock.peer.port", "net.peer.port"];
/// Names of what was asked, the current one first.
const ASKED: [&[&str]; 2] = [&["http.request.method", "http.method"], &["url.path", "http.target"]];

/// Where spans are looked for.
pub(super) struct Sighting {
    reports: SyncSender<Report>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    found: AtomicU64,
    missed: AtomicU64,
    dropped: AtomicU64,
}

struct Report {
    at: Instant,
    spans: Vec<Wanted>,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    id: SpanId,
    kind: SpanKind,
    start: WallTime,
    service: Text,
    pid: Pid,
    port: Option<i64>,
    asked: [Option<String>; 2],
}

impl Sighting {
    pub(super) fn start(ingest: Ingest, store: Arc<dyn Store>) -> std::io::Result<Self> {
        let (reports, come) = sync_channel(REPORTS_MAX);
        let counts = Arc::new(Counts::default());
        let looking =
            Looking { ingest, store: Arc::downgrade(&store), counts: Arc::clone(&counts) };
        std::thread::Builder::new()
            .name("deeptrace-sight".to_owned())
            .spawn(move || looking.run(&come))?;
        Ok(Self { reports, counts })
    }

    /// Those of a report that came without ids.
    pub(super) fn wanted(&self, spans: &[Span]) -> Vec<Wanted> {
        let is_first = |span: &&Span| {
            span.kind == SpanKind::Server && span.trace_context.is_none_or(|own| own.parent == 0)
        };
        spans.iter().filter(is_first).take(SPANS_MAX).map(Wanted::of).collect()
    }

    /// Looks for them, a little later.
    pub(super) fn look_for(&self, spans: Vec<Wanted>) {
        let count = spans.len() as u64;
        if count > 0 && self.reports.try_send(Report { at: Instant::now(), spans }).is_err() {
            self.counts.dropped.fetch_add(count, Relaxed);
        }
    }

    pub(super) fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        out("otlp_sighted_spans_total", self.counts.found.load(Relaxed));
        out("otlp_unsighted_spans_total", self.counts.missed.load(Relaxed));
        out("otlp_sighting_dropped_spans_total", self.counts.dropped.load(Relaxed));
    }
}

impl Wanted {
    fn of(span: &Span) -> Self {
        let number = |name: &&str| span.attributes.get(name).and_then(Value::as_int);
        Self {
            id: span.id,
            kind: span.kind,
            start: span.start,
            service: span.service.clone(),
            pid: span.process.pid,
            port: PORTS.iter().find_map(number),
            asked: asked(span),
        }
    }

    /// The only one of `spans` that it can be.
    fn find<'a>(&self, spans: &'a [Arc<Span>]) -> Option<&'a Span> {
        let is_possible = |span: &&'a Arc<Span>| {
            !span.is_reported()
                && span.kind == self.kind
                && span.trace_context.is_none()
                && span.start.minus(SLACK) <= self.start
                && self.start <= span.end.plus(SLACK)
                && is_alike(&self.asked, &asked(span))
                && self.is_of_caller(span)
        };
        let mut possible = spans.iter().filter(is_possible);
        let one = possible.next()?;
        possible.next().is_none().then_some(one)
    }

    fn is_of_caller(&self, span: &Span) -> bool {
        let port = span.attributes.get("network.peer.port").and_then(Value::as_int);
        match (self.port, port) {
            (Some(told), Some(seen)) => told == seen,
            _ => self.service == span.service || (self.pid.0 != 0 && self.pid == span.process.pid),
        }
    }
}

/// Method and path without its query.
fn asked(span: &Span) -> [Option<String>; 2] {
    ASKED.map(|names| {
        let text = names.iter().find_map(|name| span.attributes.get(name)?.as_text());
        text.and_then(|text| text.split('?').next()).map(str::to_owned)
    })
}

/// Whether what both know is the same.
fn is_alike(one: &[Option<String>; 2], other: &[Option<String>; 2]) -> bool {
    one.iter().zip(other).all(|pair| match pair {
        (Some(one), Some(other)) => one == other,
        _ => true,
    })
}

/// What the thread works on. It ends with the last who may report.
struct Looking {
    ingest: Ingest,
    store: Weak<dyn Store>,
    counts: Arc<Counts>,
}

impl Looking {
    fn run(self, reports: &Receiver<Report>) {
        let mut waiting: VecDeque<Report> = VecDeque::new();
        loop {
            let due = waiting.front().map(|report| report.at + LOOK_AFTER);
            let wait = due.map_or(LOOK_AFTER, |at| at.saturating_duration_since(Instant::now()));
            let room = waiting.len() < REPORTS_MAX;
            match reports.recv_timeout(wait) {
                Ok(report) if room => waiting.push_back(report),
                Ok(report) => {
                    self.counts.dropped.fetch_add(report.spans.len() as u64, Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            let due = waiting.iter().take_while(|report| report.at + LOOK_AFTER <= now).count();
            let spans: Vec<Wanted> = waiting.drain(..due).flat_map(|report| report.spans).collect();
            let Some(store) = self.store.upgrade() else { return };
            self.look(&*store, spans);
        }
    }

    /// Those that are near in time are looked for at once.
    fn look(&self, store: &dyn Store, mut spans: Vec<Wanted>) {
        spans.sort_by_key(|span| span.start);
        let near = |a: &Wanted, b: &Wanted| b.start.since(a.start) <= BEFORE;
        for group in spans.chunk_by(near) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
            let from = first.start.minus(BEFORE);
            let mut filter = Filter::in_window(Window { from, to: last.start.plus(SLACK) });
            filter.kind = Some(first.kind);
            let seen = match store.scan(&filter, None, SCAN_MAX) {
                Ok(page) => page.spans,
                Err(error) => {
                    tracing::debug!(%error, "cannot look for what was seen of reported spans");
                    Vec::new()
                }
            };
            let links: Vec<Link> =
                group.iter().filter_map(|span| Some(link(span, span.find(&seen)?))).collect();
            let missed = (group.len() - links.len()) as u64;
            self.counts.found.fetch_add(links.len() as u64, Relaxed);
            self.counts.missed.fetch_add(missed, Relaxed);
            let count = links.len() as u64;
            if self.ingest.offer(Batch { links, ..Batch::default() }).is_err() {
                self.counts.dropped.fetch_add(count, Relaxed);
            }
        }
    }
}

fn link(reported: &Wanted, seen: &Span) -> Link {
    Link {
        child: reported.id,
        parent: Some(seen.id),
        child_start: reported.start,
        method: Method::TraceContext,
        relation: Relation::Child,
        confidence: 1.0,
        algorithm: "sighting".into(),
        candidates: 1,
        generation: 1,
        is_final: true,
    }
}
