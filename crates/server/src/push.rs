//! Push: settled traces to a collector by the OpenTelemetry protocol, over gRPC or HTTP
//! ("OpenTelemetry Protocol Exporter"). Between the traces and the collector is a bounded queue: while
//! the collector is away the oldest are dropped, and counted.

mod collect;
mod sender;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::uri::Scheme;
use axum::http::{HeaderMap, Uri};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use tokio::sync::Notify;

use crate::api::Api;
use sender::{Sender, SenderError};

/// Spans that wait to be sent.
const SPANS_MAX: usize = 50_000;
/// Spans of one request, unless one trace has more.
const REQUEST_SPANS: usize = 512;

/// How it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`.
    Http,
}

impl Protocol {
    /// The address that is meant by `text`; `None` if it is none.
    pub fn endpoint(self, text: &str) -> Option<Uri> {
        let uri: Uri = text.parse().ok()?;
        uri.authority()?;
        if ![&Scheme::HTTP, &Scheme::HTTPS].contains(&uri.scheme()?) {
            return None;
        }
        match self {
            Self::Http if uri.path() == "/" => {
                format!("{}/v1/traces", text.trim_end_matches('/')).parse().ok()
            }
            _ => Some(uri),
        }
    }
}

/// Where to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub endpoint: Uri,
    /// How it is spoken.
    pub protocol: Protocol,
    /// Sent with every request.
    pub headers: HeaderMap,
    /// Whether requests are compressed.
    pub is_gzip: bool,
    /// For one request.
    pub timeout: Duration,
    /// Certificates that are trusted, in PEM; `None`: those of the system.
    pub certificate: Option<PathBuf>,
}

/// What waits to be sent, and what was counted. Cloned, it is the same.
#[derive(Clone, Default)]
pub struct Push(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    come: Notify,
    counts: Counts,
}

#[derive(Default)]
struct Queue {
    /// By trace, with its spans.
    traces: VecDeque<(usize, Vec<ResourceSpans>)>,
    spans: usize,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    unsettled: AtomicU64,
    missed: AtomicU64,
    failures: AtomicU64,
}

impl Push {
    /// Pushes what `api`'s store is given from now on, until that is to stop.
    pub fn start(
        self,
        target: &Target,
        api: Api,
    ) -> Result<impl Future<Output = ()> + use<>, SenderError> {
        let sender = Sender::new(target)?;
        tracing::info!(endpoint = %target.endpoint, "pushing settled traces");
        let sending = sender.run(self.clone(), api.stop.clone());
        Ok(async move {
            tokio::join!(collect::run(self, api), sending);
        })
    }

    /// What was counted since the start.
    pub fn counters(&self, out: &mut dyn FnMut(&'static str, u64)) {
        let counts = &self.0.counts;
        out("export_otlp_sent_spans_total", counts.sent.load(Relaxed));
        out("export_otlp_rejected_spans_total", counts.rejected.load(Relaxed));
        out("export_otlp_dropped_spans_total", counts.dropped.load(Relaxed));
        out("export_otlp_unsettled_spans_total", counts.unsettled.load(Relaxed));
        out("export_otlp_missed_batches_total", counts.missed.load(Relaxed));
        out("export_otlp_failures_total", counts.failures.load(Relaxed));
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        out("export_otlp_waiting_spans", queue.spans as u64);
    }

    fn add(&self, spans: usize, trace: Vec<ResourceSpans>) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.spans += spans;
        queue.traces.push_back((spans, trace));
        while queue.spans > SPANS_MAX
            && let Some((oldest, _)) = queue.traces.pop_front()
        {
            queue.spans -= oldest;
            self.0.counts.dropped.fetch_add(oldest as u64, Relaxed);
        }
        self.0.come.notify_one();
    }

    /// The oldest that fit into one request; empty if nothing waits.
    fn next(&self) -> (usize, Vec<ResourceSpans>) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut count, mut all) = (0, Vec::new());
        while queue
            .traces
            .front()
            .is_some_and(|(spans, _)| count == 0 || count + spans <= REQUEST_SPANS)
            && let Some((spans, trace)) = queue.traces.pop_front()
        {
            queue.spans -= spans;
            count += spans;
            all.extend(trace);
        }
        (count, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_dropped_and_requests_are_bounded() {
        let push = Push::default();
        for _ in 0..60 {
            push.add(1_000, vec![ResourceSpans::default()]);
        }
        let (count, trace) = push.next();
        assert_eq!((count, trace.len()), (1_000, 1), "a trace that is too large goes alone");
        let mut counted = Vec::new();
        push.counters(&mut |name, value| counted.push((name, value)));
        assert!(counted.contains(&("export_otlp_dropped_spans_total", 10_000)), "{counted:?}");
        assert!(counted.contains(&("export_otlp_waiting_spans", 49_000)), "{counted:?}");
    }

    #[test]
    fn an_endpoint_without_a_path_is_completed_for_http() {
        let cases = [
            (Protocol::Http, "http://a:4318", Some("http://a:4318/v1/traces")),
            (Protocol::Http, "http://a:4318/", Some("http://a:4318/v1/traces")),
            (Protocol::Http, "https://a/otlp/v1/traces", Some("https://a/otlp/v1/traces")),
            (Protocol::Grpc, "http://a:4317", Some("http://a:4317/")),
            (Protocol::Grpc, "a:4317", None),
            (Protocol::Http, "ftp://a", None),
        ];
        for (protocol, text, expected) in cases {
            let endpoint = protocol.endpoint(text).map(|uri| uri.to_string());
            assert_eq!(endpoint.as_deref(), expected, "{text}");
        }
    }
}
