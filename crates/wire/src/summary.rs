//! Summary: what an agent that keeps its spans tells of those that it finished within the last seconds, so
//! that a server knows whom to ask.

use deeptrace_model::{Duration, ExchangeKey, RequestKey, SpanKind, TraceId, WallTime, hash64};
use serde::{Deserialize, Serialize};

use crate::question::Key;

/// Keys of one summary, at most; what has more is told in several.
pub const SUMMARY_KEYS_MAX: usize = 1 << 16;
/// Operations of one summary, at most; further ones are told in the next.
pub const OPERATIONS_MAX: usize = 4_096;
/// A key that is not in it is taken for one that is once in so many times, as a power of two.
const ERROR_BITS: u32 = 14;

/// Spans that were finished between two summaries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// When this run of the agent started, by its clock.
    pub run: WallTime,
    /// Of the summary in its run, from zero: one that is missing is noticed.
    pub number: u64,
    /// When it was made, by the agent's clock: what was finished before is in it or in an earlier one.
    pub made: WallTime,
    /// Start of the earliest span.
    pub from: WallTime,
    /// End of the latest.
    pub to: WallTime,
    /// What they have in common with spans elsewhere.
    pub keys: KeySet,
    /// Sums by operation.
    pub operations: Vec<Operation>,
}

/// Spans of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// `service.name`.
    pub service: String,
    /// Name of the spans.
    pub name: String,
    /// Their kind.
    pub kind: SpanKind,
    /// Spans.
    pub spans: u64,
    /// Spans with status error.
    pub errors: u64,
    /// Sum of their durations.
    pub total: Duration,
    /// The shortest.
    pub shortest: Duration,
    /// The longest.
    pub longest: Duration,
}

/// A set of keys that takes about two bytes for each: their hashes in a range that grows with their
/// number, sorted, as differences in Golomb-Rice code (S. Golomb 1966, R. Rice 1979). It never misses a
/// key that is in it, and takes another for one once in 16384 times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    /// Each once, ascending; smaller than `range`.
    hashes: Vec<u32>,
    range: u32,
}

impl KeySet {
    /// Of `keys`; of more than [`SUMMARY_KEYS_MAX`] only the first.
    pub fn of(keys: &[Key]) -> Self {
        let keys = &keys[..keys.len().min(SUMMARY_KEYS_MAX)];
        let range = range(keys.len());
        let mut hashes: Vec<u32> = keys.iter().map(|key| hash(*key, range)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self { hashes, range }
    }

    /// Whether `key` may be in it; `false` is sure.
    pub fn may_have(&self, key: Key) -> bool {
        self.range > 0 && self.hashes.binary_search(&hash(key, self.range)).is_ok()
    }

    /// How many hashes it holds.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    fn coded(&self) -> Vec<u8> {
        let mut bits = Bits::default();
        let mut next = 0;
        for hash in &self.hashes {
            let difference = hash - next;
            next = hash + 1;
            (0..difference >> ERROR_BITS).for_each(|_| bits.push(true));
            bits.push(false);
            (0..ERROR_BITS).for_each(|at| bits.push(difference >> at & 1 == 1));
        }
        bits.bytes
    }

    fn decoded(count: u32, range: u32, bytes: &[u8]) -> Option<Self> {
        // A hash takes more than a byte, so this allocates no more than was sent.
        if count as usize > bytes.len() || range > self::range(SUMMARY_KEYS_MAX) {
            return None;
        }
        let mut bits = bytes.iter().flat_map(|byte| (0..8).map(move |at| byte >> at & 1 == 1));
        let (mut hashes, mut next) = (Vec::with_capacity(count as usize), 0_u32);
        for _ in 0..count {
            let mut difference = 0_u32;
            while bits.next()? {
                difference = difference.checked_add(1 << ERROR_BITS)?;
            }
            for at in 0..ERROR_BITS {
                difference |= u32::from(bits.next()?) << at;
            }
            let hash = next.checked_add(difference).filter(|hash| *hash < range)?;
            hashes.push(hash);
            next = hash + 1;
        }
        Some(Self { hashes, range })
    }
}

/// How many values hashes of so many keys have.
fn range(keys: usize) -> u32 {
    (keys as u32) << ERROR_BITS
}

fn hash(key: Key, range: u32) -> u32 {
    let hash = match key {
        Key::Exchange(ExchangeKey(key)) => hash64(&[0, key]),
        Key::Request(RequestKey(key)) => hash64(&[1, key]),
        Key::Trace(TraceId(id)) => hash64(&[2, id as u64, (id >> 64) as u64]),
        Key::Span(id) => hash64(&[3, id.0]),
    };
    // Spread evenly without a division.
    ((u128::from(hash) * u128::from(range)) >> 64) as u32
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        if self.count.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (self.count % 8);
        }
        self.count += 1;
    }
}

impl Serialize for KeySet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.hashes.len() as u32, self.range, self.coded()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeySet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (count, range, bytes) = <(u32, u32, Vec<u8>)>::deserialize(deserializer)?;
        let set = Self::decoded(count, range, &bytes);
        set.ok_or_else(|| serde::de::Error::custom("a set of keys is cut off"))
    }
}

#[cfg(test)]
mod tests {
    use deeptrace_model::SpanId;

    use super::*;

    fn keys(numbers: std::ops::Range<u64>) -> Vec<Key> {
        numbers.map(|number| Key::Exchange(ExchangeKey(hash64(&[number])))).collect()
    }

    #[test]
    fn it_never_misses_a_key_and_seldom_takes_another_for_one() {
        for count in [0, 1, 2, 1_000, 20_000] {
            let all = keys(0..count);
            let set = KeySet::of(&all);
            let bytes = postcard::to_stdvec(&set).unwrap();
            assert_eq!(postcard::from_bytes(&bytes), Ok(set.clone()));
            assert!(all.iter().all(|key| set.may_have(*key)), "{count}");
            assert!(bytes.len() as u64 <= 12 + count * 2, "{} bytes for {count}", bytes.len());
            let others = keys(1_000_000..1_200_000);
            let mistaken = others.iter().filter(|key| set.may_have(**key)).count();
            assert!(mistaken < 40, "{mistaken} of 200000 in {count}");
            assert!(!set.may_have(Key::Span(SpanId(hash64(&[0])))), "kinds are told apart");
        }
    }

    #[test]
    fn bytes_that_are_no_set_are_refused() {
        let bytes = postcard::to_stdvec(&KeySet::of(&keys(0..50))).unwrap();
        for len in 0..bytes.len() {
            assert!(postcard::from_bytes::<KeySet>(&bytes[..len]).is_err());
            let mut spoilt = bytes.clone();
            spoilt[len] ^= 0xff;
            if let Ok(set) = postcard::from_bytes::<KeySet>(&spoilt) {
                assert!(set.hashes.is_sorted_by(|a, b| a < b));
            }
        }
    }
}
