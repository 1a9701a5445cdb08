//! Places: where a number is in a list, without looking through all of it. An open hash table of the first place of
//! each number (linear probing; Knuth, TAOCP 3, §6.4, algorithm L), and for each place the next one of the same number.

/// Where each number of one list is.
#[derive(Debug)]
pub(super) struct Places {
    /// The first place of a number, one more; zero where there is none. A power of two, twice the list at least.
    first: Box<[u32]>,
    /// For each place the next one of the same number, one more.
    next: Box<[u32]>,
}

impl Places {
    /// Of a list of `len` numbers; one that is `None` is not to be found.
    pub(super) fn of(len: usize, number: impl Fn(usize) -> Option<u64>) -> Self {
        let mut first = vec![0_u32; (2 * len).next_power_of_two()].into_boxed_slice();
        let mut next = vec![0_u32; len].into_boxed_slice();
        // From behind, so that what repeats is found in order.
        for place in (0..len).rev() {
            let Some(wanted) = number(place) else { continue };
            let slot = slot(&first, wanted, |other| number(other) == Some(wanted));
            next[place] = std::mem::replace(&mut first[slot], place as u32 + 1);
        }
        Self { first, next }
    }

    /// Bytes in memory of one for a list of that length.
    pub(super) fn weight(len: usize) -> usize {
        ((2 * len).next_power_of_two() + len) * size_of::<u32>()
    }

    /// Tells the places of `wanted` in the list that this is of, in order.
    pub(super) fn each(
        &self,
        wanted: u64,
        number: impl Fn(usize) -> u64,
        mut each: impl FnMut(usize),
    ) {
        let slot = slot(&self.first, wanted, |other| number(other) == wanted);
        let mut place = self.first[slot];
        while let Some(found) = (place as usize).checked_sub(1) {
            each(found);
            place = self.next[found];
        }
    }
}

/// Where a number is in the table, or would be.
fn slot(first: &[u32], wanted: u64, is_it: impl Fn(usize) -> bool) -> usize {
    let mask = first.len() - 1;
    // Fibonacci hashing: the upper bits of the product depend on all bits of the number.
    let mut slot = (wanted.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
    while first[slot] > 0 && !is_it(first[slot] as usize - 1) {
        slot = (slot + 1) & mask;
    }
    slot
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeptrace_model::hash64;

    #[test]
    fn all_places_of_a_number_are_told_in_order_and_no_others() {
        let lists = [
            vec![],
            vec![0],
            vec![7; 100],
            (0..500).map(|n| hash64(&[n % 300])).collect(),
            // Of the same lower and of the same upper bits.
            (0..200).map(|n| n << 40).collect(),
            (0..200).collect::<Vec<u64>>(),
        ];
        for list in lists {
            let places = Places::of(list.len(), |at| Some(list[at]).filter(|it| *it != 3));
            for wanted in list.iter().copied().chain([1, 3, u64::MAX]) {
                let mut told = Vec::new();
                places.each(wanted, |at| list[at], |place| told.push(place));
                let there = (0..list.len()).filter(|at| list[*at] == wanted && wanted != 3);
                assert_eq!(told, there.collect::<Vec<_>>(), "{wanted} in {list:?}");
            }
        }
    }
}
