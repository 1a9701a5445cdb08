//! Sums of spans as they are told: how many, how many errors, how long.

use deeptrace_store::Tally;
use serde::{Deserialize, Serialize};

use super::Period;

/// Sums of spans.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Spans.
    pub span_count: u64,
    /// Those with status error.
    pub error_count: u64,
    /// Spans a second.
    pub rate: f64,
    /// Errors among the spans, 0 to 1.
    pub error_rate: f64,
    /// Half of them took at most this long, within 1.6 %; absent where there are none.
    pub p50_ns: Option<u64>,
    /// 95 % of them.
    pub p95_ns: Option<u64>,
    /// 99 % of them.
    pub p99_ns: Option<u64>,
    /// The longest.
    pub max_ns: u64,
}

impl Sums {
    /// Of `tally`, which was counted over `period`.
    pub fn of(tally: &Tally, period: &Period) -> Self {
        let quantile = |share| tally.quantile(share).map(|duration| duration.0);
        Self {
            span_count: tally.spans,
            error_count: tally.errors,
            rate: period.rate(tally.spans),
            error_rate: share(tally.errors, tally.spans),
            p50_ns: quantile(0.5),
            p95_ns: quantile(0.95),
            p99_ns: quantile(0.99),
            max_ns: tally.longest.0,
        }
    }
}

/// `part` of `whole`, 0 to 1; zero of nothing.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
