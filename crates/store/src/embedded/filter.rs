//! Filter: which keys a batch may hold, in about two and a half bytes a key.
//!
//! Keys are hashed to 64 bits. The upper bits choose a bucket of four keys on average, 16 other
//! bits are kept. A key that is there is always found; one that is not is found by mistake in one
//! of about 16,000 batches, and costs reading that batch.

use deeptrace_model::hash64;

use crate::{LinkKey, SpanKey};

/// The bytes are: number of buckets (u32), size of each bucket (a byte; 255: and more in the next),
/// remainders (u16), little-endian.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    ends: Vec<u32>,
    remainders: Vec<u16>,
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
    /// A filter that holds `hashes`, which may repeat.
    pub(crate) fn new(hashes: &[u64]) -> Self {
        let buckets = hashes.len().div_ceil(4).max(1);
        // Counted, then placed: each bucket begins where the ones before it end.
        let mut ends = vec![0_u32; buckets + 1];
        hashes.iter().for_each(|hash| ends[bucket_of(*hash, buckets) + 1] += 1);
        for bucket in 0..buckets {
            ends[bucket + 1] += ends[bucket];
        }
        let mut remainders = vec![0_u16; hashes.len()];
        for hash in hashes {
            let at = &mut ends[bucket_of(*hash, buckets)];
            remainders[*at as usize] = *hash as u16;
            *at += 1;
        }
        // What was the begin of each bucket has become its end.
        ends.truncate(buckets);
        Self { ends, remainders }
    }

    /// Whether `hash` may be in it.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let bucket = bucket_of(hash, self.ends.len());
        let end = self.ends.get(bucket).copied().unwrap_or_default() as usize;
        let start = bucket.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let bucket = self.remainders.get(start..end).unwrap_or_default();
        bucket.contains(&(hash as u16))
    }

    /// Bytes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.ends.len() * 4 + self.remainders.len() * 2
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.weight());
        bytes.extend_from_slice(&(self.ends.len() as u32).to_le_bytes());
        // A bucket's size fits a byte as good as always; 255 says that the rest is in the next.
        let mut last = 0;
        for end in &self.ends {
            let mut size = end - last;
            last = *end;
            while size >= 255 {
                bytes.push(255);
                size -= 255;
            }
            bytes.push(size as u8);
        }
        bytes.extend(self.remainders.iter().flat_map(|it| it.to_le_bytes()));
        bytes
    }

    /// Reads what [`Filter::to_bytes`] wrote; `None` if it was something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (count, mut rest) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let mut ends = Vec::with_capacity(count.min(rest.len()));
        let mut end = 0_u32;
        while ends.len() < count {
            let (size, after) = rest.split_first()?;
            rest = after;
            end = end.checked_add((*size).into())?;
            if *size < 255 {
                ends.push(end);
            }
        }
        let (remainders, odd) = rest.as_chunks::<2>();
        let fits = odd.is_empty() && remainders.len() == end as usize && count > 0;
        let remainders = remainders.iter().map(|it| u16::from_le_bytes(*it)).collect();
        fits.then_some(Self { ends, remainders })
    }
}

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
            let filter = Filter::new(&hashes);
            let read = Filter::from_bytes(&filter.to_bytes()).unwrap();
            assert_eq!(read, filter);
            assert!(hashes.iter().all(|hash| read.may_hold(*hash)));
            let wrong = (0..100_000).filter(|n| read.may_hold(hash64(&[*n, 1]))).count();
            assert!(wrong < 30, "{wrong} of 100,000 found by mistake among {count}");
        }
    }

    #[test]
    fn equal_upper_bits_fill_one_bucket() {
        let hashes: Vec<u64> = (0..1000).collect();
        let filter = Filter::new(&hashes);
        let read = Filter::from_bytes(&filter.to_bytes()).unwrap();
        assert_eq!(read, filter);
        assert!(hashes.iter().all(|hash| read.may_hold(*hash)));
    }

    #[test]
    fn broken_bytes_are_refused() {
        let bytes = Filter::new(&(0..100).map(|n| hash64(&[n])).collect::<Vec<_>>()).to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(Filter::from_bytes(&bytes[..len]), None, "{len} bytes");
        }
    }
}
