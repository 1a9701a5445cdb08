//! Rates: what was meant by the keys of `[agents.trace]` that begin with `sampling`, and by `always_keep`.
//!
//! After OpenTelemetry's "TraceState: Probability Sampling": a trace is kept if 56 bits that are random
//! and the same wherever it is seen are not below a threshold. Where the application sends a trace id along
//! they are its last 56 bits (W3C Trace Context level 2, "random trace id"), so that tracers that
//! sample by the same rule keep the same traces; else they are a hash of where the request starts,
//! which both sides of its connection see alike, also before it is answered.

use std::collections::BTreeMap;

use deeptrace_http::parse_duration;
use deeptrace_model::{Duration, Span, SpanStatus, hash64};

use crate::config::ConfigError;
use crate::written::Trace;

/// How many values the random bits have.
const BITS: u32 = 56;

/// Which traces are kept, and how long they wait for that.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    rate: Threshold,
    by_service: BTreeMap<String, Threshold>,
    keeps_errors: bool,
    keeps_slower: Option<Duration>,
    /// How long a part of a trace waits for its verdict after its last span.
    pub wait: Duration,
    /// Memory of all that waits, bytes.
    pub bytes_max: usize,
}

/// Random bits below are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Threshold(u64);

/// The random bits of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Randomness(u64);

impl Sampling {
    /// Checks what was written.
    pub(crate) fn new(trace: &Trace) -> Result<Self, ConfigError> {
        let at = |key: &str| format!("agents.trace.{key}");
        let mut by_service = BTreeMap::new();
        for (service, rate) in &trace.sampling_by_service {
            let rate = threshold(&at(&format!("sampling_by_service.{service}")), *rate)?;
            by_service.insert(service.clone(), rate);
        }
        if !(100..=600_000).contains(&trace.sampling_wait_ms) {
            let message = "give at least 100 and at most 600000 (milliseconds)";
            return Err(ConfigError::at(&at("sampling_wait_ms"), message));
        }
        if !(1..=4096).contains(&trace.sampling_buffer_size) {
            let message = "give at least 1 and at most 4096 (megabytes)";
            return Err(ConfigError::at(&at("sampling_buffer_size"), message));
        }
        let (mut keeps_errors, mut keeps_slower) = (false, None::<Duration>);
        for (index, rule) in trace.always_keep.iter().enumerate() {
            match rule.strip_prefix("slow:").map(parse_duration) {
                Some(Ok(slow)) => {
                    keeps_slower = Some(keeps_slower.map_or(slow, |other| other.min(slow)));
                }
                None if rule == "errors" => keeps_errors = true,
                _ => {
                    let message = "give `errors`, or `slow:` with a duration";
                    return Err(ConfigError::at(&at(&format!("always_keep[{index}]")), message));
                }
            }
        }
        Ok(Self {
            rate: threshold(&at("sampling_rate"), trace.sampling_rate)?,
            by_service,
            keeps_errors,
            keeps_slower,
            wait: Duration::from_millis(trace.sampling_wait_ms),
            bytes_max: (trace.sampling_buffer_size as usize) << 20,
        })
    }

    /// Whether every trace is kept, so that nothing need wait.
    pub fn keeps_all(&self) -> bool {
        self.highest() == Threshold(0) && self.by_service.values().all(|it| *it == Threshold(0))
    }

    /// How long finished spans may be held before they go on.
    pub fn held(&self) -> Duration {
        let held = self.wait.0.saturating_add(super::TOGETHER.0);
        Duration(if self.keeps_all() { 0 } else { held })
    }

    /// Whether a trace that enters with `span` is kept for its random bits.
    pub(super) fn keeps(&self, span: &Span, bits: Randomness) -> bool {
        let rate = self.by_service.get(&*span.service).copied().unwrap_or(self.rate);
        bits.0 >= rate.0
    }

    /// Whether a trace with these random bits is kept if it enters where the rate is highest.
    pub(super) fn may_keep(&self, bits: Randomness) -> bool {
        bits.0 >= self.highest().0
    }

    /// Whether the trace of `span` is kept whatever the rate.
    pub(super) fn always_keeps(&self, span: &Span) -> bool {
        (self.keeps_errors && span.status == SpanStatus::Error)
            || self.keeps_slower.is_some_and(|slow| span.end.since(span.start) >= slow)
    }

    fn highest(&self) -> Threshold {
        self.by_service.values().copied().min().map_or(self.rate, |lowest| lowest.min(self.rate))
    }
}

impl Randomness {
    /// Of a trace that enters with `span`.
    pub(super) fn of(span: &Span) -> Self {
        let mask = (1 << BITS) - 1;
        if let Some(context) = span.trace_context {
            return Self(context.trace.0 as u64 & mask);
        }
        // Not the key of the exchange: of a request that one side saw unanswered both sides know the start.
        let exchange = &span.exchange;
        Self(hash64(&[exchange.kind as u64, exchange.request, exchange.stream]) & mask)
    }
}

fn threshold(key: &str, rate: f64) -> Result<Threshold, ConfigError> {
    if !(0.0..=1.0).contains(&rate) {
        return Err(ConfigError::at(key, format!("{rate} is not between 0 and 1")));
    }
    // Exact at both ends: everything is at least 0, and no 56 bits reach 2^56.
    Ok(Threshold(((1.0 - rate) * (1_u64 << BITS) as f64).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(change: impl FnOnce(&mut Trace)) -> Sampling {
        let mut trace = Trace::default();
        change(&mut trace);
        Sampling::new(&trace).unwrap()
    }

    #[test]
    fn a_rate_keeps_its_share_of_random_bits() {
        for rate in [0.0, 0.1, 0.5, 1.0] {
            let sampling = sampling(|trace| trace.sampling_rate = rate);
            let bits = |n: u64| Randomness(hash64(&[n]) & ((1 << BITS) - 1));
            let kept = (0..100_000).filter(|n| sampling.may_keep(bits(*n))).count();
            assert!((kept as f64 / 1e5 - rate).abs() < 0.005, "{rate}: {kept}");
            assert_eq!(sampling.keeps_all(), rate == 1.0);
        }
    }

    #[test]
    fn one_service_below_one_is_enough_to_sample() {
        let one = sampling(|trace| {
            trace.sampling_by_service.insert("cart".into(), 0.5);
        });
        assert!(!one.keeps_all());
        // A trace may enter elsewhere, where all are kept.
        assert!(one.may_keep(Randomness(0)));
    }
}
