//! Durations: how long spans took, in buckets whose width is a thirty-second of their octave, as in an
//! HdrHistogram, so that any percentile is right within 1.6 %.
//!
//! Kept sparse and of our own because libraries keep their buckets dense: an operation of one minute has
//! about ten durations, and its row would be larger than the spans it sums up.

use deeptrace_model::Duration;
use serde::{Deserialize, Serialize};

/// Buckets of an octave, as a power of two.
const OCTAVE_BITS: u32 = 5;
const OCTAVE: u64 = 1 << OCTAVE_BITS;
/// As many buckets cover all 64 bits of nanoseconds.
const BUCKETS: u16 = ((64 - OCTAVE_BITS + 1) as u16) << OCTAVE_BITS;

/// Durations by bucket. Sums of them are as exact as each one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// Number of the bucket, and how many fell into it; by number, each once.
    buckets: Vec<(u16, u64)>,
}

impl Durations {
    /// Counts one in.
    pub fn add(&mut self, duration: Duration) {
        self.add_to(bucket(duration.0), 1);
    }

    /// Counts all of `other` in.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.add_to(*bucket, *count);
        }
    }

    fn add_to(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(known, _)| *known) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    }

    /// The duration that a share of `quantile` (0 to 1) of them does not exceed, by nearest rank; the
    /// middle of its bucket. `None` of none.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = (quantile.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut before = 0_u64;
        let (bucket, _) = self.buckets.iter().find(|(_, count)| {
            before = before.saturating_add(*count);
            before >= rank
        })?;
        let low = lowest(*bucket);
        Some(Duration(low + (highest(*bucket) - low) / 2))
    }

    /// Whether it is as it must be, for what was read from outside: bucket numbers that exist, rising.
    pub(crate) fn is_sound(&self) -> bool {
        self.buckets.iter().all(|(bucket, _)| *bucket < BUCKETS)
            && self.buckets.is_sorted_by(|one, next| one.0 < next.0)
    }
}

/// The bucket of a number: one each below two octaves' worth, then [`OCTAVE`] an octave.
fn bucket(number: u64) -> u16 {
    let shift = (64 - OCTAVE_BITS - 1).saturating_sub(number.leading_zeros());
    (u64::from(shift) * OCTAVE + (number >> shift)) as u16
}

/// The least number of a bucket.
fn lowest(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let shift = (bucket / OCTAVE).saturating_sub(1);
    (bucket - shift * OCTAVE) << shift
}

/// The greatest number of a bucket.
fn highest(bucket: u16) -> u64 {
    let width = 1 << (u64::from(bucket) / OCTAVE).saturating_sub(1);
    lowest(bucket) + (width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeptrace_model::hash64;

    #[test]
    fn buckets_follow_each_other_without_gap_and_are_narrow() {
        for number in (0..BUCKETS - 1).map(highest) {
            assert_eq!(bucket(number) + 1, bucket(number + 1), "{number}");
        }
        assert_eq!((bucket(u64::MAX), highest(BUCKETS - 1)), (BUCKETS - 1, u64::MAX));
        for number in (0..64).map(|shift| hash64(&[shift]) >> shift) {
            let (low, high) = (lowest(bucket(number)), highest(bucket(number)));
            assert!((low..=high).contains(&number), "{low} {number} {high}");
            assert!((high - low) as f64 <= low as f64 / OCTAVE as f64, "{low} {high}");
        }
    }

    #[test]
    fn percentiles_are_right_within_their_bound() {
        let mut all: Vec<u64> = (0..10_000).map(|n| 1_000 + (hash64(&[n]) >> 34)).collect();
        let (mut one, mut other) = (Durations::default(), Durations::default());
        for (at, number) in all.iter().enumerate() {
            if at % 3 == 0 { &mut one } else { &mut other }.add(Duration(*number));
        }
        one.merge(&other);
        assert!(one.is_sound() && one.count() == 10_000);
        all.sort_unstable();
        for quantile in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = all[((quantile * 10_000.0_f64).ceil() as usize).max(1) - 1] as f64;
            let told = one.quantile(quantile).unwrap().0 as f64;
            assert!((told - exact).abs() <= exact * 0.016, "{quantile}: {told}, not {exact}");
        }
        assert_eq!(Durations::default().quantile(0.5), None);
    }
}
