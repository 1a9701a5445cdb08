//! Filter: which keys a batch may hold, in about two and a half bytes a key.
//!
//! Keys are hashed to 64 bits. The upper bits choose a bucket of four keys on average, 16 other
//! bits are kept. A key that is there is always found; one that is not is found by mistake in one
//! of about 16,000 batches, and costs reading that batch.

use deeptrace_model::hash64;

use crate::{LinkKey, SpanKey};

/// The bytes are: number of buckets (u32), size of each bucket (a byte; 255: and more in the next),
/// remainders (u16), little-endian. They are asked as they are: with many batches each is asked rarely.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    bytes: Vec<u8>,
    buckets: usize,
    /// Where the remainders begin.
    remainders: usize,
}

/// A key as the number that a filter keeps. Keys are hashes themselves; one kind is kept apart from
/// another by turning it.
pub(crate) fn span_hash(key: &SpanKey) -> u64 {
    match *key {
        SpanKey::Id(id) => id.0,
        SpanKey::Exchange(key) => key.0.rotate_left(13),
        SpanKey::Request(key) => key.0.rotate_left(29),
        SpanKey::Application(id) => hash64(&[4, id.0 as u64, (id.0 >> 64) as u64]),
    }
}

/// A key as the number that a filter keeps.
pub(crate) fn link_hash(key: &LinkKey) -> u64 {
    match *key {
        LinkKey::Child(id) => id.0.rotate_left(41),
        LinkKey::Parent(id) => id.0.rotate_left(53),
    }
}

impl Filter {
    /// The bytes of a filter that holds `hashes`, which may repeat.
    pub(crate) fn write(hashes: &[u64]) -> Vec<u8> {
        let mut hashes = hashes.to_vec();
        // Both sides of an exchange have the same keys. Buckets follow the order of the hashes.
        hashes.sort_unstable();
        hashes.dedup();
        let buckets = hashes.len().div_ceil(4).max(1);
        let mut bytes = Vec::with_capacity(4 + buckets + hashes.len() * 2);
        bytes.extend_from_slice(&(buckets as u32).to_le_bytes());
        let mut rest = hashes.as_slice();
        for bucket in 0..buckets {
            let mut size =
                rest.iter().take_while(|hash| bucket_of(**hash, buckets) == bucket).count();
            rest = &rest[size..];
            while size >= FULL {
                bytes.push(u8::MAX);
                size -= FULL;
            }
            bytes.push(size as u8);
        }
        bytes.extend(hashes.iter().flat_map(|hash| (*hash as u16).to_le_bytes()));
        bytes
    }

    /// Takes what [`Filter::write`] wrote; `None` if it was something else.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let buckets = u32::from_le_bytes(*count) as usize;
        let (mut left, mut keys, mut sizes) = (buckets, 0_usize, 0);
        while left > 0 {
            let size = usize::from(*rest.get(sizes)?);
            (keys, sizes) = (keys + size, sizes + 1);
            left -= usize::from(size < FULL);
        }
        let fits = buckets > 0 && rest.len() == sizes + 2 * keys;
        fits.then_some(Self { bytes, buckets, remainders: 4 + sizes })
    }

    /// Whether `hash` may be in it.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let bucket = bucket_of(hash, self.buckets);
        let sizes = &self.bytes[4..self.remainders];
        let sum = |sizes: &[u8]| sizes.iter().map(|size| usize::from(*size)).sum::<usize>();
        let (before, here) = if sizes.len() == self.buckets {
            (sum(&sizes[..bucket]), &sizes[bucket..=bucket])
        } else {
            // Some buckets take several bytes, the last of which is not 255.
            let mut ends = sizes.iter().enumerate().filter(|(_, size)| **size < u8::MAX);
            let begin = match bucket.checked_sub(1) {
                Some(last) => ends.nth(last).map_or(sizes.len(), |(at, _)| at + 1),
                None => 0,
            };
            let end = ends.next().map_or(sizes.len(), |(at, _)| at + 1);
            (sum(&sizes[..begin]), &sizes[begin..end])
        };
        let begin = self.remainders + 2 * before;
        let bucket = self.bytes.get(begin..begin + 2 * sum(here)).unwrap_or_default();
        bucket.as_chunks::<2>().0.contains(&(hash as u16).to_le_bytes())
    }

    /// Bytes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len()
    }
}

impl Default for Filter {
    /// One that holds nothing.
    fn default() -> Self {
        Self { bytes: vec![1, 0, 0, 0, 0], buckets: 1, remainders: 5 }
    }
}

/// A size that goes on in the next byte.
const FULL: usize = u8::MAX as usize;

fn bucket_of(hash: u64, buckets: usize) -> usize {
    ((u128::from(hash) * buckets as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_is_found_and_little_else() {
        for count in [0, 1, 3, 6000] {
            let hashes: Vec<u64> = (0..count).map(|n| hash64(&[n])).collect();
            let filter = Filter::from_bytes(Filter::write(&hashes)).unwrap();
            assert!(hashes.iter().all(|hash| filter.may_hold(*hash)));
            let wrong = (0..100_000).filter(|n| filter.may_hold(hash64(&[*n, 1]))).count();
            assert!(wrong < 30, "{wrong} of 100,000 found by mistake among {count}");
            assert!(!Filter::default().may_hold(hash64(&[count])));
            let twice: Vec<u64> = hashes.iter().chain(&hashes).copied().collect();
            assert_eq!(Filter::write(&twice), Filter::write(&hashes));
        }
    }

    #[test]
    fn equal_upper_bits_fill_one_bucket() {
        for from in [0, 1 << 63, u64::MAX - 999] {
            let mut hashes: Vec<u64> = (0..1000).map(|n| from + n).collect();
            hashes.extend((0..50).map(|n| hash64(&[n])));
            let filter = Filter::from_bytes(Filter::write(&hashes)).unwrap();
            assert!(hashes.iter().all(|hash| filter.may_hold(*hash)));
            let wrong = (100..100_100).filter(|n| filter.may_hold(hash64(&[*n]))).count();
            assert!(wrong < 3000, "{wrong}");
        }
    }

    #[test]
    fn broken_bytes_are_refused() {
        let bytes = Filter::write(&(0..100).map(|n| hash64(&[n])).collect::<Vec<_>>());
        for len in 0..bytes.len() {
            assert_eq!(Filter::from_bytes(bytes[..len].to_vec()), None, "{len} bytes");
        }
    }
}
