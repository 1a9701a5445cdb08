//! Pace: how often each of many may do something; a token bucket for each (GCRA would be the same).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets, at most. Of more, those that are full again make room; where none is, the newcomers
/// share one.
const BUCKETS_MAX: usize = 10_000;
/// Name of the shared one; no caller is called so.
const OTHERS: &str = "";

/// How often each of many may do something.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// `burst` at once, and `per_second` from then on.
    pub(super) fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Takes one for `who`; where there is none, says after which time there will be.
    pub(super) fn take(&self, who: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut who = who;
        if !buckets.contains_key(who) && buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| self.filled(bucket, now) < self.burst);
            if buckets.len() >= BUCKETS_MAX {
                who = OTHERS;
            }
        }
        let full = Bucket { tokens: self.burst, at: now };
        let bucket = buckets.entry(who.to_owned()).or_insert(full);
        let tokens = self.filled(bucket, now);
        *bucket = Bucket { tokens, at: now };
        if tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - tokens) / self.per_second));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + since * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_after_the_other() {
        let (pace, begin) = (Pace::new(2.0, 3.0), Instant::now());
        let at = |ms: u64| begin + Duration::from_millis(ms);
        for _ in 0..3 {
            assert_eq!(pace.take("a", at(0)), Ok(()));
        }
        assert_eq!(pace.take("a", at(0)), Err(Duration::from_millis(500)));
        assert_eq!(pace.take("b", at(0)), Ok(()), "each has its own");
        assert_eq!(pace.take("a", at(500)), Ok(()));
        assert_eq!(pace.take("a", at(750)), Err(Duration::from_millis(250)));
        // Refused ones cost nothing, and nothing is saved up beyond the burst.
        for _ in 0..3 {
            assert_eq!(pace.take("a", at(60_000)), Ok(()));
        }
        assert!(pace.take("a", at(60_000)).is_err());
    }

    #[test]
    fn many_who_come_once_do_not_fill_the_memory() {
        let (pace, now) = (Pace::new(1.0, 2.0), Instant::now());
        for number in 0..BUCKETS_MAX + 10 {
            let _ = pace.take(&number.to_string(), now);
        }
        assert!(pace.buckets.lock().unwrap().len() <= BUCKETS_MAX + 1);
        assert!(pace.take("one more", now).is_err(), "the newcomers share a bucket");
        assert_eq!(pace.take("one more", now + Duration::from_secs(5)), Ok(()));
        assert!(pace.buckets.lock().unwrap().len() < 10, "full ones make room");
    }
}
