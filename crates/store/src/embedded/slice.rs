//! Slice: what the filters of several batches have for one range of hashes, one after the other.
//!
//! Of each filter: the logarithm of its number of buckets in the range (a byte), their sizes and their remainders
//! as [`Filter`] has them.

use super::filter::{Filter, bucket_of, has, measure};

/// Ranges into which all hashes are divided, by their uppermost bits.
pub(super) const RANGES: usize = 1 << RANGE_BITS;
pub(super) const RANGE_BITS: u32 = 11;

/// The range that `hash` is in.
pub(super) fn range_of(hash: u64) -> usize {
    bucket_of(hash, RANGES)
}

/// The bytes of a slice.
#[derive(Debug)]
pub(super) struct Slice(Vec<u8>);

impl Slice {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Bytes in memory, about.
    pub(super) fn weight(&self) -> usize {
        self.0.len()
    }

    /// Tells the places of the filters that may hold `hash`, which is in its range. `None`: it is damaged, and what
    /// was told is not all.
    pub(super) fn each_holder(&self, hash: u64, each: impl FnMut(usize)) -> Option<()> {
        each_holder(&self.0, hash, each)
    }
}

fn each_holder(slice: &[u8], hash: u64, mut each: impl FnMut(usize)) -> Option<()> {
    let (mut rest, mut place) = (slice, 0);
    while let Some((depth, after)) = rest.split_first() {
        let buckets = 1_usize.checked_shl(u32::from(*depth))?;
        let (sizes, keys) = measure(after, buckets)?;
        let (sizes, after) = after.split_at_checked(sizes)?;
        let (remainders, after) = after.split_at_checked(2 * keys)?;
        // The buckets of one range are a power of two of those of all.
        let bucket = bucket_of(hash << RANGE_BITS, buckets);
        if has(sizes, bucket, remainders, hash) {
            each(place);
        }
        (rest, place) = (after, place + 1);
    }
    Some(())
}

/// All slices of one index, one after the other.
#[derive(Debug, Default)]
pub(super) struct Slices {
    bytes: Vec<u8>,
    /// Where each begins and ends; nothing for one that is not there.
    bounds: Vec<Option<(u32, u32)>>,
}

impl Slices {
    /// Appends the slice of a range above those that are here; `None`: they are more than there can be.
    pub(super) fn push(&mut self, range: usize, slice: &[u8]) -> Option<()> {
        let begin = u32::try_from(self.bytes.len()).ok()?;
        self.bytes.extend_from_slice(slice);
        let end = u32::try_from(self.bytes.len()).ok()?;
        self.bounds.resize(range, None);
        self.bounds.push(Some((begin, end)));
        Some(())
    }

    /// Bytes in memory, about.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + size_of_val(&self.bounds[..])
    }

    /// As [`Slice::each_holder`], of the slice in whose range `hash` is.
    pub(super) fn each_holder(&self, hash: u64, each: impl FnMut(usize)) -> Option<()> {
        let (begin, end) = (*self.bounds.get(range_of(hash))?)?;
        each_holder(self.bytes.get(begin as usize..end as usize)?, hash, each)
    }
}

/// Whether a filter can be cut into [`RANGES`].
pub(super) fn is_cuttable(filter: &Filter) -> bool {
    filter.buckets().is_power_of_two() && filter.buckets() >= RANGES
}

/// A filter that is being cut.
pub(super) struct Cutting<'a> {
    /// Buckets of one range.
    buckets: usize,
    sizes: &'a [u8],
    remainders: &'a [u8],
}

impl<'a> Cutting<'a> {
    /// Of a filter for which [`is_cuttable`] holds.
    pub(super) fn new(filter: &'a Filter) -> Self {
        let buckets = filter.buckets() / RANGES;
        Self { buckets, sizes: filter.sizes(), remainders: filter.remainders() }
    }

    /// Appends what it has for the next range.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) {
        let (sizes, keys) = measure(self.sizes, self.buckets).unwrap_or_default();
        let (sizes, after) = self.sizes.split_at(sizes);
        let (remainders, behind) = self.remainders.split_at(2 * keys);
        (self.sizes, self.remainders) = (after, behind);
        out.push(self.buckets.trailing_zeros() as u8);
        out.extend_from_slice(sizes);
        out.extend_from_slice(remainders);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeptrace_model::hash64;

    #[test]
    fn slices_tell_what_the_filters_tell() {
        // The last one has buckets whose size takes several bytes.
        let keys = |filter: u64| -> Vec<u64> {
            let crowd = if filter == 4 { 1000 } else { 0 };
            let spread = (0..9000 + 4000 * filter).map(|n| hash64(&[n, filter]));
            spread.chain((0..crowd).map(|n| (7 << 53) + n)).collect()
        };
        let read = |keys: &[u64]| Filter::from_bytes(Filter::write(keys)).unwrap();
        let filters: Vec<Filter> = (0..5).map(|filter| read(&keys(filter))).collect();
        assert!(filters.iter().all(is_cuttable));
        assert!(!is_cuttable(&read(&keys(0)[..1000])));
        let mut cuttings: Vec<Cutting<'_>> = filters.iter().map(Cutting::new).collect();
        let slices: Vec<Slice> = (0..RANGES)
            .map(|_| {
                let mut bytes = Vec::new();
                cuttings.iter_mut().for_each(|cutting| cutting.next(&mut bytes));
                Slice::new(bytes)
            })
            .collect();
        let mut all = Slices::default();
        for (range, slice) in slices.iter().enumerate().filter(|(range, _)| *range != 9) {
            all.push(range, &slice.0).unwrap();
        }
        let others = (0..50_000).map(|n| hash64(&[n, 99]));
        for hash in (0..5).flat_map(keys).chain(others) {
            let mut told = Vec::new();
            let slice = &slices[range_of(hash)];
            slice.each_holder(hash, |place| told.push(place)).unwrap();
            let held: Vec<usize> = (0..5).filter(|at| filters[*at].may_hold(hash)).collect();
            assert_eq!(told, held, "{hash:x}");
            told.clear();
            let done = all.each_holder(hash, |place| told.push(place));
            let is_there = range_of(hash) != 9;
            assert_eq!(done, is_there.then_some(()));
            assert_eq!(told, if is_there { held } else { Vec::new() }, "{hash:x}");
        }
    }

    #[test]
    fn a_cut_slice_says_so_and_none_panics() {
        let filter =
            Filter::from_bytes(Filter::write(&(0..9000).map(|n| hash64(&[n])).collect::<Vec<_>>()));
        let filter = filter.unwrap();
        let mut bytes = Vec::new();
        Cutting::new(&filter).next(&mut bytes);
        for len in 1..bytes.len() {
            let cut = Slice::new(bytes[..len].to_vec());
            assert_eq!(cut.each_holder(0, |_| ()), None, "{len} of {}", bytes.len());
        }
        for seed in 0..20_000 {
            let random = hash64(&[seed]).to_le_bytes();
            let _told = Slice::new(random.to_vec()).each_holder(seed, |_| ());
        }
    }
}
