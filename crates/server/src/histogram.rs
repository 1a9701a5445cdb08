//! Histogram in buckets, each bucket with the trace that was in it last.

use deeptrace_http::{Buckets, Exemplar};
use deeptrace_model::{Span, TraceId, WallTime};

/// Upper bounds in seconds: from a call of a cache on the same host to one that hangs.
pub const BOUNDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// The same in nanoseconds.
const BOUNDS_NS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
const BUCKETS: usize = BOUNDS_NS.len() + 1;

/// Histogram of spans.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ns: u64,
    latest: [Option<Observed>; BUCKETS],
}

/// How long a span took, and how it is found.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    trace: TraceId,
    ns: u64,
    end: WallTime,
}

impl Observed {
    /// Of this span. The trace is not assembled yet: the id is one that finds it.
    pub fn of(span: &Span) -> Self {
        let own = span.trace_context.map(|context| context.trace);
        let trace = own.unwrap_or_else(|| TraceId::from_root(span.id));
        Self { trace, ns: span.end.since(span.start).0, end: span.end }
    }
}

impl Histogram {
    /// Takes one.
    pub fn add(&mut self, observed: Observed) {
        let bucket = BOUNDS_NS.partition_point(|bound| *bound < observed.ns);
        self.counts[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(observed.ns);
        self.latest[bucket] = Some(observed);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// As they are told.
    pub fn buckets(&self) -> Buckets {
        let exemplar = |latest: &Option<Observed>| {
            latest.map(|latest| Exemplar {
                labels: vec![("trace_id", latest.trace.to_string())],
                value: latest.ns as f64 / 1e9,
                seconds: latest.end.0 as f64 / 1e9,
            })
        };
        Buckets {
            counts: self.counts.to_vec(),
            sum: self.sum_ns as f64 / 1e9,
            exemplars: self.latest.iter().map(exemplar).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_of_bounds_are_one() {
        let seconds: Vec<f64> = BOUNDS_NS.iter().map(|ns| *ns as f64 / 1e9).collect();
        assert_eq!(seconds, BOUNDS);
    }
}
