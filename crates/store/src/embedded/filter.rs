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
    /// Where the sizes of each [`STRIDE`]th bucket begin, and how many keys are before it: so that not all sizes
    /// are added up for one key.
    strides: Vec<(u32, u32)>,
}

/// Buckets between two places of which is known what is before them.
const STRIDE: usize = 64;

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
    /// The bytes of a filter that holds `hashes`, which may repeat. The number of its buckets is a power of
    /// two, so that it can be cut.
    pub(crate) fn write(hashes: &[u64]) -> Vec<u8> {
        let mut hashes = hashes.to_vec();
        // Both sides of an exchange have the same keys. Buckets follow the order of the hashes.
        hashes.sort_unstable();
        hashes.dedup();
        let buckets = hashes.len().div_ceil(4).next_power_of_two();
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
        let (mut sizes, mut keys, mut strides) = (0, 0, Vec::new());
        for begun in (0..buckets).step_by(STRIDE) {
            strides.push((u32::try_from(sizes).ok()?, u32::try_from(keys).ok()?));
            let (len, count) = measure(rest.get(sizes..)?, STRIDE.min(buckets - begun))?;
            (sizes, keys) = (sizes + len, keys + count);
        }
        let fits = buckets > 0 && rest.len() == sizes + 2 * keys;
        fits.then_some(Self { bytes, buckets, remainders: 4 + sizes, strides })
    }

    /// Whether `hash` may be in it.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let bucket = bucket_of(hash, self.buckets);
        let Some((sizes, keys)) = self.strides.get(bucket / STRIDE) else { return false };
        let sizes = self.sizes().get(*sizes as usize..).unwrap_or_default();
        let remainders = self.remainders().get(2 * *keys as usize..).unwrap_or_default();
        has(sizes, bucket % STRIDE, remainders, hash)
    }

    /// Number of buckets.
    pub(super) fn buckets(&self) -> usize {
        self.buckets
    }

    /// Sizes of the buckets, as they are stored.
    pub(super) fn sizes(&self) -> &[u8] {
        &self.bytes[4..self.remainders]
    }

    /// Remainders of all buckets, as they are stored.
    pub(super) fn remainders(&self) -> &[u8] {
        &self.bytes[self.remainders..]
    }

    /// Bytes in memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + size_of_val(&self.strides[..])
    }
}

/// A size that goes on in the next byte.
const FULL: usize = u8::MAX as usize;

/// Of so many buckets the one that `hash` is in.
pub(super) fn bucket_of(hash: u64, buckets: usize) -> usize {
    ((u128::from(hash) * buckets as u128) >> 64) as usize
}

/// How many bytes the sizes of the first `buckets` take, and how many keys those have; `None`: they are cut.
pub(super) fn measure(sizes: &[u8], buckets: usize) -> Option<(usize, usize)> {
    // Nearly always each takes one byte.
    let plain = sizes.get(..buckets)?;
    let (full, keys) = plain.iter().fold((false, 0), |(full, keys), size| {
        (full | (*size == u8::MAX), keys + usize::from(*size))
    });
    if !full {
        return Some((buckets, keys));
    }
    let (mut len, mut keys, mut left) = (0, 0, buckets);
    while left > 0 {
        let size = usize::from(*sizes.get(len)?);
        (len, keys) = (len + 1, keys + size);
        left -= usize::from(size < FULL);
    }
    Some((len, keys))
}

/// Whether `hash` may be in `bucket` of the buckets with those sizes and remainders.
pub(super) fn has(sizes: &[u8], bucket: usize, remainders: &[u8], hash: u64) -> bool {
    let found = || {
        let (len, before) = measure(sizes, bucket)?;
        let (_, here) = measure(sizes.get(len..)?, 1)?;
        let bucket = remainders.get(2 * before..2 * (before + here))?;
        Some(bucket.as_chunks::<2>().0.contains(&(hash as u16).to_le_bytes()))
    };
    found().unwrap_or(false)
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
