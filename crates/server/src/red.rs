//! Requests, errors and durations of each operation, counted as spans are written, under the names of
//! OpenTelemetry's span metrics connector; for `GET /metrics`.
//!
//! A span that an agent sends again after a fault is counted again: rates are of what was written.

use std::collections::HashMap;

use deeptrace_http::{Exposition, Kind};
use deeptrace_model::{Span, SpanKind, SpanStatus, Text};

use crate::histogram::{BOUNDS, Histogram, Observed};

/// Operations with series of their own; those seen later are counted in the `{other}` of their service.
const OPERATIONS_MAX: usize = 1_000;
/// Services with an `{other}` of their own; the rest share one.
const OTHERS_MAX: usize = 100;
/// Name of what has no series of its own.
pub const OTHER: Text = Text::new_static("{other}");

/// All operations.
#[derive(Clone, Debug, Default)]
pub struct Red {
    rows: HashMap<Operation, Row>,
    others: usize,
    overflow: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Operation {
    service: Text,
    name: Text,
    kind: SpanKind,
}

#[derive(Clone, Debug, Default)]
struct Row {
    /// By [`SpanStatus`].
    calls: [u64; 3],
    durations: Histogram,
}

impl Red {
    /// Counts a span.
    pub fn add(&mut self, span: &Span) {
        let key =
            Operation { service: span.service.clone(), name: span.name.clone(), kind: span.kind };
        let row = match self.rows.get_mut(&key) {
            Some(row) => row,
            None => self.room(key),
        };
        row.calls[span.status as usize] += 1;
        row.durations.add(Observed::of(span));
    }

    fn room(&mut self, mut key: Operation) -> &mut Row {
        if self.rows.len() - self.others >= OPERATIONS_MAX {
            self.overflow += 1;
            key.name = OTHER;
            if !self.rows.contains_key(&key) {
                if self.others >= OTHERS_MAX {
                    key.service = OTHER;
                }
                self.others += usize::from(!self.rows.contains_key(&key));
            }
        }
        self.rows.entry(key).or_default()
    }

    /// All series.
    pub fn write(&self, out: &mut Exposition) {
        let mut rows: Vec<(&Operation, &Row)> = self.rows.iter().collect();
        rows.sort_by(|(one, _), (other, _)| {
            let order = |it: &Operation| (it.service.clone(), it.name.clone(), it.kind as u8);
            order(one).cmp(&order(other))
        });
        let name = "traces_span_metrics_calls_total";
        out.family(name, Kind::Counter, "Spans of an operation.");
        for (operation, row) in &rows {
            for status in [SpanStatus::Ok, SpanStatus::Error, SpanStatus::Unset] {
                let calls = row.calls[status as usize];
                if calls > 0 {
                    let [service, span, kind] = operation.labels();
                    out.sample(name, &[service, span, kind, ("status_code", code(status))], calls);
                }
            }
        }
        let name = "traces_span_metrics_duration_seconds";
        out.family(name, Kind::Histogram, "Histogram of the spans of an operation.");
        for (operation, row) in &rows {
            out.buckets(name, &operation.labels(), BOUNDS, &row.durations.buckets());
        }
        let name = "deeptrace_metrics_overflow_spans_total";
        out.family(
            name,
            Kind::Counter,
            "Spans counted under {other}, as there are too many operations.",
        );
        out.sample(name, &[], self.overflow);
        let name = "deeptrace_metrics_operations";
        out.family(name, Kind::Gauge, "Operations with series of their own.");
        out.sample(name, &[], self.rows.len() - self.others);
    }
}

impl Operation {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [("service_name", &self.service), ("span_name", &self.name), ("span_kind", kind(self.kind))]
    }
}

/// As OpenTelemetry's protocol names them.
fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Server => "SPAN_KIND_SERVER",
        SpanKind::Client => "SPAN_KIND_CLIENT",
        SpanKind::Producer => "SPAN_KIND_PRODUCER",
        SpanKind::Consumer => "SPAN_KIND_CONSUMER",
        SpanKind::Internal => "SPAN_KIND_INTERNAL",
    }
}

fn code(status: SpanStatus) -> &'static str {
    match status {
        SpanStatus::Ok => "STATUS_CODE_OK",
        SpanStatus::Error => "STATUS_CODE_ERROR",
        SpanStatus::Unset => "STATUS_CODE_UNSET",
    }
}
